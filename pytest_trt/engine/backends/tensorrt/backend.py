"""The backend for TensorRT, TensorRT-RTX, and the lean and dispatch runtimes, which are four packages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pytest_trt.core.records import Environment
from pytest_trt.engine.backends import cuda
from pytest_trt.engine.backends.base import Backend, BuildJob, BuildReport, Progress
from pytest_trt.engine.backends.gpu_environment import GpuBackend, gpu_environment
from pytest_trt.engine.backends.tensorrt import versions
from pytest_trt.engine.backends.tensorrt.build import build, check
from pytest_trt.engine.backends.tensorrt.load import DeviceEngine
from pytest_trt.spec.engine_spec import EngineSpec


def open_backend(name: str) -> Backend:
    """Return the backend for the package with that name. Raises BackendError if it cannot be imported."""
    return TensorRT(versions.import_package(name))


class TensorRT(GpuBackend):
    """A backend over one of TensorRT's packages.

    Args:
        package: The module of the package.

    Attributes:
        name: The package's name, which is also the backend's.
        strongly_typed: Whether another precision needs another model (see `versions.strongly_typed`).
    """

    def __init__(self, package: Any) -> None:
        self._trt = package
        self.name: str = package.__name__
        self.strongly_typed = versions.strongly_typed(self.name, self.version())

    def version(self) -> str:
        """Return the version of the package."""
        return str(self._trt.__version__)

    def device_count(self) -> int:
        """Return the number of visible GPUs."""
        return cuda.device_count()

    def environment(self, device: str) -> Environment:
        """Return the record of the GPU and the software.

        The driver is checked first, since the lean runtime crashes without one.
        """
        return gpu_environment(device, self.name, self.version())

    def activate(self, device: str) -> None:
        """Create the CUDA context on that device."""
        cuda.device(device).activate()

    def check(self, model: Path, spec: EngineSpec) -> None:
        """Parse a model; see `pytest_trt.engine.backends.tensorrt.build.check`."""
        check(self._trt, model, spec)

    def build(self, job: BuildJob, progress: Progress) -> BuildReport:
        """Build a plan; see `pytest_trt.engine.backends.tensorrt.build.build`."""
        return build(self._trt, job, progress)

    def load(self, plan: Path, device: str, spec: EngineSpec) -> DeviceEngine:
        """Load a plan on that device; see `DeviceEngine`."""
        return DeviceEngine(self._trt, plan, cuda.device(device), spec)
