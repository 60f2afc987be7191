"""A plan, loaded: its inputs, outputs and profiles, and the contexts that run it."""

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
    """An engine on a device. `profiles` gives, for each, the (min, opt, max) shapes of every input.

    Raises BackendError for what is no plan, for a plan of another product, version or device, for a plugin library that
    does not load, and where memory does not suffice. A plan that carries its own runtime (built version compatible) is
    code that runs on the host: it is refused unless `spec` allows it. A plan without weights gets them from the model
    that lies beside it. `allocator` (an IGpuAllocator) takes the place of TensorRT's own.
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
            raise BackendError(_why_not_loaded(trt, plan, origin, device, spec.host_code_allowed))
        restore_weights(trt, self._engine, plan)
        set_streaming_budget(trt, self._engine, spec.weight_streaming_budget)
        self._read()

    def _read(self) -> None:
        engine, trt = self._engine, self.trt
        names = [engine.get_tensor_name(i) for i in range(engine.num_io_tensors)]
        tensors = {name: self._tensor(name) for name in names}
        entering = [name for name in names if engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT]
        self.inputs = tuple(tensors[name] for name in entering)
        self.outputs = tuple(tensors[name] for name in names if name not in entering)
        self.aux_streams = int(engine.num_aux_streams)
        numbers = range(max(int(engine.num_optimization_profiles), 1))
        self.profiles: tuple[Mapping[str, ShapeRange], ...] = tuple(
            {tensor.name: self._range(tensor, profile) for tensor in self.inputs} for profile in numbers
        )

    def _tensor(self, name: str) -> Tensor:
        engine = self._engine
        there = is_on_host(self.trt, engine, name)
        dtype = versions.dtype(engine.get_tensor_dtype(name))
        layout = LINEAR if there else format_name(self.trt, engine, name)
        return Tensor(name, dtype, versions.shape(engine.get_tensor_shape(name)), there, layout)

    def _range(self, tensor: Tensor, profile: int) -> ShapeRange:
        if tensor.on_host or -1 not in tensor.shape:
            return (tensor.shape, tensor.shape, tensor.shape)
        low, best, high = self._engine.get_tensor_profile_shape(tensor.name, profile)
        return (tuple(low), tuple(best), tuple(high))

    def select_profile(self, shapes: Mapping[str, Shape]) -> int:
        """The profile that covers `shapes` with the fewest elements at its maximum. Raises InputError, listing the
        profiles, where none does."""

        def covers(profile: Mapping[str, ShapeRange]) -> bool:
            return all(_within(shapes[name], low, high) for name, (low, _best, high) in profile.items())

        def size(profile: Mapping[str, ShapeRange]) -> int:
            return sum(_count(high) for _low, _best, high in profile.values())

        fitting = [(size(profile), number) for number, profile in enumerate(self.profiles) if covers(profile)]
        if not fitting:
            wanted = ", ".join(f"{name!r} {shape}" for name, shape in shapes.items())
            ranges = [", ".join(f"{n!r} {low} to {high}" for n, (low, _, high) in p.items()) for p in self.profiles]
            listed = "; ".join(f"profile {number}: {text}" for number, text in enumerate(ranges))
            raise InputError(f"no profile of the engine covers {wanted}: it has {listed}")
        return min(fitting)[1]

    def create_context(self, profile: int, stream: cuda.Stream) -> DeviceContext:
        """A context on that profile. Raises BackendError, with what was free, where it cannot be made."""
        self.device.activate()
        log = logger(self.trt)
        log.clear()
        native = self._engine.create_execution_context()
        if native is None:
            free, total = cuda.memory_info()
            need = versions.device_memory_bytes(self._engine)
            raise BackendError(
                f"no execution context can be made (it needs {need / 1e6:.1f} MB; free: {free / 1e6:.1f} of "
                f"{total / 1e6:.1f} MB): {log.reason()}"
            )
        if profile != native.active_optimization_profile and not native.set_optimization_profile_async(
            profile, stream.handle
        ):
            raise BackendError(f"profile {profile} cannot be used by one context more: {log.reason()}")
        stream.synchronize()
        return DeviceContext(self.trt, native)

    @property
    def context_bytes(self) -> int:
        """The device memory of one context."""
        return versions.device_memory_bytes(self._engine)

    def layers(self) -> tuple[Layer, ...]:
        """The layers, in the first profile's optimum where shapes are dynamic."""
        if not hasattr(self.trt, "EngineInspector"):
            return ()
        with cuda.Stream() as stream, self.create_context(0, stream) as own:
            for tensor in self.inputs:
                if -1 in tensor.shape:
                    own.set_shape(tensor.name, self.profiles[0][tensor.name][1])
            if not any(tensor.on_host for tensor in self.inputs):  # whose values would have to be made up
                own.infer_shapes()
            return parse_layers(self.inspect(own))

    def inspect(self, context: DeviceContext) -> Mapping[str, Any]:
        """What TensorRT's inspector says of the engine, and of a context that has inferred its shapes: where they are
        dynamic, only that knows formats. Empty for the lean runtime, which has none."""
        if not hasattr(self.trt, "EngineInspector"):
            return {}
        inspector = self._engine.create_engine_inspector()
        context.attach_to(inspector)
        return read_inspector_json(inspector.get_engine_information(self.trt.LayerInformationFormat.JSON))

    def with_allocator(self, allocator: Any) -> DeviceEngine:
        """The same plan loaded once more, its device memory taken from `allocator`."""
        return DeviceEngine(self.trt, self.plan, self.device, self._spec, allocator=allocator)

    def close(self) -> None:
        self._engine = self._runtime = None


class DeviceContext:
    """One execution context: shapes and addresses are set, then work is put into a stream."""

    def __init__(self, trt: Any, native: Any) -> None:
        self._trt, self._native = trt, native
        self._kept: list[Any] = []

    def set_shape(self, name: str, shape: Shape) -> None:
        if not self._native.set_input_shape(name, shape):
            raise InputError(f"input {name!r} cannot have the shape {shape}: {logger(self._trt).reason()}")

    def set_address(self, name: str, address: int) -> None:
        if not self._native.set_tensor_address(name, address):
            raise BackendError(f"the address of {name!r} was refused: {logger(self._trt).reason()}")

    def shape(self, name: str) -> Shape:
        """A tensor's shape as far as it is known: -1 where it depends on the data."""
        return versions.shape(self._native.get_tensor_shape(name))

    def infer_shapes(self) -> None:
        """Raise InputError, naming the inputs, where shapes are not yet known or contradict each other."""
        try:
            missing = self._native.infer_shapes()
        except RuntimeError as error:
            raise InputError(f"the input shapes contradict each other: {error}") from error
        if missing:
            raise InputError(f"no shape or values for {', '.join(missing)}")

    def max_output_bytes(self, name: str) -> int:
        """The most that an output can take at these shapes."""
        return int(self._native.get_max_output_size(name))

    def enqueue(self, stream: cuda.Stream) -> None:
        if not self._native.execute_async_v3(stream.handle):
            raise BackendError(f"TensorRT cannot run the engine: {logger(self._trt).reason()}")

    def set_consumed_event(self, event: cuda.Event | None) -> None:
        """Have `event` recorded as soon as the inputs have been read."""
        self._native.set_input_consumed_event(int(event.native) if event else 0)

    def cannot_capture(self, stream: cuda.Stream) -> bool:
        """Whether TensorRT itself says that it cannot be captured (TensorRT-RTX tells)."""
        return hasattr(self._native, "is_stream_capturable") and not self._native.is_stream_capturable(stream.handle)

    def set_output_allocator(self, name: str, allocate: Callable[[int], int], notify: Callable[[Shape], None]) -> None:
        """Ask `allocate` for the address of an output of so many bytes, and tell `notify` its shape, on every run."""
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
        self._kept.append(allocator)
        if not self._native.set_output_allocator(name, allocator):
            raise BackendError(f"the allocator of output {name!r} was refused: {logger(trt).reason()}")

    def profile_layers(self, report: Callable[[str, float], None]) -> None:
        """Tell `report` the name and the milliseconds of every layer, on every run from now on."""
        trt = self._trt

        class Profiler(trt.IProfiler):  # type: ignore[misc, name-defined]
            def __init__(self) -> None:
                trt.IProfiler.__init__(self)

            def report_layer_time(self, layer_name: str, ms: float) -> None:
                report(layer_name, ms)

        self._native.profiler = profiler = Profiler()
        self._kept.append(profiler)

    def attach_to(self, inspector: Any) -> None:
        """Let an inspector tell what runs in this context."""
        inspector.execution_context = self._native

    def close(self) -> None:
        self._native = None
        self._kept.clear()

    def __enter__(self) -> DeviceContext:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def _within(shape: Shape, low: Shape, high: Shape) -> bool:
    return len(shape) == len(low) and all(a <= size <= b for a, size, b in zip(low, shape, high, strict=True))


def _count(shape: Shape) -> int:
    count = 1
    for size in shape:
        count *= max(size, 1)
    return count


def _why_not_loaded(trt: Any, plan: Path, origin: PlanOrigin, device: cuda.Device, host_code: bool) -> str:
    free, total = cuda.memory_info()
    here = f"{trt.__name__} {trt.__version__} on {device.name} (free: {free / 1e6:.0f} of {total / 1e6:.0f} MB)"
    text = f"{plan}, built by {origin}, cannot be loaded by {here}: {logger(trt).reason()}"
    if not host_code:  # those that carry a runtime of their own need it
        text += (
            "; one that was built version compatible runs code of its own: allow it with engine_host_code_allowed=True "
            "(or version_compatible=True)"
        )
    return text
