"""ONNX Runtime on the CPU: the backend that every machine has.

Its plan is the model itself. Threads are fixed and do not spin: two processes that spin on the same cores cost each
other half their speed and scatter by as much. int8 is added up exactly: where an x86 CPU lacks VNNI, ONNX Runtime's
faster sums saturate at 16 bits, and answers depend on the processor (onnxruntime_session_options_config_keys.h).
"""

from __future__ import annotations

import functools
import json
import platform
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pytest_trt.core.backends import BACKENDS
from pytest_trt.core.records import Environment, Layer
from pytest_trt.engine.backends.base import Backend, BuildJob, BuildReport, Progress
from pytest_trt.engine.backends.host import host_cpu, host_os, usable_cpus
from pytest_trt.engine.backends.plan_header import HEADER_BYTES, parse_header
from pytest_trt.engine.onnx import rewrite, traverse
from pytest_trt.engine.onnx.messages import readable_message
from pytest_trt.engine.onnx.model_files import copy_model
from pytest_trt.engine.tensors import Tensor
from pytest_trt.errors import BackendError, BuildError
from pytest_trt.spec.engine_spec import EngineSpec

if TYPE_CHECKING:
    from pytest_trt.engine.tensors import Arrays

_DTYPES = {
    "float": "float32", "double": "float64", "float16": "float16", "bfloat16": "bfloat16", "bool": "bool",
    **{f"{sign}int{bits}": f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)},
}  # fmt: skip

_WEIGHTS_FOLDER = "session.model_external_initializers_file_folder_path"
"""The session option that names the folder of external weights, for a model that is loaded from memory."""


def open_backend(name: str) -> Backend:
    try:
        import onnxruntime
    except ImportError as error:
        raise BackendError(f"onnxruntime cannot be imported ({error}): {BACKENDS[name].install}") from error
    return OnnxRuntime(onnxruntime)


class OnnxRuntime:
    """ONNX Runtime with its CPU execution provider."""

    name = "onnxruntime"

    def __init__(self, module: Any) -> None:
        self._ort = module

    def version(self) -> str:
        return str(self._ort.__version__)

    def environment(self, device: str) -> Environment:
        cpus = usable_cpus()
        return Environment(
            device=f"{host_cpu()}, {cpus} CPUs",
            kind="cpu",
            backend=self.name,
            backend_version=self.version(),
            host_cpu=host_cpu(),
            host_cpus=cpus,
            threads=cpus,
            os=host_os(),
            python=platform.python_version(),
        )

    def build(self, job: BuildJob, progress: Progress) -> BuildReport:
        if job.spec.precision not in ("fp32", "fp16", "int8"):
            raise BuildError(
                f"precision={job.spec.precision!r}: ONNX Runtime on a CPU has fp32, fp16 and int8; choose one of them, "
                "or another backend with --trt-backend"
            )
        started = time.perf_counter()
        plan = Path(job.output) / "plan"
        progress("copying the model", -1.0)
        copy_model(Path(job.model), plan)
        progress("optimising the graph", -1.0)
        engine = self.load(plan, job.device, job.spec)
        engine.close()
        size = sum(part.stat().st_size for part in plan.parent.glob("plan*"))
        return BuildReport(seconds=time.perf_counter() - started, plan_bytes=size)

    def preload(self) -> None:
        """Nothing: the package is imported."""

    def initialize_driver(self) -> None:
        """Nothing."""

    def activate(self, device: str) -> None:
        """Nothing: the processor is ready."""

    def load(self, plan: Path, device: str, spec: EngineSpec) -> OnnxRuntimeEngine:
        """Raises BackendError for a plan of TensorRT's, BuildError for what is no model."""
        with plan.open("rb") as file:
            origin = parse_header(file.read(HEADER_BYTES))
        if origin is not None:
            raise BackendError(
                f"{plan} was built by {origin}, which ONNX Runtime cannot run: choose another --trt-backend"
            )
        return OnnxRuntimeEngine(self._ort, plan, spec.threads or usable_cpus())


class OnnxRuntimeEngine:
    """One inference session. `run` infers once; `bind_inputs` gives a call with inputs and outputs already in place."""

    kind: Literal["device", "host"] = "host"

    def __init__(self, module: Any, plan: Path, threads: int) -> None:
        self._ort, self._plan, self._threads = module, plan, threads
        self.proof = {"provider": "CPUExecutionProvider", "threads": str(threads), "spinning": "off"}
        self._session = self._open(self._options())
        self.inputs = tuple(_tensor(node) for node in self._session.get_inputs())
        self.outputs = tuple(_tensor(node) for node in self._session.get_outputs())
        self._misdeclared: tuple[str, ...] = ()
        for tensor in (*self.inputs, *self.outputs):
            if tensor.dtype == "bfloat16":  # numpy has none, and the Python binding knows no other
                raise BackendError(
                    f"{tensor.name!r} is bfloat16, which ONNX Runtime takes from and gives to no array: "
                    "export the model with float32 inputs and outputs, or choose another --trt-backend"
                )

    def _options(self) -> Any:
        options = self._ort.SessionOptions()
        options.intra_op_num_threads = self._threads
        options.inter_op_num_threads = 1
        options.execution_mode = self._ort.ExecutionMode.ORT_SEQUENTIAL
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.add_session_config_entry("session.x64quantprecision", "1")
        options.log_severity_level = 3
        return options

    def _open(self, options: Any) -> Any:
        try:
            return self._accepted(options)
        except Exception as error:  # ONNX Runtime's exceptions share no base but Exception
            what = "the model" if self._plan.name == "plan" else self._plan  # that is how the cache names all of them
            said = f"ONNX Runtime {self._ort.__version__} cannot load {what}: {readable_message(error)}"
            if "NOT_IMPLEMENTED" in str(error) and (name := _bfloat16(self._plan)) is not None:
                said += (
                    f"; {name!r} is bfloat16, in which it computes next to nothing on a CPU: export the model in "
                    "float32, or choose another --trt-backend"
                )
            raise BuildError(said) from error

    def _accepted(self, options: Any) -> Any:
        """A session on the plan; where nodes share a name, which it refuses, on a copy that tells them apart."""
        session = functools.partial(
            self._ort.InferenceSession, sess_options=options, providers=["CPUExecutionProvider"]
        )
        try:
            return session(str(self._plan))
        except Exception as error:
            if "same node name" not in str(error):
                raise
        options.add_session_config_entry(_WEIGHTS_FOLDER, str(self._plan.parent))
        return session(_told_apart(self._plan))

    def run(self, inputs: Arrays) -> Arrays:
        try:
            values = self._session.run(None, dict(inputs))
        except Exception as error:  # likewise
            raise BackendError(f"ONNX Runtime cannot run the model: {readable_message(error)}") from error
        pairs = tuple(zip(self.outputs, values, strict=True))
        self._misdeclared = tuple(tensor.name for tensor, value in pairs if not tensor.accepts(value.shape))
        return {tensor.name: value for tensor, value in pairs}

    def bind_inputs(self, inputs: Arrays) -> Callable[[], None]:
        """A call that infers on `inputs` where they lie, for timing without the cost of handing arrays over.

        Outputs lie where the call before left them. One whose shape, when it was last `run`, was not what the model
        declares gets new memory each time: ONNX Runtime makes such an output, and refuses to write into it again.
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

    def profile(self, inputs: Arrays, runs: int) -> tuple[Layer, ...]:
        """The layers with their median time over `runs`, from ONNX Runtime's own profiler in a session of its own."""
        with tempfile.TemporaryDirectory() as folder:
            options = self._options()
            options.enable_profiling = True
            options.profile_file_prefix = str(Path(folder) / "profile")
            session = self._open(options)
            for _ in range(runs + 1):
                session.run(None, dict(inputs))
            events = json.loads(Path(session.end_profiling()).read_text())
        return _layers(events)

    def memory(self) -> Mapping[str, int]:
        return {}

    def layers(self) -> tuple[Layer, ...]:
        return ()

    def close(self) -> None:
        self._session = None


def _layers(events: list[dict[str, Any]]) -> tuple[Layer, ...]:
    """Kernel events to layers, in order of first appearance. The first run of each is warm-up and left out."""
    import statistics

    times: dict[str, list[float]] = {}
    facts: dict[str, dict[str, Any]] = {}
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
            name = event["name"].removesuffix("_kernel_time")
            times.setdefault(name, []).append(event["dur"] / 1000)
            facts[name] = event.get("args", {})
    return tuple(
        Layer(
            name=name,
            ms=statistics.median(values[1:] or values),
            kind=str(facts[name].get("op_name", "")),
            precision=_precision(facts[name]),
            nodes=(name,),
        )
        for name, values in times.items()
    )


def _precision(facts: dict[str, Any]) -> str:
    shapes = facts.get("output_type_shape") or []
    return _DTYPES.get(next(iter(shapes[0]), ""), "") if shapes else ""


def _tensor(node: Any) -> Tensor:
    kind = node.type.removeprefix("tensor(").removesuffix(")")
    if kind not in _DTYPES:
        raise BackendError(f"{node.name!r} is of type {node.type}, which is no tensor of numbers: it cannot be fed")
    return Tensor(node.name, _DTYPES[kind], tuple(d if isinstance(d, int) else -1 for d in node.shape or ()))


def _told_apart(model: Path) -> bytes:
    """A model whose nodes have a name each, which TensorRT does not ask for. Weights stay in their files."""
    import onnx

    light = onnx.load(str(model), load_external_data=False)
    rewrite.make_node_names_unique(light)
    return bytes(light.SerializeToString())


def _bfloat16(model: Path) -> str | None:
    """A value of a model that is bfloat16, if there is one."""
    import onnx

    kind, light = onnx.TensorProto.BFLOAT16, onnx.load(str(model), load_external_data=False)
    for graph in traverse.graphs(light):
        for value in (*graph.input, *graph.output, *graph.value_info):
            if value.type.tensor_type.elem_type == kind:
                return str(value.name)
    names = [tensor.name for tensor in traverse.tensors(light) if tensor.data_type == kind]
    casts = (node for node in traverse.nodes(light) if node.op_type == "Cast")
    names += [node.output[0] for node in casts if any(a.name == "to" and a.i == kind for a in node.attribute)]
    return next(iter(names), None)
