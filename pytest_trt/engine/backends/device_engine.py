"""The interface of an engine that runs on a GPU by streams and addresses, as the pipeline uses it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Literal, Protocol, runtime_checkable

from pytest_trt.core.records import Layer
from pytest_trt.engine.backends import cuda
from pytest_trt.engine.tensors import Tensor
from pytest_trt.spec.shape_ranges import Shape

if TYPE_CHECKING:
    from pytest_trt.engine.tensors import Arrays


class DeviceContext(Protocol):
    """An execution context: set the shapes and addresses, then enqueue inferences in a stream."""

    def set_shape(self, name: str, shape: Shape) -> None:
        """Set the shape of an input. Raises InputError if the engine does not allow it."""
        ...

    def set_address(self, name: str, address: int) -> None:
        """Set the address of an input or output; it is on the host for a tensor with `on_host`."""
        ...

    def infer_shapes(self) -> None:
        """Infer all shapes from those of the inputs. Raises InputError if they contradict each other."""
        ...

    def shape(self, name: str) -> Shape:
        """Return a tensor's shape as far as it is known; -1 depends on the data."""
        ...

    def max_output_bytes(self, name: str) -> int:
        """Return the most bytes that an output can take at the current input shapes."""
        ...

    def set_output_allocator(self, name: str, allocate: Callable[[int], int], notify: Callable[[Shape], None]) -> None:
        """Set callbacks for an output whose shape depends on the data, which are called in every inference."""
        ...

    def set_consumed_event(self, event: cuda.Event | None) -> None:
        """Record `event` in every inference as soon as the inputs may be overwritten; None to stop that."""
        ...

    def enqueue(self, stream: cuda.Stream) -> None:
        """Enqueue one inference in a stream. Raises BackendError if the engine cannot run."""
        ...

    def check_capturable(self, stream: cuda.Stream) -> None:
        """Raise BackendError if the backend reports that the context cannot be captured."""
        ...

    def reason_not_replayable(self, graph: cuda.Graph) -> str:
        """Return why a captured graph must not be launched again; empty if it may be."""
        ...

    def close(self) -> None:
        """Free the context."""
        ...


class DeviceEngine(Protocol):
    """A plan, loaded on a device.

    Attributes:
        inputs: The inputs; -1 in a shape is dynamic.
        outputs: The outputs; -1 in a shape is dynamic or depends on the data.
        device: The device.
        aliases: The input whose memory an output must share, by the name of the output.
    """

    kind: Literal["device", "host"]
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    device: cuda.Device
    aliases: Mapping[str, str]

    @property
    def proof(self) -> Mapping[str, str]:
        """How the engine really runs, as text by name, beside what the pipeline knows."""
        ...

    def select_profile(self, shapes: Mapping[str, Shape]) -> int:
        """Return the number of the profile for these shapes. Raises InputError if there is none."""
        ...

    def create_context(self, profile: int, stream: cuda.Stream) -> DeviceContext:
        """Return an execution context for a profile. Raises BackendError if there is not enough memory."""
        ...

    def layers(self) -> tuple[Layer, ...]:
        """Return the layers in order, without times; empty if the backend does not report them."""
        ...

    def close(self) -> None:
        """Free the engine."""
        ...


@runtime_checkable
class SelfProfiling(Protocol):
    """A device engine that times its layers and counts its memory itself, in passes of its own."""

    def profile(self, inputs: Arrays, runs: int) -> tuple[Layer, ...]:
        """Return the layers with their median times over `runs` inferences."""
        ...

    def memory(self, shapes: Mapping[str, Shape], contexts: int, io: int) -> Mapping[str, int]:
        """Return the device memory in bytes by name; see `Runner.memory`.

        Args:
            shapes: The input shapes by name.
            contexts: The number of contexts.
            io: The bytes of all buffer sets.
        """
        ...
