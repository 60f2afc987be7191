"""The backend for ONNX Runtime on a GPU. Its plan is the model itself."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from pytest_trt.core.backends import BACKENDS
from pytest_trt.core.records import Environment
from pytest_trt.engine.backends import cuda
from pytest_trt.engine.backends.base import Backend, BuildJob, BuildReport, Progress
from pytest_trt.engine.backends.gpu_environment import GpuBackend, gpu_environment
from pytest_trt.engine.backends.onnxruntime_gpu import placement
from pytest_trt.engine.backends.onnxruntime_gpu.dynamic_outputs import dynamic_outputs
from pytest_trt.engine.backends.onnxruntime_gpu.engine import OrtDeviceEngine
from pytest_trt.engine.backends.onnxruntime_gpu.host_engine import OrtHostEngine
from pytest_trt.engine.backends.onnxruntime_gpu.provider import PROVIDERS, load_provider, require_package
from pytest_trt.engine.backends.plan_header import HEADER_BYTES, parse_header
from pytest_trt.engine.onnx.model_files import copy_model
from pytest_trt.errors import BackendError, BuildError
from pytest_trt.spec.engine_spec import EngineSpec

_PRECISIONS = ("fp32", "fp16", "int8")


def open_backend(name: str) -> Backend:
    """Return the backend. Raises BackendError if ONNX Runtime cannot be imported, or was built without the provider."""
    try:
        import onnxruntime
    except ImportError as error:
        raise BackendError(f"onnxruntime cannot be imported ({error}): {BACKENDS[name].install}") from error
    require_package(onnxruntime, name)
    return OnnxRuntimeGpu(onnxruntime, name)


class OnnxRuntimeGpu(GpuBackend):
    """ONNX Runtime with an execution provider on a GPU.

    Args:
        module: The module `onnxruntime`.
        name: The name of the backend, which decides the provider.
    """

    def __init__(self, module: Any, name: str) -> None:
        self._ort, self.name = module, name

    def version(self) -> str:
        """Return the version of ONNX Runtime."""
        return str(self._ort.__version__)

    def device_count(self) -> int:
        """Return the number of visible GPUs. Raises BackendError if a provider does not load, or if there is none."""
        self._load_providers(0)
        return cuda.device_count()

    def environment(self, device: str) -> Environment:
        """Return the record of the GPU and the software. Raises BackendError if a provider does not load."""
        self._load_providers(cuda.device(device).ordinal)
        return gpu_environment(device, self.name, self.version())

    def _load_providers(self, device: int) -> None:
        for provider in PROVIDERS[self.name]:
            load_provider(self._ort, provider, device)

    def activate(self, device: str) -> None:
        """Load the providers, and create the CUDA context on that device."""
        found = cuda.device(device)
        self._load_providers(found.ordinal)
        found.activate()

    def check(self, model: Path, spec: EngineSpec) -> None:
        """Load a model, and close it; see `Backend.check`."""
        _check_precision(spec)
        self._load(model, "0", spec).open_session({})

    def build(self, job: BuildJob, progress: Progress) -> BuildReport:
        """Copy the model to the plan, and prove on the GPU where its nodes run; see `Backend.build`."""
        started = time.perf_counter()
        _check_precision(job.spec)
        plan = Path(job.output) / "plan"
        progress("copying the model", -1.0)
        copy_model(Path(job.model), plan)
        placement.name_all_nodes(plan)
        progress("optimising the graph", -1.0)
        self._load(plan, job.device, job.spec).open_session({})
        size = sum(part.stat().st_size for part in plan.parent.glob("plan*"))
        return BuildReport(seconds=time.perf_counter() - started, plan_bytes=size)

    def load(self, plan: Path, device: str, spec: EngineSpec) -> OrtDeviceEngine | OrtHostEngine:
        """Load a model; one with an output whose shape depends on the data runs by calls (see `OrtHostEngine`).

        Raises:
            BackendError: The plan was built by TensorRT, there is no such device, or the provider does not load.
            BuildError: ONNX Runtime cannot load the model.
            ModelError: The plan is no ONNX model.
        """
        engine = self._load(plan, device, spec)
        dynamic = dynamic_outputs(plan)
        return OrtHostEngine(engine, dynamic) if dynamic else engine

    def open_session(self, plan: Path, device: str, spec: EngineSpec, *, profile_prefix: str) -> Any:
        """Return a session whose profiler writes to a file; see `OrtDeviceEngine.open_session`."""
        return self._load(plan, device, spec).open_session({}, profile_prefix=profile_prefix)

    def _load(self, plan: Path, device: str, spec: EngineSpec) -> OrtDeviceEngine:
        with plan.open("rb") as file:
            origin = parse_header(file.read(HEADER_BYTES))
        if origin is not None:
            raise BackendError(
                f"{plan} was built by {origin}, which ONNX Runtime cannot run: choose a backend with --trt-backend"
            )
        return OrtDeviceEngine(self._ort, self.name, plan, cuda.device(device), spec)


def _check_precision(spec: EngineSpec) -> None:
    if spec.precision not in _PRECISIONS:
        raise BuildError(f"precision={spec.precision!r}: choose fp32, fp16 or int8 for ONNX Runtime")
