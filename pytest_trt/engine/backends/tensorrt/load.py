"""Load a plan: its inputs, outputs and profiles."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pytest_trt.core.records import Layer
from pytest_trt.engine.backends import cuda
from pytest_trt.engine.backends.plan_header import PlanOrigin, check_capabilities, check_origin
from pytest_trt.engine.backends.tensorrt import versions
from pytest_trt.engine.backends.tensorrt.context import DeviceContext
from pytest_trt.engine.backends.tensorrt.formats import LINEAR, format_name, is_on_host
from pytest_trt.engine.backends.tensorrt.layers import parse_layers, read_inspector_json
from pytest_trt.engine.backends.tensorrt.log import logger
from pytest_trt.engine.backends.tensorrt.plugins import load_plugins
from pytest_trt.engine.backends.tensorrt.weights import restore_weights, set_streaming_budget
from pytest_trt.engine.tensors import Tensor
from pytest_trt.errors import BackendError, InputError
from pytest_trt.spec.engine_spec import EngineSpec
from pytest_trt.spec.shape_ranges import Shape, ShapeRange


class DeviceEngine:
    """A plan, loaded on a device.

    A version-compatible plan contains its own runtime, which is code that runs on the host: it is rejected unless
    `spec` allows it. The weights of a stripped plan are restored from the model beside it.

    Args:
        trt: The module of the package.
        plan: The file of the plan.
        device: The device.
        spec: Its plugins, `dla_core`, `weight_streaming_budget` and `host_code_allowed` apply.
        allocator: An IGpuAllocator to use instead of TensorRT's own allocator.

    Attributes:
        inputs: The inputs; -1 in a shape is dynamic.
        outputs: The outputs; -1 in a shape is dynamic or depends on the data.
        aux_streams: The number of auxiliary streams that the engine uses.
        aliases: The input whose memory an output must share, by the name of the output: a cache that is updated in
            place.
        profiles: For each optimisation profile, the (min, opt, max) shapes of every input by name.

    Raises:
        BackendError: The file is no plan, or belongs to another product, version or device; a plugin library does not
            load; or there is not enough memory.
    """

    kind: Literal["device", "host"] = "device"

    def __init__(self, trt: Any, plan: Path, device: cuda.Device, spec: EngineSpec, *, allocator: Any = None) -> None:
        self.trt, self.plan, self.device, self._spec = trt, plan, device, spec
        device.activate()
        origin = check_origin(trt.__name__, trt.__version__, plan, spec.host_code_allowed)
        major, minor = device.compute_capability
        check_capabilities(origin, plan, [10 * major + minor], f"{device.name} has")
        log = logger(trt)
        log.clear()
        self._allocator = allocator
        self._runtime = trt.Runtime(log)
        load_plugins(trt, self._runtime, spec.plugins)
        if spec.host_code_allowed:
            self._runtime.engine_host_code_allowed = True
        if spec.dla_core is not None:
            self._runtime.DLA_core = spec.dla_core
        if allocator is not None:
            self._runtime.gpu_allocator = allocator
        self._engine = self._runtime.deserialize_cuda_engine(plan.read_bytes())
        if self._engine is None:
            raise BackendError(_describe_failure(trt, plan, origin, device, spec.host_code_allowed))
        restore_weights(trt, self._engine, plan)
        set_streaming_budget(trt, self._engine, spec.weight_streaming_budget)
        self._read()

    def _read(self) -> None:
        """Read the inputs, the outputs and the profiles."""
        engine, trt = self._engine, self.trt
        names = [engine.get_tensor_name(i) for i in range(engine.num_io_tensors)]
        tensors = {name: self._tensor(name) for name in names}
        input_names = [name for name in names if engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT]
        self.inputs = tuple(tensors[name] for name in input_names)
        self.outputs = tuple(tensors[name] for name in names if name not in input_names)
        self.aliases: Mapping[str, str] = versions.aliases(engine, [tensor.name for tensor in self.outputs])
        self.aux_streams = int(engine.num_aux_streams)
        numbers = range(max(int(engine.num_optimization_profiles), 1))
        self.profiles: tuple[Mapping[str, ShapeRange], ...] = tuple(
            {tensor.name: self._range(tensor, profile) for tensor in self.inputs} for profile in numbers
        )

    def _tensor(self, name: str) -> Tensor:
        engine = self._engine
        on_host = is_on_host(self.trt, engine, name)
        dtype = versions.dtype(engine.get_tensor_dtype(name))
        tensor_format = LINEAR if on_host else format_name(self.trt, engine, name)
        return Tensor(name, dtype, versions.shape(engine.get_tensor_shape(name)), on_host, tensor_format)

    def _range(self, tensor: Tensor, profile: int) -> ShapeRange:
        if tensor.on_host or -1 not in tensor.shape:
            return (tensor.shape, tensor.shape, tensor.shape)
        low, best, high = self._engine.get_tensor_profile_shape(tensor.name, profile)
        return (tuple(low), tuple(best), tuple(high))

    @property
    def proof(self) -> Mapping[str, str]:
        """How the engine really runs, as text by name."""
        return {"aux_streams": str(self.aux_streams)}

    def select_profile(self, shapes: Mapping[str, Shape]) -> int:
        """Return the number of the profile that covers `shapes` with the fewest elements at its maximum.

        Raises:
            InputError: No profile covers the shapes; the error lists the profiles.
        """

        def covers(profile: Mapping[str, ShapeRange]) -> bool:
            return all(_within(shapes[name], low, high) for name, (low, _best, high) in profile.items())

        def size(profile: Mapping[str, ShapeRange]) -> int:
            return sum(_element_count(high) for _low, _best, high in profile.values())

        fitting = [(size(profile), number) for number, profile in enumerate(self.profiles) if covers(profile)]
        if not fitting:
            requested = ", ".join(f"{name!r} {shape}" for name, shape in shapes.items())
            ranges = [", ".join(f"{n!r} {low} to {high}" for n, (low, _, high) in p.items()) for p in self.profiles]
            listed = "; ".join(f"profile {number}: {text}" for number, text in enumerate(ranges))
            raise InputError(f"no profile of the engine covers {requested}: it has {listed}")
        return min(fitting)[1]

    def create_context(self, profile: int, stream: cuda.Stream) -> DeviceContext:
        """Return an execution context for that profile.

        Args:
            profile: The number of the optimisation profile.
            stream: The stream in which the context switches to the profile.

        Raises:
            BackendError: There is not enough memory (the error states the required and the free memory), or the profile
                cannot be used by another context.
        """
        self.device.activate()
        log = logger(self.trt)
        log.clear()
        native = self._engine.create_execution_context()
        if native is None:
            free, total = cuda.memory_info()
            required = versions.device_memory_bytes(self._engine)
            raise BackendError(
                f"no execution context can be created (it needs {required / 1e6:.1f} MB; free: {free / 1e6:.1f} of "
                f"{total / 1e6:.1f} MB): {log.reason()}"
            )
        if profile != native.active_optimization_profile and not native.set_optimization_profile_async(
            profile, stream.handle
        ):
            raise BackendError(f"profile {profile} cannot be used by another context: {log.reason()}")
        stream.synchronize()
        return DeviceContext(self.trt, native)

    @property
    def context_bytes(self) -> int:
        """The device memory that one context needs."""
        return versions.device_memory_bytes(self._engine)

    def layers(self) -> tuple[Layer, ...]:
        """Return the layers without times; dynamic shapes are set to the optimum of the first profile."""
        if not hasattr(self.trt, "EngineInspector"):
            return ()
        with cuda.Stream() as stream, self.create_context(0, stream) as context:
            for tensor in self.inputs:
                if -1 in tensor.shape:
                    context.set_shape(tensor.name, self.profiles[0][tensor.name][1])
            # The values of inputs that the host reads decide shapes, and are not known here.
            if not any(tensor.on_host for tensor in self.inputs):
                context.infer_shapes()
            return parse_layers(self.inspect(context))

    def inspect(self, context: DeviceContext) -> Mapping[str, Any]:
        """Return the report of TensorRT's inspector on the engine in a context that has inferred its shapes.

        If shapes are dynamic, only a context knows the formats of tensors. The lean and dispatch runtimes have no
        inspector: for them, the report is empty.
        """
        if not hasattr(self.trt, "EngineInspector"):
            return {}
        inspector = self._engine.create_engine_inspector()
        context.attach_to(inspector)
        return read_inspector_json(inspector.get_engine_information(self.trt.LayerInformationFormat.JSON))

    def with_allocator(self, allocator: Any) -> DeviceEngine:
        """Load the same plan once more, with device memory from `allocator`."""
        return DeviceEngine(self.trt, self.plan, self.device, self._spec, allocator=allocator)

    def close(self) -> None:
        """Free the engine. Its contexts must be closed before."""
        self._engine = self._runtime = None


def _within(shape: Shape, low: Shape, high: Shape) -> bool:
    return len(shape) == len(low) and all(a <= size <= b for a, size, b in zip(low, shape, high, strict=True))


def _element_count(shape: Shape) -> int:
    count = 1
    for size in shape:
        count *= max(size, 1)
    return count


def _describe_failure(trt: Any, plan: Path, origin: PlanOrigin, device: cuda.Device, host_code: bool) -> str:
    """Return an error message with the reason from TensorRT's log and, for host code, a remedy."""
    free, total = cuda.memory_info()
    here = f"{trt.__name__} {trt.__version__} on {device.name} (free: {free / 1e6:.0f} of {total / 1e6:.0f} MB)"
    text = f"{plan}, built by {origin}, cannot be loaded by {here}: {logger(trt).reason()}"
    if not host_code:
        text += (
            "; if the plan is version compatible, it contains code that runs on the host: allow it with "
            "engine_host_code_allowed=True (or version_compatible=True)"
        )
    return text
