"""The backend for ONNX Runtime on the CPU, which needs no GPU.

Its plan is the model itself.

The number of threads is fixed, and they do not spin: two processes that spin on the same cores run at half their speed,
and their times scatter by half.

Sums of int8 products are exact. On x86 CPUs without VNNI, ONNX Runtime's faster sums saturate at 16 bits, so that the
outputs depend on the processor (onnxruntime_session_options_config_keys.h).
"""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pytest_trt.core.backends import BACKENDS
from pytest_trt.core.records import Environment, Layer
from pytest_trt.core.scratch import ScratchFolder
from pytest_trt.engine.backends.base import Backend, BuildJob, BuildReport, Progress
from pytest_trt.engine.backends.host import host_cpu, host_digest, host_os, usable_cpus
from pytest_trt.engine.backends.onnxruntime_profile import DTYPES, parse_profile
from pytest_trt.engine.backends.onnxruntime_session import cannot_load, create_session, session_options
from pytest_trt.engine.backends.plan_header import HEADER_BYTES, parse_header
from pytest_trt.engine.onnx.bfloat16 import find_bfloat16
from pytest_trt.engine.onnx.messages import readable_message
from pytest_trt.engine.onnx.model_files import copy_model
from pytest_trt.engine.tensors import Tensor
from pytest_trt.errors import BackendError, BuildError
from pytest_trt.spec.engine_spec import EngineSpec

if TYPE_CHECKING:
    from pytest_trt.engine.tensors import Arrays


def open_backend(name: str) -> Backend:
    """Return the backend. Raises BackendError if ONNX Runtime cannot be imported."""
    try:
        import onnxruntime
    except ImportError as error:
        raise BackendError(f"onnxruntime cannot be imported ({error}): {BACKENDS[name].install}") from error
    return OnnxRuntime(onnxruntime)


class OnnxRuntime:
    """ONNX Runtime with its CPU execution provider.

    Args:
        module: The module `onnxruntime`.
    """

    name = "onnxruntime"

    def __init__(self, module: Any) -> None:
        self._ort = module

    def version(self) -> str:
        """Return the version of ONNX Runtime."""
        return str(self._ort.__version__)

    def device_count(self) -> int:
        """Return 1: the CPU."""
        return 1

    def environment(self, device: str) -> Environment:
        """Return the record of the CPU and the software; `device` is ignored."""
        cpus = usable_cpus()
        return Environment(
            device=f"{host_cpu()}, {cpus} CPUs",
            kind="cpu",
            backend=self.name,
            backend_version=self.version(),
            host_cpu=host_cpu(),
            host_cpus=cpus,
            host=host_digest(),
            threads=cpus,
            os=host_os(),
            python=platform.python_version(),
        )

    def check(self, model: Path, spec: EngineSpec) -> None:
        """Load a model, and close it; see `Backend.check`."""
        if spec.precision not in ("fp32", "fp16", "int8"):
            raise BuildError(f"precision={spec.precision!r}: choose fp32, fp16 or int8 for ONNX Runtime on a CPU")
        self.load(model, "", spec).close()

    def build(self, job: BuildJob, progress: Progress) -> BuildReport:
        """Copy the model to the plan, and load it once to check it; see `Backend.build`."""
        started = time.perf_counter()
        plan = Path(job.output) / "plan"
        progress("copying the model", -1.0)
        copy_model(Path(job.model), plan)
        progress("optimising the graph", -1.0)
        self.check(plan, job.spec)
        size = sum(part.stat().st_size for part in plan.parent.glob("plan*"))
        return BuildReport(seconds=time.perf_counter() - started, plan_bytes=size)

    def preload(self) -> None:
        """Do nothing: the package is imported already."""

    def initialize_driver(self) -> None:
        """Do nothing: there is no driver."""

    def activate(self, device: str) -> None:
        """Do nothing: the processor is always ready."""

    def load(self, plan: Path, device: str, spec: EngineSpec) -> OnnxRuntimeEngine:
        """Load a model.

        Raises:
            BackendError: The plan was built by TensorRT, or a tensor's data type has no NumPy array.
            BuildError: ONNX Runtime cannot load the model.
        """
        with plan.open("rb") as file:
            origin = parse_header(file.read(HEADER_BYTES))
        if origin is not None:
            raise BackendError(
                f"{plan} was built by {origin}, which ONNX Runtime cannot run: choose a backend with --trt-backend"
            )
        return OnnxRuntimeEngine(self._ort, plan, spec.threads or usable_cpus())


class OnnxRuntimeEngine:
    """An inference session of ONNX Runtime.

    Args:
        module: The module `onnxruntime`.
        plan: The model.
        threads: The number of threads that run an operator.
    """

    kind: Literal["device", "host"] = "host"

    def __init__(self, module: Any, plan: Path, threads: int) -> None:
        self._ort, self._plan, self._threads = module, plan, threads
        self.proof = {"provider": "CPUExecutionProvider", "threads": str(threads), "spinning": "off"}
        self._session = self._open_session(self._options())
        self.inputs = tuple(to_tensor(node) for node in self._session.get_inputs())
        self.outputs = tuple(to_tensor(node) for node in self._session.get_outputs())
        self._misdeclared: tuple[str, ...] = ()
        for tensor in (*self.inputs, *self.outputs):
            if tensor.dtype == "bfloat16":  # The bindings accept and return NumPy's own data types only.
                raise BackendError(
                    f"{tensor.name!r} is bfloat16, which NumPy arrays cannot hold: export the model with float32 "
                    "inputs and outputs, or choose another backend with --trt-backend"
                )

    def _options(self) -> Any:
        options = session_options(self._ort, self._threads)
        options.add_session_config_entry("session.x64quantprecision", "1")
        return options

    def _open_session(self, options: Any) -> Any:
        try:
            return create_session(self._ort, self._plan, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime's exceptions share no base class but Exception.
            message = cannot_load(self._ort, self._plan, error)
            if "NOT_IMPLEMENTED" in str(error) and (name := find_bfloat16(self._plan)) is not None:
                message += (
                    f"; {name!r} is bfloat16, which few operators of ONNX Runtime support on a CPU: export the "
                    "model in float32, or choose another backend with --trt-backend"
                )
            raise BuildError(message) from error

    def run(self, inputs: Arrays) -> Arrays:
        """Run one inference. Raises BackendError if ONNX Runtime cannot run the model on these inputs."""
        try:
            values = self._session.run(None, dict(inputs))
        except Exception as error:  # ONNX Runtime's exceptions share no base class but Exception.
            raise BackendError(f"ONNX Runtime cannot run the model: {readable_message(error)}") from error
        pairs = tuple(zip(self.outputs, values, strict=True))
        self._misdeclared = tuple(tensor.name for tensor, value in pairs if not tensor.accepts(value.shape))
        return {tensor.name: value for tensor, value in pairs}

    def bind_inputs(self, inputs: Arrays) -> Callable[[], None]:
        """Return a call that infers on `inputs` without copying arrays, for timing.

        Each call writes the outputs to the memory of the call before. An output whose shape differed from the model's
        declaration in the last `run` gets new memory in each call: ONNX Runtime can allocate such an output, but
        refuses to write to it again.
        """
        binding = self._session.io_binding()
        for name, array in inputs.items():
            binding.bind_cpu_input(name, array)
        for tensor in self.outputs:
            binding.bind_output(tensor.name)
        session, misdeclared = self._session, self._misdeclared

        def call() -> None:
            for name in misdeclared:
                binding.bind_output(name)
            session.run_with_iobinding(binding)

        return call

    def step(self, inputs: Mapping[str, Any]) -> Mapping[str, Any]:
        """Run one inference on arrays or OrtValues, and return OrtValues. Raises BackendError as `run` does."""
        names, make = [tensor.name for tensor in self.outputs], self._ort.OrtValue.ortvalue_from_numpy
        values = {name: value if hasattr(value, "numpy") else make(value) for name, value in inputs.items()}
        try:
            return dict(zip(names, self._session.run_with_ort_values(names, values), strict=True))
        except Exception as error:  # ONNX Runtime's exceptions share no base class but Exception.
            raise BackendError(f"ONNX Runtime cannot run the model: {readable_message(error)}") from error

    def profile(self, inputs: Arrays, runs: int) -> tuple[Layer, ...]:
        """Return the layers with their median times over `runs` inferences.

        The times are those of ONNX Runtime's profiler, in a separate session.
        """
        with ScratchFolder("profile") as folder:
            options = self._options()
            options.enable_profiling = True
            options.profile_file_prefix = str(folder / "profile")
            session = self._open_session(options)
            for _ in range(runs + 1):
                session.run(None, dict(inputs))
            events = json.loads(Path(session.end_profiling()).read_text())
        return parse_profile(events)

    def memory(self) -> Mapping[str, int]:
        """Return nothing: there is no device memory."""
        return {}

    def layers(self) -> tuple[Layer, ...]:
        """Return nothing: ONNX Runtime reports layers only in `profile`."""
        return ()

    def close(self) -> None:
        """Free the session."""
        self._session = None


def to_tensor(node: Any) -> Tensor:
    """Return the record of an input or output. Raises BackendError for a type that is not a tensor of numbers."""
    kind = node.type.removeprefix("tensor(").removesuffix(")")
    if kind not in DTYPES:
        raise BackendError(
            f"{node.name!r} is of type {node.type}: only tensors of numbers can be inputs or outputs; export the "
            "model without it"
        )
    return Tensor(node.name, DTYPES[kind], tuple(d if isinstance(d, int) else -1 for d in node.shape or ()))
