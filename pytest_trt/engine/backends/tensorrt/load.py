"""Load a plan: its inputs, outputs and profiles, and the execution contexts that run it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

from pytest_trt.core.records import Layer
from pytest_trt.engine.backends import cuda
from pytest_trt.engine.backends.plan_header import PlanOrigin, check_capabilities, check_origin
from pytest_trt.engine.backends.tensorrt import versions
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
        profiles: For each optimisation profile, the (min, opt, max) shapes of every input by name.

    Raises:
        BackendError: The file is no plan, or belongs to another product, version or device; a plugin library does not
            load; or memory does not suffice.
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
            BackendError: Memory does not suffice (the error states the required and the free memory), or the profile
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


class DeviceContext:
    """An execution context: set the shapes and addresses, then enqueue inferences in a stream."""

    def __init__(self, trt: Any, native: Any) -> None:
        self._trt, self._native = trt, native
        self._callbacks: list[Any] = []  # TensorRT does not keep its callback objects alive.

    def set_shape(self, name: str, shape: Shape) -> None:
        """Set the shape of an input. Raises InputError if the profile does not allow it."""
        if not self._native.set_input_shape(name, shape):
            raise InputError(f"input {name!r} cannot have the shape {shape}: {logger(self._trt).reason()}")

    def set_address(self, name: str, address: int) -> None:
        """Set the address of an input or output; it is on the host for a tensor with `on_host`."""
        if not self._native.set_tensor_address(name, address):
            raise BackendError(f"TensorRT rejects the address of {name!r}: {logger(self._trt).reason()}")

    def shape(self, name: str) -> Shape:
        """Return a tensor's shape as far as it is known; -1 depends on the data."""
        return versions.shape(self._native.get_tensor_shape(name))

    def infer_shapes(self) -> None:
        """Infer all shapes from those of the inputs.

        Raises:
            InputError: Some inputs have no shape or value yet, or the shapes contradict each other.
        """
        try:
            missing = self._native.infer_shapes()
        except RuntimeError as error:
            raise InputError(f"the input shapes contradict each other: {error}") from error
        if missing:
            raise InputError(f"these inputs have no shape or values yet: {', '.join(missing)}")

    def max_output_bytes(self, name: str) -> int:
        """Return the most bytes that an output can take at the current input shapes."""
        return int(self._native.get_max_output_size(name))

    def enqueue(self, stream: cuda.Stream) -> None:
        """Enqueue one inference in a stream."""
        if not self._native.execute_async_v3(stream.handle):
            raise BackendError(f"TensorRT cannot run the engine: {logger(self._trt).reason()}")

    def set_consumed_event(self, event: cuda.Event | None) -> None:
        """Let TensorRT record `event` as soon as it has read the inputs; None to stop that."""
        self._native.set_input_consumed_event(int(event.native) if event else 0)

    def cannot_capture(self, stream: cuda.Stream) -> bool:
        """Return whether TensorRT reports that the context cannot be captured; only TensorRT-RTX reports that."""
        return hasattr(self._native, "is_stream_capturable") and not self._native.is_stream_capturable(stream.handle)

    def set_output_allocator(self, name: str, allocate: Callable[[int], int], notify: Callable[[Shape], None]) -> None:
        """Set callbacks for an output whose shape depends on the data; TensorRT calls them in every inference.

        Args:
            name: The output.
            allocate: Returns an address with the given number of bytes; 0 if it has none.
            notify: Is called with the output's shape.
        """
        trt = self._trt

        class Allocator(trt.IOutputAllocator):  # type: ignore[misc, name-defined]
            def __init__(self) -> None:
                trt.IOutputAllocator.__init__(self)

            def reallocate_output(self, _name: str, _memory: Any, size: int, _alignment: int) -> int:
                return allocate(int(size))

            def reallocate_output_async(self, _name: str, _memory: Any, size: int, *_alignment_and_stream: int) -> int:
                return allocate(int(size))

            def notify_shape(self, _name: str, shape: Any) -> None:
                notify(tuple(shape))

        allocator = Allocator()
        self._callbacks.append(allocator)
        if not self._native.set_output_allocator(name, allocator):
            raise BackendError(f"TensorRT rejects an allocator for output {name!r}: {logger(trt).reason()}")

    def profile_layers(self, report: Callable[[str, float], None]) -> None:
        """Call `report` with the name and the time in ms of every layer, in every inference from now on."""
        trt = self._trt

        class Profiler(trt.IProfiler):  # type: ignore[misc, name-defined]
            def __init__(self) -> None:
                trt.IProfiler.__init__(self)

            def report_layer_time(self, layer_name: str, ms: float) -> None:
                report(layer_name, ms)

        self._native.profiler = profiler = Profiler()
        self._callbacks.append(profiler)

    def attach_to(self, inspector: Any) -> None:
        """Let an inspector report on the engine in this context."""
        inspector.execution_context = self._native

    def close(self) -> None:
        """Free the context."""
        self._native = None
        self._callbacks.clear()

    def __enter__(self) -> DeviceContext:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


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
