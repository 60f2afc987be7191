"""What one run works with: probe servers, environments, the engine cache and the locks of devices.

Everything is made when it is first asked for, and nothing survives `close`. The pytest process itself loads no backend.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_trt.core import codec
from pytest_trt.core.backends import BACKENDS
from pytest_trt.core.git import checked_out_commit
from pytest_trt.core.records import Environment
from pytest_trt.engine.backends.base import BuildJob, BuildReport
from pytest_trt.engine.backends.installed import gpu_is_visible, is_installed
from pytest_trt.errors import BackendError, BuildError, CacheError, ProbeError, TrtError
from pytest_trt.measure.probe.server import ProbeServer
from pytest_trt.spec.declaration import Declaration
from pytest_trt.spec.engine_spec import EngineSpec
from pytest_trt.spec.settings import Settings

if TYPE_CHECKING:
    from pytest_trt.core.records import Environment
    from pytest_trt.engine.cache.store import Store
    from pytest_trt.measure.gpu_state import GpuState

ENVIRONMENT_TIMEOUT_S = 120.0

Say = Callable[[str], None]
"""Shows the person who waits what is going on: a line that the next one replaces, and an empty one ends."""


class Bench:
    """The resources of one run. Use it as a context manager, or close it. Engines are built and run by `python`."""

    def __init__(self, settings: Settings, say: Say = lambda text: None, python: str = sys.executable) -> None:
        self.settings, self.say, self.python = settings, say, python
        self._servers: dict[str, ProbeServer] = {}
        self._environments: dict[str, Environment] = {}
        self._lost: dict[str, str] = {}
        self._store: Store | None = None
        self._gpu: GpuState | None = None
        self._held: str | None = None

    def backend_name(self, spec: EngineSpec) -> str:
        """Which backend runs this spec: its own word, else the settings', else the best there is.

        Raises BackendError where there is none.
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
                "a plan is given, and it runs on a GPU with TensorRT only: "
                + ("no GPU is here" if not gpu_is_visible() else "none of TensorRT's packages is installed")
            )
        raise BackendError(
            "nothing that runs engines is installed: pip install 'pytest-trt[cpu]' for ONNX Runtime on the CPU, or "
            "'pytest-trt[tensorrt]' for TensorRT on a GPU"
        )

    def server(self, backend: str) -> ProbeServer:
        """The probe server of a backend; another where the one that there was has died. Raises BackendError where its
        package does not import, and at once where its device was lost."""
        if backend in self._lost:
            raise BackendError(self._lost[backend])
        if backend in self._servers and self._servers[backend].is_lost:
            self._servers.pop(backend).close()
        if backend not in self._servers:
            self._servers[backend] = ProbeServer(backend, self.python)
        return self._servers[backend]

    def lost_device(self, backend: str, node_id: str) -> str:
        """After an error in that test: why the backend's GPU does not work any more, or nothing where it does, in a
        fresh process. What asks for a GPU that is lost fails from then on without a process of its own."""
        known = self._environments.get(backend)
        if known is None or known.kind != "gpu" or backend in self._lost:
            return ""
        try:
            with self.lock(known), self.server(backend).fork() as probe:
                probe.call("activate", timeout_s=ENVIRONMENT_TIMEOUT_S, name=backend, device=self.settings.device)
        except TrtError as error:
            if "cudaErrorMemoryAllocation" in str(error):  # somebody else has it all, and may give it back
                return ""
            self._lost[backend] = f"not run: {known.device} was lost in {node_id}"
            return f"{known.device} does not work in a fresh process either ({error}): see nvidia-smi and dmesg"
        return ""

    def environment(self, backend: str) -> Environment:
        """The device and software, as a probe sees them. Raises BackendError where the device does not work."""
        if backend not in self._environments:
            with self.server(backend).fork() as probe:
                reply, _ = probe.call(
                    "environment", timeout_s=ENVIRONMENT_TIMEOUT_S, name=backend, device=self.settings.device
                )
            seen = codec.decode(Environment, reply)
            from pytest_trt.core.version import __version__

            notes = seen.notes
            if seen.kind == "cpu" and gpu_is_visible():
                notes = (*notes, "a GPU is here, but this ran on the CPU")
            self._environments[backend] = dataclasses.replace(
                seen, plugin=__version__, commit=checked_out_commit(Path(self.settings.rootdir)), notes=notes
            )
        return self._environments[backend]

    def environment_for(self, backend: str, spec: EngineSpec) -> Environment:
        """The environment that an engine is for: with an ahead-of-time build, the compute capabilities it names, and no
        device is asked; nor for a plan that is given, where nothing is run."""
        if self.settings.build_only and spec.is_prebuilt:
            return Environment(device="any", kind="gpu", backend=backend, backend_version="")
        if not (self.settings.build_only and spec.compute_capabilities):
            try:
                return self.environment(backend)
            except BackendError as error:
                if not spec.compute_capabilities:
                    raise
                hint = "with --trt-build-only, compute_capabilities are built for without a GPU"
                raise BackendError(f"{error} ({hint})") from error
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
        """The declaration with what the settings say where the spec says nothing."""
        spec = declaration.spec
        if BACKENDS[backend].ahead_of_time and not spec.compute_capabilities and not spec.is_prebuilt:
            spec = dataclasses.replace(spec, compute_capabilities=self.settings.compute_capabilities)
        return dataclasses.replace(declaration, spec=spec)

    def gpu(self, environment: Environment) -> GpuState | None:
        """NVML's view of the device; None on a CPU. Raises BackendError where NVML is absent."""
        if environment.device_uuid is None:
            return None
        if self._gpu is None:
            from pytest_trt.measure.gpu_state import GpuState

            self._gpu = GpuState(environment.device_uuid)
        return self._gpu

    @property
    def store(self) -> Store:
        """The engine cache; with --trt-no-cache one that lasts as long as the run. Raises CacheError where it cannot
        be used."""
        if self._store is None:
            import platformdirs

            from pytest_trt.engine.cache.store import Store

            if self.settings.no_cache:
                self._store = Store.temporary()
            else:
                folder = self.settings.cache_dir or platformdirs.user_cache_dir("pytest-trt", appauthor=False)
                self._store = Store(Path(self.settings.rootdir) / Path(folder).expanduser(), self.settings.cache_bytes)
        return self._store

    def strongly_typed(self, backend: str, spec: EngineSpec) -> bool:
        """Whether a network of this backend has the types of its model, so that a precision needs a converted model."""
        if BACKENDS[backend].runs_model or spec.strongly_typed:
            return True
        from pytest_trt.engine.backends.tensorrt.versions import strongly_typed

        return strongly_typed(backend, self.server(backend).version)

    def build(self, job: BuildJob) -> BuildReport:
        """Build in a process of its own, saying what goes on."""
        started, name = time.monotonic(), Path(job.spec.path or job.model).name
        limit_s = job.spec.build_timeout_s
        left_s = max(limit_s - job.preparation_s, 0.001)

        def progress(text: str, share: float) -> None:
            done = f", {share:.0%}" if share >= 0 else ""
            elapsed_s = time.monotonic() - started
            self.say(f"building {name} ({job.spec.precision}): {text or 'working'}{done}, {elapsed_s:.0f} s")

        try:
            with self.server(job.backend).fork() as probe:
                reply, _ = probe.call("build", timeout_s=left_s, job=codec.encode(job), progress=progress)
        except ProbeError as error:
            if time.monotonic() - started < left_s:
                raise
            raise BuildError(
                f"building {name} took longer than build_timeout_s={limit_s:g} and was ended: allow more, or ask the "
                "builder for less (optimization_level)"
            ) from error
        finally:
            self.say("")
        return codec.decode(BuildReport, reply)

    @contextlib.contextmanager
    def lock(self, environment: Environment) -> Iterator[None]:
        """The device, alone: one build or measurement at a time, across workers and runs of this user on this host."""
        from filelock import FileLock, Timeout

        device = environment.device_uuid or environment.kind
        if self._held == device:
            yield
            return
        path = _lock_folder() / f"{re.sub(r'[^A-Za-z0-9.-]+', '-', device)}.lock"
        lock = FileLock(path)
        started = time.monotonic()
        while True:
            try:
                lock.acquire(timeout=1.0)
                break
            except Timeout:
                waited_s = time.monotonic() - started
                self.say(f"waiting for {environment.device}: another run measures or builds on it, {waited_s:.0f} s")
        if time.monotonic() - started >= 1.0:
            self.say("")
        self._held = device
        try:
            yield
        finally:
            self._held = None
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


def _lock_folder() -> Path:
    """A folder of this user's on this host. Not in the engine cache: runs with different caches share a device."""
    folder = Path(tempfile.gettempdir()) / f"pytest-trt-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.is_symlink() or folder.stat().st_uid != os.getuid():
        raise CacheError(f"{folder} belongs to somebody else: remove it, or set TMPDIR to a folder of your own")
    return folder
