"""The arrays of a decoder's steps, and the shapes between them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pytest_trt.engine.roles import Roles
from pytest_trt.engine.tensors import Tensor, numpy_dtype
from pytest_trt.errors import ModelError
from pytest_trt.spec.shape_ranges import Shape

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_LOWEST = -65504.0
"""What is added to the scores of attention where it may not read: the lowest number of float16."""


def step_arrays(
    tensors: Sequence[Tensor], roles: Roles, shapes: Mapping[str, Shape], tokens: NDArray[Any], fill: int
) -> dict[str, NDArray[Any]]:
    """Return the arrays of one step, without its state and without the inputs that never change.

    Args:
        tensors: The inputs of the engine.
        roles: Their roles.
        shapes: The shapes of the inputs in this step.
        tokens: The tokens that the step reads, of shape (batch, tokens).
        fill: How many tokens were read before.
    """
    import numpy as np

    count, found = tokens.shape[1], {}
    for tensor in tensors:
        name, dtype = tensor.name, numpy_dtype(tensor.dtype)
        if name == roles.tokens:
            found[name] = np.ascontiguousarray(tokens.reshape(shapes[name]), dtype)
        elif name in roles.positions:
            for_each = shapes[name][-1:] == (count,) and name not in roles.of_texts
            found[name] = np.full(shapes[name], np.arange(fill, fill + count) if for_each else fill, dtype)
        elif name in roles.totals:
            found[name] = np.full(shapes[name], fill + count, dtype)
        elif name in roles.flags:
            found[name] = np.full(shapes[name], fill > 0, dtype)
        elif name in roles.zeros:
            found[name] = np.zeros(shapes[name], dtype)
        elif name in roles.masks:
            found[name] = _mask(shapes[name], dtype, tokens.shape, fill)
    return found


def _mask(shape: Shape, dtype: np.dtype[Any], tokens: Shape, fill: int) -> NDArray[Any]:
    """Return a mask of what a step may read.

    A mask of shape (batch, positions) is 1 for every token that was read. One with a row for each new token,
    (..., tokens, positions), lets a token read those before it and itself; its floats are added to the scores of
    attention, so they are 0 there and -65504 elsewhere.

    Args:
        shape: The shape of the mask.
        dtype: Its type.
        tokens: The shape of the tokens that the step reads, (batch, tokens).
        fill: How many tokens were read before.
    """
    import numpy as np

    (batch, count), columns = tokens, np.arange(*shape[-1:] or (1,))
    by_row = len(shape) > 2 or (len(shape) == 2 and shape[0] != batch)
    if by_row and shape[-2] == count:
        read = columns <= np.arange(fill, fill + count)[:, None]
    else:
        read = columns < fill + count
    if by_row and dtype.kind not in "iub":
        return np.ascontiguousarray(np.broadcast_to(np.where(read, 0, _LOWEST).astype(dtype), shape))
    return np.ascontiguousarray(np.broadcast_to(read.astype(dtype), shape))


def logits_of_last(logits: Shape, tokens: Shape) -> tuple[int, int]:
    """Return the number of texts, and the number of rows of logits that each of them has, the last token's last.

    Args:
        logits: The shape of the logits: (batch, tokens, vocabulary), or that of the last token's alone.
        tokens: The shape of the tokens that were read, (batch, tokens) or (tokens,).

    Raises:
        ModelError: The logits have no row, or another number of rows for each text.
    """
    batch, rows = tokens[0] if len(tokens) == 2 else 1, math.prod(logits[:-1])
    if rows < 1 or rows % batch:
        raise ModelError(
            f"generate: the logits have the shape {tuple(logits)}, which is no row for each of {batch} texts: they "
            "must be (batch, tokens, vocabulary) or (batch, vocabulary)"
        )
    return batch, rows // batch


def shapes_between(first: Mapping[str, Shape], last: Mapping[str, Shape], step: int, steps: int) -> dict[str, Shape]:
    """Return the shapes of step number `step` of `steps`: each size that grows does so by the same amount in each step.

    Args:
        first: The shapes of step 0.
        last: The shapes of step `steps - 1`.
        step: The number of the step, from 0.
        steps: The number of steps.
    """
    return {
        name: tuple(a + (b - a) * step // max(steps - 1, 1) for a, b in zip(shape, last[name], strict=True))
        for name, shape in first.items()
    }


def check_handover(left: Mapping[str, Shape], wanted: Mapping[str, Shape]) -> None:
    """Raise ModelError unless the state that the prompt leaves is what the first step reads.

    Args:
        left: The shapes of the state after the prompt, by the input of the step.
        wanted: The shapes of the inputs of the first step.
    """
    _check_left(
        left,
        wanted,
        "the model that reads the prompt leaves {name!r} with the shape {left}, but the first step reads {wanted}: "
        "export both with the same state; if it grows with the tokens, give the axis another name in the output, or a "
        "range that begins at 0",
    )


def check_next_step(left: Mapping[str, Shape], wanted: Mapping[str, Shape]) -> None:
    """Raise ModelError unless the state that a step leaves is what the next one reads.

    Args:
        left: The shapes of the state after a step, by the input of the next one.
        wanted: The shapes of the inputs of the next step.
    """
    _check_left(
        left,
        wanted,
        "a step leaves {name!r} with the shape {left}, but the next one is to read {wanted}: leave out of state what "
        "no step continues, such as an encoder's keys and values that the step returns empty; if the axis grows, give "
        "it another name in the output",
    )


def _check_left(left: Mapping[str, Shape], wanted: Mapping[str, Shape], text: str) -> None:
    for name, shape in left.items():
        if tuple(shape) != tuple(wanted[name]):
            found = text.format(name=name, left=tuple(shape), wanted=tuple(wanted[name]))
            raise ModelError(f"generate: {found}")
