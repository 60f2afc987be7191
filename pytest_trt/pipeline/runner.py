"""The interface of a runner: how an engine of any backend is run and timed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from pytest_trt.core.records import LayerProfile
from pytest_trt.engine.tensors import Tensor

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pytest_trt.engine.tensors import Arrays

OutputAllocator = Callable[[Sequence[Tensor]], "dict[str, NDArray[Any]]"]
"""Returns arrays for the given outputs, by name. The outputs' shapes are concrete; the memory may be pageable or
page-locked."""

Request = tuple["Arrays", "OutputAllocator | None"]
"""The inputs of one inference, and an allocator for its outputs.

With an allocator, the inputs are read from the caller's memory and the outputs are written to the allocator's memory,
without a copy on the host. Until the outputs are returned, the caller must not change the inputs or touch the outputs.
"""


class Runner(Protocol):
    """An engine with its contexts and buffers, at one shape.

    `pytest_trt.pipeline.open.open_runner` returns the runner for an engine.
    """

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        """The inputs, with concrete shapes."""
        ...

    @property
    def outputs(self) -> tuple[Tensor, ...]:
        """The outputs, with concrete shapes; -1 where a dimension is not known yet or depends on the data."""
        ...

    @property
    def proof(self) -> Mapping[str, str]:
        """How the engine really runs, as text by name.

        The names depend on the kind of engine: `graph` (`captured, N nodes`, `off`, or `fell back: REASON`), `pinned`,
        `contexts`, `depth`, `transfers`, `threads` and others.
        """
        ...

    def infer(self, inputs: Arrays, allocate_outputs: OutputAllocator | None = None) -> Arrays:
        """Run one inference.

        Args:
            inputs: The input arrays by name.
            allocate_outputs: Provides the memory of the outputs (see `Request`).

        Returns:
            The output arrays by name: the allocator's if one was given, else new arrays that the caller owns.
        """
        ...

    def serve(self, requests: Iterable[Request]) -> Iterator[Arrays]:
        """Run the requests through the overlapped pipeline and yield their outputs in order.

        Each request's outputs are written to the memory that its allocator provides. A backend that returns arrays of
        its own may ignore the allocator.
        """
        ...

    def stream(self, batches: Iterable[Arrays], postprocess: Callable[[Arrays], Any] | None = None) -> Iterator[Any]:
        """Run the batches through the overlapped pipeline and yield their outputs in order.

        With `postprocess`, yield what it returns for each batch's outputs instead.
        """
        ...

    def set_inputs(self, inputs: Arrays) -> None:
        """Store the inputs on which `block`, `throughput`, `profile` and `memory` run."""
        ...

    def block(self, count: int) -> Mapping[str, tuple[float, ...]]:
        """Time `count` inferences, each by itself.

        Returns:
            `count` samples in ms for each figure: `ms` and `host_ms`; on a device also `gpu_ms`, `h2d_ms`, `d2h_ms`
            and `enqueue_ms`.
        """
        ...

    def throughput(self, seconds: float) -> float:
        """Return the inferences per second of the overlapped pipeline, measured over about `seconds`.

        An inference counts once, whatever its batch size.
        """
        ...

    def profile(self, runs: int) -> LayerProfile:
        """Return the time of each layer, measured in a separate pass of `runs` inferences."""
        ...

    def memory(self) -> Mapping[str, int]:
        """Return the device memory of the engine in bytes by name; empty if it runs without a device.

        The names are `weights`, `context`, `io` and `peak`, as far as the backend reports them.
        """
        ...

    def close(self) -> None:
        """Free the contexts and buffers."""
        ...
