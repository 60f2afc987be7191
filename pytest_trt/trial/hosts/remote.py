"""A host elsewhere, as `host.Host`: each of its parts asks the agent there."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pytest_trt.core import codec
from pytest_trt.core.records import Environment
from pytest_trt.engine.backends.base import BuildJob
from pytest_trt.errors import HostError
from pytest_trt.measure.gpu_state import Process
from pytest_trt.spec.engine_spec import EngineSpec
from pytest_trt.spec.hosts import HostAddress
from pytest_trt.spec.settings import Settings
from pytest_trt.trial.hosts import link
from pytest_trt.trial.hosts.host import CpuState, Say
from pytest_trt.trial.hosts.remote_energy import RemoteMeter
from pytest_trt.trial.hosts.remote_store import RemoteStore
from pytest_trt.trial.hosts.session import HostSession, RemoteServer

_INSTALL = {"numpy": "numpy", "onnx": "onnx", "cuda": "cuda-python", "pynvml": "nvidia-ml-py"}
"""What pip installs for a module that a host lacks."""


class RemoteHost:
    """A host elsewhere (see `host.Host`). It is reached when it is first needed.

    Args:
        address: The host.
        settings: The settings of the run.
        say: Shows the progress of connecting, of copies and of waits.
        python: The interpreter there that builds and runs engines; None for the one that the address starts.

    Raises:
        HostError: By any method: the host cannot be reached, lacks what engines need, or the link to it is lost.
    """

    def __init__(self, address: HostAddress, settings: Settings, say: Say, python: str | None = None) -> None:
        self.name, self.is_lease = address.name, address.is_lease
        self._address, self._settings, self._say, self._python = address, settings, say, python
        self._session: HostSession | None = None
        self._facts: dict[str, Any] = {}
        self._servers: dict[str, RemoteServer] = {}
        self._packages: dict[str, bool] = {}
        self.listed: dict[str, tuple[Environment, ...]] = {}
        self._gpus: dict[str, _RemoteGpu] = {}
        self.engines = RemoteStore(self.session, say)
        self.cpu: CpuState = _RemoteCpu(self.session)

    def session(self) -> HostSession:
        """Return the link to the host."""
        if self._session is None:
            request = {
                "cache_bytes": self._settings.cache_bytes,
                "no_cache": self._settings.no_cache,
                "lock_dir": self._settings.lock_dir,
                "silence_s": link.SILENCE_S,
                "python": self._python,
            }
            self._session = HostSession(self._address, request, self._say)
            self._facts = self._session.call("facts")[0]
            if missing := [_INSTALL[name] for name in self._facts["missing"]]:
                self.close()
                raise HostError(
                    f"host {self.name}: its Python {self._facts['python']} has no {' and no '.join(missing)}: pip "
                    f"install {' '.join(missing)} there, or name another interpreter"
                )
        return self._session

    def _known(self) -> Mapping[str, Any]:
        """Return the facts about the host, which do not change while the run lasts."""
        if not self._facts:
            self.session()
        return self._facts

    def learned(self) -> dict[str, Any]:
        """Return what is known about the host, as JSON values, for another process of this run."""
        listed = {backend: codec.encode(cards) for backend, cards in self.listed.items()}
        return {"facts": self._facts, "packages": self._packages, "listed": listed}

    def learn(self, learned: Mapping[str, Any]) -> None:
        """Take over what another process of this run has learned, so that the host need not be asked."""
        self._facts, self._packages = dict(learned["facts"]), dict(learned["packages"])
        for backend, cards in () if self.is_lease else learned["listed"].items():
            self.listed[backend] = tuple(codec.decode(Environment, card) for card in cards)

    def sees_gpu(self) -> bool:
        """Return whether there is a GPU."""
        return bool(self._known()["sees_gpu"])

    def visible_devices(self) -> str | None:
        """Return the value of CUDA_VISIBLE_DEVICES there."""
        found: str | None = self._known()["visible_devices"]
        return found

    def list_uuids(self) -> tuple[str, ...]:
        """Return the UUIDs of MIG slices, and of GPUs without MIG."""
        return tuple(self.session().call("list_uuids")[0])

    def has_package(self, module: str) -> bool:
        """Return whether the interpreter there has a package."""
        if module not in self._packages:
            self._packages[module] = bool(self.session().call("has_package", module=module)[0])
        return self._packages[module]

    def server(self, backend: str) -> RemoteServer:
        """Return what forks probes of a backend there."""
        if backend not in self._servers:
            self._servers[backend] = RemoteServer(self.session(), backend)
        return self._servers[backend]

    def gpu(self, uuid: str) -> _RemoteGpu:
        """Return NVML's view of a GPU there."""
        if uuid not in self._gpus:
            self._gpus[uuid] = _RemoteGpu(self.session, uuid)
        return self._gpus[uuid]

    def energy_meter(self, uuid: str | None) -> Callable[[], RemoteMeter]:
        """Return what opens the energy counter of a GPU there, or of the processors."""
        return lambda: RemoteMeter(self.session, uuid)

    @contextlib.contextmanager
    def lock(self, card: str, title: str) -> Iterator[None]:
        """Lock a card there within the block."""
        session = self.session()
        held, _ = session.call("lock", progress=self._report, card=card, title=title)
        self._say("")
        try:
            yield
        finally:
            with contextlib.suppress(HostError):  # with the link, the lock is lost, too
                session.call("unlock", held=held)

    def _report(self, text: str) -> None:
        self._say(f"{self.name}: {text}" if text else "")

    def claim(self, cards: Sequence[str]) -> str:
        """Return the card that this process should use."""
        return str(self.session().call("claim", cards=list(cards))[0])

    def deliver(self, path: Path) -> Path:
        """Return the path of a file there, after a copy of it unless the host has one."""
        return self.engines.deliver(path)

    def localise(self, spec: EngineSpec) -> EngineSpec:
        """Return the spec with copies there of its plugin libraries and its timing cache."""
        found: dict[str, Any] = {}
        if spec.plugins:
            found["plugins"] = tuple(str(self.deliver(Path(library))) for library in spec.plugins)
        if isinstance(spec.timing_cache, str) and Path(spec.timing_cache).is_file():
            found["timing_cache"] = str(self.deliver(Path(spec.timing_cache)))
        return dataclasses.replace(spec, **found) if found else spec

    def prepare(self, job: BuildJob) -> BuildJob:
        """Return the build with the paths that its files have there, after copies of them."""
        spec = self.localise(job.spec)
        job = dataclasses.replace(job, spec=spec)
        if isinstance(spec.timing_cache, str):
            job = dataclasses.replace(job, timing_cache=spec.timing_cache)
        return self.engines.prepare(job)

    def close(self) -> None:
        """End the agent, and with it every process that this run started there."""
        session, self._session = self._session, None
        self._servers.clear()
        if self.is_lease:  # the next link leads to another card
            self.listed.clear()
            self._gpus.clear()
        if session is not None:
            session.close()


class _RemoteCpu:
    """The load of a host elsewhere."""

    def __init__(self, session: Callable[[], HostSession]) -> None:
        self._session = session

    def read(self) -> dict[str, float]:
        session = self._session()
        return session.take_state() or dict(session.call("cpu_read")[0])

    def proof(self, states: Sequence[Mapping[str, float]]) -> dict[str, str]:
        return dict(self._session().call("cpu_proof", states=[dict(state) for state in states])[0])


class _RemoteGpu:
    """A GPU of a host elsewhere, as NVML there reports it (see `gpu_state.GpuState`)."""

    def __init__(self, session: Callable[[], HostSession], uuid: str) -> None:
        self._session, self._uuid = session, uuid
        self._call("facts")  # an error of NVML is raised here, as by `GpuState`

    def _call(self, call: str, *arguments: Any) -> Any:
        return self._session().call("gpu", uuid=self._uuid, call=call, arguments=list(arguments))[0]

    def read(self) -> dict[str, float]:
        return self._session().take_state() or dict(self._call("read"))

    def power_limit_w(self) -> float | None:
        found: float | None = self._call("power_limit_w")
        return found

    def facts(self) -> dict[str, str]:
        return dict(self._call("facts"))

    def proof(self, states: Sequence[Mapping[str, float]]) -> dict[str, str]:
        return dict(self._call("proof", [dict(state) for state in states]))

    def process_bytes(self, pid: int) -> int | None:
        found: int | None = self._call("process_bytes", pid)
        return found

    def processes(self) -> dict[int, int | None]:
        return {int(pid): used for pid, used in self._call("processes").items()}

    def other_processes(self, own: Collection[int]) -> tuple[Process, ...]:
        return tuple(codec.decode(Process, one) for one in self._call("other_processes", list(own)))

    def wait_until_free(self, own: Collection[int], wait_s: float, report: Callable[[str], None]) -> str | None:
        found: str | None = self._session().call(
            "wait_until_free", progress=report, uuid=self._uuid, own=list(own), wait_s=wait_s
        )[0]
        return found
