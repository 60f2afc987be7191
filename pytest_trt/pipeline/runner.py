"""The way an engine is run: one interface for every backend, opened by `open_runner`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from pytest_trt.core.records import LayerProfile
from pytest_trt.engine.tensors import Tensor

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pytest_trt.engine.tensors import Arrays


OutputAllocator = Callable[[Sequence[Tensor]], "dict[str, NDArray[Any]]"]
"""Gives memory for outputs, whose shapes are concrete, by name: the caller's, page-locked or not."""

Request = tuple["Arrays", "OutputAllocator | None"]
"""Inputs, and where their outputs are wanted. With a place, both are used where they lie, without a copy on the host:
the inputs must stay as they are, and the outputs be left alone, until the outputs are handed over."""


class Runner(Protocol):
    """An engine with its contexts and buffers, at one shape.

    `inputs` and `outputs` have concrete shapes. `proof` says what really runs, as text by name: `graph` (`captured`,
    `off`, or `fell back: <why>`), `pinned`, `contexts`, `depth`, `transfers`, `threads`, ...
    """

    @property
    def inputs(self) -> tuple[Tensor, ...]: ...

    @property
    def outputs(self) -> tuple[Tensor, ...]: ...

    @property
    def proof(self) -> Mapping[str, str]: ...

    def infer(self, inputs: Arrays, allocate_outputs: OutputAllocator | None = None) -> Arrays:
        """One inference. The arrays returned are the caller's own: made for it, or those of `place` (see Request)."""
        ...

    def serve(self, requests: Iterable[Request]) -> Iterator[Arrays]:
        """Outputs in order from the overlapped pipeline, each where its request wants it. A backend that has arrays of
        its own to give may leave a place unused."""
        ...

    def stream(self, batches: Iterable[Arrays], postprocess: Callable[[Arrays], Any] | None = None) -> Iterator[Any]:
        """Outputs in order from the overlapped pipeline, or what `postprocess` makes of them."""
        ...

    def set_inputs(self, inputs: Arrays) -> None:
        """Put the inputs that `block` and `throughput` run on in place."""
        ...

    def block(self, count: int) -> Mapping[str, tuple[float, ...]]:
        """Time `count` inferences one by one; samples in ms by figure: `ms`, `host_ms`, and on a device `gpu_ms`,
        `h2d_ms`, `d2h_ms`, `enqueue_ms`."""
        ...

    def throughput(self, seconds: float) -> float:
        """Queries (not yet times batch) a second from the overlapped pipeline, over about that long."""
        ...

    def profile(self, runs: int) -> LayerProfile:
        """Per-layer times, in a pass of its own."""
        ...

    def memory(self) -> Mapping[str, int]:
        """Bytes by name: `weights`, `context`, `io` (device), where there is a device."""
        ...

    def close(self) -> None: ...
