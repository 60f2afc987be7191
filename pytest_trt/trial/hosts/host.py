"""The interface of a host: what is done where the cards are.

Tests, models, baselines and verdicts are here. Engines are built, kept and measured on a host, which also has the locks
of its cards. `LocalHost` is this host; `RemoteHost` asks an agent that does the same elsewhere.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from pytest_trt.core.records import Environment
from pytest_trt.engine.backends.base import BuildJob
from pytest_trt.engine.cache.base import EngineStore
from pytest_trt.measure.energy_meter import WatchedMeter
from pytest_trt.measure.gpu_state import Process
from pytest_trt.measure.probe.factory import ProbeFactory
from pytest_trt.spec.engine_spec import EngineSpec

Say = Callable[[str], None]
"""Shows progress: each line replaces the one before, and an empty line ends it."""


class CpuState(Protocol):
    """The load of a host (see `measure.host_state`)."""

    def read(self) -> dict[str, float]:
        """Return the current load."""
        ...

    def proof(self, states: Sequence[Mapping[str, float]]) -> dict[str, str]:
        """Return what a measurement records of the host."""
        ...


class GpuView(Protocol):
    """A GPU as NVML reports it (see `measure.gpu_state.GpuState`)."""

    def read(self) -> dict[str, float]:
        """Return the current state."""
        ...

    def power_limit_w(self) -> float | None:
        """Return the enforced power limit in W; None if this GPU does not report it."""
        ...

    def facts(self) -> dict[str, str]:
        """Return the GPU's settings as text."""
        ...

    def proof(self, states: Sequence[Mapping[str, float]]) -> dict[str, str]:
        """Return what a measurement records of the GPU."""
        ...

    def process_bytes(self, pid: int) -> int | None:
        """Return the device memory of a process in bytes; None if it is not known."""
        ...

    def processes(self) -> dict[int, int | None]:
        """Return the device memory of each process that computes on the GPU, by process id."""
        ...

    def other_processes(self, own: Collection[int]) -> Sequence[Process]:
        """Return the processes on the GPU whose process ids are not in `own`."""
        ...

    def wait_until_free(self, own: Collection[int], wait_s: float, report: Callable[[str], None]) -> str | None:
        """Wait until no other process is busy on the GPU; return a text that names those that still are."""
        ...


class Host(Protocol):
    """A host. Close it, to end every process that it started.

    Attributes:
        name: The name of a host elsewhere; empty for this one.
        cpu: The load of the host.
        listed: The cards that each backend has listed there.
    """

    name: str
    cpu: CpuState
    listed: dict[str, tuple[Environment, ...]]

    @property
    def engines(self) -> EngineStore:
        """The engine cache. Raises CacheError if it cannot be used."""
        ...

    def sees_gpu(self) -> bool:
        """Return whether there is a GPU (see `installed.gpu_is_visible`)."""
        ...

    def visible_devices(self) -> str | None:
        """Return the value of CUDA_VISIBLE_DEVICES; None if it is not set."""
        ...

    def list_uuids(self) -> tuple[str, ...]:
        """Return the UUIDs of every MIG slice, and of every GPU without MIG (see `gpu_state.list_uuids`)."""
        ...

    def has_package(self, module: str) -> bool:
        """Return whether the interpreter has a package (see `installed.is_installed`)."""
        ...

    def server(self, backend: str) -> ProbeFactory:
        """Return the probe server of a backend; a new one if the old one has died.

        Raises:
            BackendError: The backend's package cannot be imported.
        """
        ...

    def gpu(self, uuid: str) -> GpuView:
        """Return NVML's view of a GPU. Raises BackendError if there is none."""
        ...

    def energy_meter(self, uuid: str | None) -> Callable[[], WatchedMeter] | None:
        """Return what opens the energy counter of a GPU or of the processors; None on this host, where it is read."""
        ...

    def lock(self, card: str, title: str) -> contextlib.AbstractContextManager[None]:
        """Lock a card within the block (see `CardLocks.hold`)."""
        ...

    def claim(self, cards: Sequence[str]) -> str:
        """Return the card that this process should use (see `CardLocks.claim`)."""
        ...

    def deliver(self, path: Path) -> Path:
        """Return the path of a file there, after a copy of it if that is another host. A model takes its data along."""
        ...

    def localise(self, spec: EngineSpec) -> EngineSpec:
        """Return the spec with the paths that its files have there."""
        ...

    def prepare(self, job: BuildJob) -> BuildJob:
        """Return the build with the paths that its files have there."""
        ...

    def close(self) -> None:
        """End every process that this run started on the host."""
        ...
