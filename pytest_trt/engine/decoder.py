"""What the inputs and outputs of a decoder are for, and the arrays of its steps."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pytest_trt.engine.state import State
from pytest_trt.engine.tensors import Tensor, numpy_dtype
from pytest_trt.errors import ModelError
from pytest_trt.spec.shape_ranges import Shape

if TYPE_CHECKING:
    from numpy.typing import NDArray

_POSITION, _MASK, _LOGITS = "position", "mask", "logits"
"""A part of the names of inputs and outputs with a role."""


@dataclasses.dataclass(frozen=True)
class Roles:
    """The roles of a decoder's inputs and outputs that are no state.

    Attributes:
        tokens: The input of token ids, of shape (batch, tokens) or (tokens,).
        positions: The inputs that say at which position each token is, or where a step writes.
        masks: The inputs with a 1 for each position that a step may read.
        others: The other inputs. They are the same in every step.
        logits: The output with a number for each token of the vocabulary.
    """

    tokens: str
    positions: tuple[str, ...]
    masks: tuple[str, ...]
    others: tuple[str, ...]
    logits: str


def find_roles(
    model: str, inputs: Sequence[Tensor], outputs: Sequence[Tensor], state: State, write_index: Collection[str]
) -> Roles:
    """Return the roles of a decoder's inputs and outputs, by their names and types.

    Args:
        model: The name of the model, for errors.
        inputs: The inputs.
        outputs: The outputs.
        state: The outputs and inputs that are state.
        write_index: The inputs that say where a step writes.

    Raises:
        ModelError: Not exactly one input can be the tokens, or one output the logits.
    """
    names = {name for pair in state for name in (pair.input, pair.output)}
    free = [tensor for tensor in inputs if tensor.name not in names]
    whole = [tensor.name for tensor in free if tensor.dtype.startswith(("int", "uint", "bool"))]
    positions = tuple(name for name in whole if name in write_index or _POSITION in name.lower())
    masks = tuple(name for name in whole if _MASK in name.lower() and name not in positions)
    tokens = [name for name in whole if name not in (*positions, *masks)]
    tokens = [name for name in tokens if name.lower().endswith("input_ids")] or tokens
    if len(tokens) != 1:
        found = f"{len(tokens)} could be: {', '.join(map(repr, tokens))}" if tokens else "none"
        raise ModelError(
            f"generate: {model} must have one input of tokens, which are integers, but {found}: its inputs without "
            f"state are {', '.join(repr(tensor.name) for tensor in free) or 'none'}; name it 'input_ids'"
        )
    scores = [t.name for t in outputs if t.name not in names and t.dtype in ("float32", "float16") and len(t.shape) > 1]
    scores = [name for name in scores if _LOGITS in name.lower()] or scores
    if len(scores) != 1:
        found = f"{len(scores)} could be: {', '.join(map(repr, scores))}" if scores else "none"
        raise ModelError(
            f"generate: {model} must have one output of logits, which are floats for each token, but {found}: name it "
            "'logits'"
        )
    others = tuple(t.name for t in free if t.name not in (tokens[0], *positions, *masks))
    return Roles(tokens[0], positions, masks, others, scores[0])


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
            new = np.arange(fill, fill + count) if shapes[name][-1:] == (count,) else fill
            found[name] = np.full(shapes[name], new, dtype)
        elif name in roles.masks:
            found[name] = np.zeros(shapes[name], dtype)
            found[name][..., : fill + count] = 1
    return found


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
    for name, shape in left.items():
        if tuple(shape) != tuple(wanted[name]):
            raise ModelError(
                f"generate: the model that reads the prompt leaves {name!r} with the shape {tuple(shape)}, but the "
                f"first step reads {tuple(wanted[name])}: export both with the same state"
            )
