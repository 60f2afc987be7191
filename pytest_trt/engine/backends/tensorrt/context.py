"""An execution context, which runs an engine."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pytest_trt.engine.backends import cuda
from pytest_trt.engine.backends.tensorrt import versions
from pytest_trt.engine.backends.tensorrt.log import logger
from pytest_trt.errors import BackendError, InputError
from pytest_trt.spec.shape_ranges import Shape


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

    def check_capturable(self, stream: cuda.Stream) -> None:
        """Raise BackendError if the context cannot be captured; only TensorRT-RTX reports that."""
        if hasattr(self._native, "is_stream_capturable") and not self._native.is_stream_capturable(stream.handle):
            raise BackendError("TensorRT reports that this context cannot be captured")

    def reason_not_replayable(self, graph: cuda.Graph) -> str:
        """Return an empty string: TensorRT supports captures."""
        return ""

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
