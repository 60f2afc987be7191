"""The resources of one run: probe servers, environments, the engine cache, the locks of devices.

Each is created when it is first used, and none survives `close`. The pytest process itself loads no backend.
"""

from __future__ import annotations

import contextlib
import dataclasses
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_trt.core import codec
from pytest_trt.core.backends import BACKENDS
from pytest_trt.core.git import checked_out_commit
from pytest_trt.core.records import Environment
from pytest_trt.core.scratch import user_folder
from pytest_trt.engine.backends.base import BuildJob, BuildReport
from pytest_trt.engine.backends.installed import gpu_is_visible, is_installed
from pytest_trt.engine.convert.conversion import Conversion, ConversionJob
from pytest_trt.errors import BackendError, TrtError
from pytest_trt.measure.probe.server import ProbeServer
from pytest_trt.measure.probe.wire import CONVERSION
from pytest_trt.spec.declaration import Declaration
from pytest_trt.spec.engine_spec import EngineSpec
from pytest_trt.spec.settings import Settings
from pytest_trt.trial.job_process import Say, run_build, run_conversion_job

if TYPE_CHECKING:
    from pytest_trt.core.records import Environment
    from pytest_trt.engine.cache.store import Store
    from pytest_trt.measure.gpu_state import GpuState

ENVIRONMENT_TIMEOUT_S = 120.0
"""How long a probe may take to make its device ready."""


class Bench:
    """The resources of one run. Use it as a context manager, or close it.

    Args:
        settings: The settings of the run.
        say: Shows the progress of builds and waits.
        python: The interpreter that builds and runs engines.
    """

    def __init__(self, settings: Settings, say: Say = lambda text: None, python: str = sys.executable) -> None:
        self.settings, self.say, self.python = settings, say, python
        self._servers: dict[str, ProbeServer] = {}
        self._environments: dict[str, Environment] = {}
        self._lost: dict[str, str] = {}
        self._store: Store | None = None
        self._gpu: GpuState | None = None
        self._locked_device: str | None = None

    def backend_name(self, spec: EngineSpec) -> str:
        """Return the backend that runs the spec: its own, else that of the settings, else the best installed one.

        Raises:
            BackendError: No installed backend runs it.
        """
        for chosen in (spec.backend, self.settings.backend):
            if chosen != "auto":
                return str(chosen)
        kind = "gpu" if gpu_is_visible() else "cpu"
        for name, info in BACKENDS.items():
            able = info.runs_plans if spec.is_prebuilt else info.builds
            if able and info.kind in (kind, "cpu") and is_installed(name, self.python):
                return name
        if spec.is_prebuilt:
            raise BackendError(
                "the model is a plan, and a plan runs only on a GPU with TensorRT: "
                + ("there is no GPU" if not gpu_is_visible() else "none of TensorRT's packages is installed")
            )
        raise BackendError(
            "nothing that runs engines is installed: pip install 'pytest-trt[cpu]' for ONNX Runtime on the CPU, or "
            "'pytest-trt[tensorrt]' for TensorRT on a GPU"
        )

    def server(self, backend: str) -> ProbeServer:
        """Return the probe server of the backend; a new one if the old one has died.

        Raises:
            BackendError: The backend's package cannot be imported, or its device was lost earlier in this run.
        """
        if backend in self._lost:
            raise BackendError(self._lost[backend])
        return self._server(backend, self.python)

    def _server(self, name: str, python: str) -> ProbeServer:
        if name in self._servers and self._servers[name].is_lost:
            self._servers.pop(name).close()
        if name not in self._servers:
            self._servers[name] = ProbeServer(name, python)
        return self._servers[name]

    def lost_device(self, backend: str, node_id: str) -> str:
        """After an error in a test, find out in a fresh process whether the backend's GPU still works.

        From then on, tests on a lost GPU fail at once.

        Args:
            backend: The backend of the test.
            node_id: The test.

        Returns:
            Why the GPU no longer works; empty if it works, or is known to be lost.
        """
        known = self._environments.get(backend)
        if known is None or known.kind != "gpu" or backend in self._lost:
            return ""
        try:
            with self.lock(known), self.server(backend).fork() as probe:
                probe.call("activate", timeout_s=ENVIRONMENT_TIMEOUT_S, name=backend, device=self.settings.device)
        except TrtError as error:
            if "cudaErrorMemoryAllocation" in str(error):  # another process uses all its memory, and may free it
                return ""
            self._lost[backend] = f"not run: {known.device} was lost in {node_id}"
            return f"{known.device} does not work in a fresh process either ({error}): see nvidia-smi and dmesg"
        return ""

    def environment(self, backend: str) -> Environment:
        """Return the device and the software, as a probe sees them.

        Raises:
            BackendError: The device does not work.
        """
        if backend not in self._environments:
            with self.server(backend).fork() as probe:
                reply, _ = probe.call(
                    "environment", timeout_s=ENVIRONMENT_TIMEOUT_S, name=backend, device=self.settings.device
                )
            seen = codec.decode(Environment, reply)
            from pytest_trt.core.version import __version__

            notes = seen.notes
            if seen.kind == "cpu" and gpu_is_visible():
                notes = (*notes, "there is a GPU, but this ran on the CPU")
            self._environments[backend] = dataclasses.replace(
                seen, plugin=__version__, commit=checked_out_commit(Path(self.settings.rootdir)), notes=notes
            )
        return self._environments[backend]

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
                return self.environment(backend)
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

    def gpu(self, environment: Environment) -> GpuState | None:
        """Return NVML's view of the device; None on a CPU.

        Raises:
            BackendError: NVML is not installed, or does not know the device.
        """
        if environment.device_uuid is None:
            return None
        if self._gpu is None:
            from pytest_trt.measure.gpu_state import GpuState

            self._gpu = GpuState(environment.device_uuid)
        return self._gpu

    @property
    def store(self) -> Store:
        """The engine cache; with --trt-no-cache one that lasts as long as the run.

        Raises:
            CacheError: The cache cannot be used.
        """
        if self._store is None:
            from pytest_trt.engine.cache.folder import cache_folder
            from pytest_trt.engine.cache.store import Store

            if self.settings.no_cache:
                self._store = Store.temporary()
            else:
                self._store = Store(cache_folder(self.settings), self.settings.cache_bytes)
        return self._store

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
        shared = BACKENDS[backend].kind == "cpu" and self.python == sys.executable
        return run_conversion_job(self._server(backend if shared else CONVERSION, sys.executable), job, self.say)

    def build(self, job: BuildJob) -> BuildReport:
        """Build an engine in a process of its own, and show its progress.

        Raises:
            BuildError: The build failed, or took longer than the spec's build_timeout_s.
            ProbeError: The process crashed.
        """
        return run_build(self.server(job.backend), job, self.say)

    @contextlib.contextmanager
    def lock(self, environment: Environment) -> Iterator[None]:
        """Lock the device, so that only one of this user's runs and workers on this host builds or measures on it."""
        from filelock import FileLock

        from pytest_trt.core.lock_holder import acquire

        device = environment.device_uuid or environment.kind
        if self._locked_device == device:
            yield
            return
        lock = FileLock(user_folder() / f"{re.sub(r'[^A-Za-z0-9.-]+', '-', device)}.lock")
        waiting = f"waiting for {environment.device}: another run measures or builds on it"
        if acquire(lock, waiting, self.say, every_s=1.0):
            self.say("")
        self._locked_device = device
        try:
            yield
        finally:
            self._locked_device = None
            lock.release()

    def close(self) -> None:
        """End every process that this run started."""
        while self._servers:
            self._servers.popitem()[1].close()
        if self._gpu is not None:
            self._gpu.close()
            self._gpu = None
        if self._store is not None:
            self._store.close()
            self._store = None

    def __enter__(self) -> Bench:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()
