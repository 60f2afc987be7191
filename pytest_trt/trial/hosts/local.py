"""The host that runs this process."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_trt.core.records import Environment
from pytest_trt.engine.backends.base import BuildJob
from pytest_trt.engine.backends.installed import gpu_is_visible, is_installed
from pytest_trt.measure import host_state
from pytest_trt.measure.probe.binding import VISIBLE_DEVICES
from pytest_trt.measure.probe.server import ProbeServer
from pytest_trt.spec.engine_spec import EngineSpec
from pytest_trt.spec.settings import Settings
from pytest_trt.trial.hosts.card_locks import CardLocks
from pytest_trt.trial.hosts.host import CpuState, Say

if TYPE_CHECKING:
    from pytest_trt.engine.cache.store import Store
    from pytest_trt.measure.gpu_state import GpuState


class LocalHost:
    """This host (see `host.Host`).

    Args:
        settings: The settings of the run.
        say: Shows who is waited for.
        python: The interpreter that builds and runs engines.
    """

    name = ""
    cpu: CpuState = host_state

    def __init__(self, settings: Settings, say: Say = lambda text: None, python: str = sys.executable) -> None:
        self._settings, self._python = settings, python
        folder = None if settings.lock_dir is None else Path(settings.rootdir) / Path(settings.lock_dir).expanduser()
        self._locks = CardLocks(folder, say)
        self._servers: dict[tuple[str, str], ProbeServer] = {}
        self._gpus: dict[str, GpuState] = {}
        self._store: Store | None = None
        self.listed: dict[str, tuple[Environment, ...]] = {}

    @property
    def engines(self) -> Store:
        """The engine cache; with --trt-no-cache one that lasts as long as the run.

        Raises:
            CacheError: The cache cannot be used.
        """
        if self._store is None:
            from pytest_trt.engine.cache.folder import cache_folder
            from pytest_trt.engine.cache.store import Store

            if self._settings.no_cache:
                self._store = Store.temporary()
            else:
                self._store = Store(cache_folder(self._settings), self._settings.cache_bytes)
        return self._store

    def sees_gpu(self) -> bool:
        """Return whether environment variables and device files show a GPU."""
        return gpu_is_visible()

    def visible_devices(self) -> str | None:
        """Return the value of CUDA_VISIBLE_DEVICES; None if it is not set."""
        return os.environ.get(VISIBLE_DEVICES)

    def list_uuids(self) -> tuple[str, ...]:
        """Return the UUIDs of every MIG slice, and of every GPU without MIG. Raises BackendError without NVML."""
        from pytest_trt.measure.gpu_state import list_uuids

        return list_uuids()

    def has_package(self, module: str) -> bool:
        """Return whether the interpreter has a package. Raises BackendError if it cannot be started."""
        return is_installed(module, self._python)

    def server(self, backend: str, python: str | None = None) -> ProbeServer:
        """Return the probe server of a backend; a new one if the old one has died.

        Args:
            backend: The backend, or `wire.CONVERSION`.
            python: The interpreter; by default the one that builds and runs engines.

        Raises:
            BackendError: The backend's package cannot be imported.
        """
        key = backend, python or self._python
        if key in self._servers and self._servers[key].is_lost:
            self._servers.pop(key).close()
        if key not in self._servers:
            self._servers[key] = ProbeServer(*key)
        return self._servers[key]

    def gpu(self, uuid: str) -> GpuState:
        """Return NVML's view of a GPU. Raises BackendError if NVML is not installed, or does not know the GPU."""
        if uuid not in self._gpus:
            from pytest_trt.measure.gpu_state import GpuState

            self._gpus[uuid] = GpuState(uuid)
        return self._gpus[uuid]

    def energy_meter(self, uuid: str | None) -> None:
        """Return None: the counters of this host are read by this process."""

    def lock(self, card: str, title: str) -> contextlib.AbstractContextManager[None]:
        """Lock a card within the block (see `CardLocks.hold`)."""
        return self._locks.hold(card, title)

    def claim(self, cards: Sequence[str]) -> str:
        """Return the card that this process should use (see `CardLocks.claim`)."""
        return self._locks.claim(cards)

    def deliver(self, path: Path) -> Path:
        """Return the path: engines are built and run where it is valid."""
        return path

    def localise(self, spec: EngineSpec) -> EngineSpec:
        """Return the spec: engines are built and run where its paths are valid."""
        return spec

    def prepare(self, job: BuildJob) -> BuildJob:
        """Return the job: engines are built where its paths are valid."""
        return job

    def close(self) -> None:
        """End every process that this run started."""
        while self._servers:
            self._servers.popitem()[1].close()
        while self._gpus:
            self._gpus.popitem()[1].close()
        self._locks.close()
        if self._store is not None:
            self._store.close()
            self._store = None
