"""Decide whether a stream carries its state from step to step: its batches then leave the state out."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from pytest_trt.engine.state import State, growing_axis
from pytest_trt.engine.tensors import Tensor
from pytest_trt.errors import InputError, ModelError
from pytest_trt.spec.shape_ranges import Shape

if TYPE_CHECKING:
    from pytest_trt.pipeline.runner import Request


def peek(state: State, requests: Iterable[Request]) -> tuple[bool, Iterator[Request]]:
    """Return whether the first request leaves the state out, and the requests, the first included."""
    pending = iter(requests)
    if not state:
        return False, pending
    first = list(itertools.islice(pending, 1))
    read = {pair.input for pair in state}
    return bool(first) and read.isdisjoint(first[0][0]), itertools.chain(first, pending)


def without_state(tensors: Sequence[Tensor], state: State) -> tuple[Tensor, ...]:
    """Return the inputs or outputs that are no state."""
    names = {name for pair in state for name in (pair.input, pair.output)}
    return tuple(tensor for tensor in tensors if tensor.name not in names)


def check_left_out(inputs: Collection[str], state: State) -> None:
    """Raise InputError if a later batch has state that the first one left out."""
    for pair in state:
        if pair.input in inputs:
            raise InputError(
                f"stream: the first batch leaves the state out, but a later one has {pair.input!r}: leave it out of "
                "all batches, or give the whole state with each"
            )


def check_carriable(name: str, before: Shape, after: Shape) -> None:
    """Raise ModelError if a step leaves state of another shape than it read."""
    if growing_axis(before, after) is not None:
        raise ModelError(
            f"stream: the batches leave the state out, but {name!r} grows from {before} to {after} in a step: give the "
            "state with each batch, or generate tokens with generate()"
        )
