"""The resources of one run: hosts with their probe servers and engine caches, cards, environments.

Each is created when it is first used, and none survives `close`. The pytest process itself loads no backend.
"""

from __future__ import annotations

import contextlib
import dataclasses
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_trt.core.backends import BACKENDS
from pytest_trt.core.git import checked_out_commit
from pytest_trt.core.records import Environment
from pytest_trt.engine.backends.base import BuildJob, BuildReport
from pytest_trt.engine.convert.conversion import Conversion, ConversionJob
from pytest_trt.errors import BackendError, HostError, ProbeError, TrtError
from pytest_trt.measure.probe.binding import Binding
from pytest_trt.measure.probe.factory import ProbeFactory
from pytest_trt.measure.probe.server import ProbeServer
from pytest_trt.measure.probe.wire import CONVERSION
from pytest_trt.spec.declaration import Declaration
from pytest_trt.spec.engine_spec import EngineSpec
from pytest_trt.spec.settings import Settings
from pytest_trt.trial.host_pool import HostPool, card_pool
from pytest_trt.trial.hosts.elsewhere import Elsewhere
from pytest_trt.trial.hosts.host import GpuView, Host, Say
from pytest_trt.trial.hosts.local import LocalHost
from pytest_trt.trial.hosts.remote import RemoteHost
from pytest_trt.trial.job_process import run_build, run_conversion_job
from pytest_trt.trial.lost_places import LostPlaces
from pytest_trt.trial.pool import card_key

if TYPE_CHECKING:
    from pytest_trt.engine.cache.store import Store


class Bench:
    """The resources of one run. Use it as a context manager, or close it.

    Args:
        settings: The settings of the run.
        say: Shows the progress of builds and waits.
        python: The interpreter that builds and runs engines, here or on the hosts elsewhere; None for that of this
            process, or that of the host's agent.
        warn: Called with a sentence about each card that fails.
        spread: Whether processes that use several cards spread over them.
        lost: The file in which the processes of a run share which cards and hosts have failed; None for one process.

    Attributes:
        elsewhere: The other hosts.
        here: This host, which converts models and computes references wherever engines run.
        pool: The cards of the run.
    """

    def __init__(
        self,
        settings: Settings,
        say: Say = lambda text: None,
        python: str | None = None,
        warn: Callable[[str], None] = lambda text: None,
        *,
        spread: bool = False,
        lost: Path | None = None,
    ) -> None:
        self.settings, self.say, self.python, self.warn = settings, say, python, warn
        self.here = LocalHost(settings, say, sys.executable if python is None or settings.hosts else python)
        self.elsewhere = Elsewhere([RemoteHost(address, settings, say, python) for address in settings.hosts])
        self._hosts: dict[str, Host] = {host.name: host for host in self.elsewhere.hosts or (self.here,)}
        places = LostPlaces(lost)
        pools = {n: card_pool(host, settings.device, warn, places, spread=spread) for n, host in self._hosts.items()}
        self.pool = HostPool(pools, self.here.claim if spread and len(pools) > 1 else None, warn, places)
        self._environments: dict[tuple[str, str, str], Environment] = {}

    def backend_name(self, spec: EngineSpec) -> str:
        """Return the backend that runs the spec: its own, else that of the settings, else the best installed one.

        Raises:
            BackendError: No installed backend runs it.
        """
        for chosen in (spec.backend, self.settings.backend):
            if chosen != "auto":
                return str(chosen)
        host = self.host()
        sees_gpu = host.sees_gpu()
        kind = "gpu" if sees_gpu else "cpu"
        for name, info in BACKENDS.items():
            able = info.runs_plans if spec.is_prebuilt else info.builds
            if able and info.kind in (kind, "cpu") and host.has_package(name):
                return name
        if spec.is_prebuilt:
            raise BackendError(
                "the model is a plan, and a plan runs only on a GPU with TensorRT: "
                + ("there is no GPU" if not sees_gpu else "none of TensorRT's packages is installed")
            )
        raise BackendError(
            "nothing that runs engines is installed: pip install 'pytest-trt[cpu]' for ONNX Runtime on the CPU, or "
            "'pytest-trt[tensorrt]' for TensorRT on a GPU"
        )

    def host(self, environment: Environment | None = None) -> Host:
        """Return the host of a card; without one, the host that the last test used."""
        return self._hosts[self.pool.current if environment is None else environment.host_name]

    def reach_hosts(self) -> list[str]:
        """Reach all hosts elsewhere, list their cards, and return a sentence about each problem."""
        problems = self.elsewhere.reach()
        if self.elsewhere.hosts and not problems:
            try:
                self.pool.cards(self.backend_name(EngineSpec()))
            except TrtError as error:
                return [str(error)]
        return problems

    def leave(self, environment: Environment, error: ProbeError) -> bool:
        """After an error on a host elsewhere, let the next attempt use another host of its kind, or a new link.

        Args:
            environment: The card and the host that the test used.
            error: The loss of the host, or of a probe on it.

        Returns:
            Whether the test can be tried again; false on this host.
        """
        host = self._hosts[environment.host_name]
        if not isinstance(host, RemoteHost):
            return False
        if isinstance(error, HostError):
            host.close()
            self.pool.lose(host.name, str(error), is_lease=host.is_lease)
        return True

    def server(self, backend: str, card: Environment | None = None) -> ProbeFactory:
        """Return the probe server of the backend; a new one if the old one has died.

        Args:
            backend: The backend.
            card: What its next probes are bound to; None for probes that use no card, or any.

        Raises:
            BackendError: The backend's package cannot be imported, or the card was lost earlier in this run.
        """
        binding = Binding() if card is None else self.pool.binding(card)
        server = self.host(card).server(backend)
        if card is not None:
            server.binding = binding
        return server

    def lost_device(self, backend: str, node_id: str) -> str:
        """After an error in a test, find out in a fresh process whether its GPU still works.

        From then on, no test uses a lost GPU. If there is no other one of its kind, they fail at once.

        Args:
            backend: The backend of the test.
            node_id: The test.

        Returns:
            Why the GPU no longer works; empty if it works, or is known to be lost.
        """
        return self.pool.check_after_error(backend, node_id)

    def environment(self, backend: str, words: str | None = None) -> Environment:
        """Return the card that tests of the backend use in this process, and the software, as a probe sees them.

        Args:
            backend: The backend.
            words: The words that name the card; None for the kind of the pool's first card.

        Raises:
            BackendError: The device does not work, or there is none of that name.
        """
        card = self.pool.take(backend, words)
        key = (backend, card.host_name, card_key(card))
        if key not in self._environments:
            from pytest_trt.core.version import __version__

            notes = card.notes
            if card.kind == "cpu" and self.host(card).sees_gpu():
                notes = (*notes, "there is a GPU, but this ran on the CPU")
            self._environments[key] = dataclasses.replace(
                card,
                plugin=__version__,
                commit=checked_out_commit(Path(self.settings.rootdir)),
                notes=notes,
                power_limit_w=self._power_limit_w(card),
            )
        return self._environments[key]

    def _power_limit_w(self, card: Environment) -> float | None:
        try:
            gpu = self.gpu(card)
        except BackendError:  # a measurement raises it again
            return None
        return None if gpu is None else gpu.power_limit_w()

    def environment_for(self, backend: str, spec: EngineSpec) -> Environment:
        """Return the environment that an engine of the spec is for.

        For an ahead-of-time build it names the compute capabilities, and no device is needed. Neither is one needed
        for a prebuilt plan that is only checked.

        Raises:
            BackendError: The device does not work.
        """
        if self.settings.build_only and spec.is_prebuilt:
            return Environment(device="any", kind="gpu", backend=backend, backend_version="")
        if not (self.settings.build_only and spec.compute_capabilities):
            try:
                return self.environment(backend, spec.device)
            except BackendError as error:
                hint = "with --trt-build-only, engines are built for compute_capabilities without a GPU"
                if not spec.compute_capabilities:
                    if not (self.settings.build_only and BACKENDS[backend].ahead_of_time):
                        raise
                    hint = "or name the devices to build for, which needs no GPU: --trt-compute-capability=89"
                raise BackendError.from_text(f"{error} ({hint})") from error
        names = ", ".join(f"{level // 10}.{level % 10}" for level in spec.compute_capabilities)
        return Environment(
            device=f"compute capability {names}",
            kind="gpu",
            backend=backend,
            backend_version=self.server(backend).version,
            compute_capability=names,
        )

    def environment_of(self, declaration: Declaration) -> Environment:
        """Return the environment that the test's engine is for. Raises as `environment_for` does."""
        name = self.backend_name(declaration.spec)
        return self.environment_for(name, self.completed(declaration, name).spec)

    def completed(self, declaration: Declaration, backend: str) -> Declaration:
        """Return the declaration with the settings filled in where the spec leaves them open."""
        spec = declaration.spec
        if BACKENDS[backend].ahead_of_time and not spec.compute_capabilities and not spec.is_prebuilt:
            spec = dataclasses.replace(spec, compute_capabilities=self.settings.compute_capabilities)
        return dataclasses.replace(declaration, spec=spec)

    def gpu(self, environment: Environment) -> GpuView | None:
        """Return NVML's view of the device; None on a CPU.

        Raises:
            BackendError: NVML is not installed, or does not know the device.
        """
        uuid = environment.device_uuid
        return None if uuid is None else self.host(environment).gpu(uuid)

    @property
    def store(self) -> Store:
        """The engine cache of this host, which also keeps the models that functions return and what is known of cards.

        Raises:
            CacheError: The cache cannot be used.
        """
        return self.here.engines

    def strongly_typed(self, backend: str, spec: EngineSpec) -> bool:
        """Return whether this backend builds in the model's own types, so that a precision needs a converted model."""
        if BACKENDS[backend].runs_model or spec.strongly_typed:
            return True
        from pytest_trt.engine.backends.tensorrt.versions import strongly_typed

        return strongly_typed(backend, self.server(backend).version)

    def convert(self, job: ConversionJob, backend: str) -> Conversion:
        """Convert a model in a process of its own, and show how long that takes.

        It has the packages of this interpreter, whichever interpreter builds the engine.

        Args:
            job: The conversion.
            backend: The backend that the model is for. If it runs on the CPU, its server forks the process.

        Raises:
            BuildError: The conversion failed, took longer than the spec's build_timeout_s, or needed too much memory.
            ModelError: The model cannot be read.
            ProbeError: The process crashed.
        """
        own = self.python in (None, sys.executable) and not self.settings.hosts
        shared = BACKENDS[backend].kind == "cpu" and own
        server = self.here.server(backend) if shared else self.conversion_server()
        return run_conversion_job(server, job, self.say)

    def conversion_server(self) -> ProbeServer:
        """Return the server whose probes convert and inspect models. They have the packages of this interpreter."""
        return self.here.server(CONVERSION, sys.executable)

    def build(self, job: BuildJob, card: Environment | None = None) -> BuildReport:
        """Build an engine in a process of its own, and show its progress.

        Args:
            job: The build.
            card: The card to build on; None for a build that uses none.

        Raises:
            BuildError: The build failed, or took longer than the spec's build_timeout_s.
            ProbeError: The process crashed.
        """
        return run_build(self.server(job.backend, card), self.host(card).prepare(job), self.say)

    def lock(self, environment: Environment) -> contextlib.AbstractContextManager[None]:
        """Lock the device, so that only one run or worker on this host builds or measures on it."""
        return self.host(environment).lock(card_key(environment), environment.device)

    def close(self) -> None:
        """End every process that this run started."""
        for host in self._hosts.values():
            host.close()
        self.here.close()

    def __enter__(self) -> Bench:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()
