"""Find what the inputs and outputs of a decoder are for, by their declaration, their names and their types."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Collection, Mapping, Sequence

from pytest_trt.core.validation import suggest
from pytest_trt.engine.onnx.signature import Dims
from pytest_trt.engine.state import State
from pytest_trt.engine.tensors import Tensor
from pytest_trt.errors import ModelError
from pytest_trt.spec.engine_spec import EngineSpec

_POSITION, _MASK, _LOGITS, _FLAG, _SEGMENT = "position", "mask", "logits", "use_cache", "token_type"
"""A part of the names of inputs and outputs with a role."""

_TOKENS = (re.compile(".*input_ids"), re.compile("tokens?|ids|token_ids"))
"""Names of the input of tokens if several inputs could be it, the most certain ones first."""

_OTHER_SEQUENCE = re.compile("encoder|cross|source|src|memory")
"""A part of the names of masks of another sequence than that of the tokens."""


@dataclasses.dataclass(frozen=True)
class Roles:
    """The roles of a decoder's inputs and outputs that are no state.

    Attributes:
        tokens: The input of token ids, of shape (batch, tokens) or (tokens,).
        positions: The inputs that say at which position each token is, or where a step writes.
        masks: The inputs that say which positions a step may read.
        others: The other inputs. They are the same in every step.
        logits: The output with a number for each token of the vocabulary.
        totals: The inputs with the number of tokens after the step.
        flags: The inputs that are true if there is state to read.
        zeros: The inputs that are 0 for every token.
        ones: Those of `others` that mask nothing: masks of another sequence, such as that of an encoder.
        of_texts: Those of `positions` that hold a number for each text of the batch.
    """

    tokens: str
    positions: tuple[str, ...]
    masks: tuple[str, ...]
    others: tuple[str, ...]
    logits: str
    totals: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()
    zeros: tuple[str, ...] = ()
    ones: tuple[str, ...] = ()
    of_texts: tuple[str, ...] = ()

    @property
    def varying(self) -> tuple[str, ...]:
        """The inputs that differ from step to step."""
        return (self.tokens, *self.positions, *self.masks, *self.totals, *self.flags, *self.zeros)


def find_roles(
    model: str,
    inputs: Sequence[Tensor],
    outputs: Sequence[Tensor],
    state: State,
    spec: EngineSpec,
    dims: Mapping[str, Dims | None],
) -> Roles:
    """Return the roles of a decoder's inputs and outputs: those that are declared, else by their names and types.

    Args:
        model: The name of the model, for errors.
        inputs: The inputs.
        outputs: The outputs.
        state: The outputs and inputs that are state.
        spec: The spec of the decoder: its roles, write indices and ranges of inputs apply.
        dims: The dimensions of the inputs, with the model's names.

    Raises:
        ModelError: Not exactly one input can be the tokens, or one output the logits; or an input of integers has no
            role, so that it would be the same in every step without a reason.
    """
    names = {name for pair in state for name in (pair.input, pair.output)}
    free = [tensor for tensor in inputs if tensor.name not in names]
    found: dict[str, str] = {tensor.name: spec.roles[tensor.name] for tensor in free if tensor.name in spec.roles}
    found |= {tensor.name: "position" for tensor in free if tensor.name in spec.write_index}
    for tensor in free:
        name, whole = tensor.name.lower(), tensor.dtype.startswith(("int", "uint"))
        by_name = (
            ("position", whole and _POSITION in name), ("mask", _MASK in name),
            ("flag", tensor.dtype == "bool" and _FLAG in name), ("zero", whole and _SEGMENT in name),
            ("constant", not (whole or tensor.dtype == "bool")),
        )  # fmt: skip
        if role := next((role for role, right in by_name if right), None):
            found.setdefault(tensor.name, role)
    tokens = _find_tokens(model, free, found, spec)
    for tensor in free:
        if tensor.name in spec.input_ranges:
            found.setdefault(tensor.name, "constant")
        elif tensor.name != tokens and tensor.name not in found:
            raise ModelError(
                f"generate: nothing says what input {tensor.name!r} of {model} is for: declare it, as in "
                f"trt_engine(roles={{{tensor.name!r}: 'position'}}), or 'constant' if it is the same in every step; "
                f"or in write_index if it says where a step writes"
            )
    found[tokens] = "tokens"

    def all_with(role: str) -> tuple[str, ...]:
        return tuple(tensor.name for tensor in free if found[tensor.name] == role)

    read = dims.get(tokens) or ()
    constants, masks = all_with("constant"), all_with("mask")
    foreign = {dim for name in constants for dim in (dims.get(name) or ())[1:] if isinstance(dim, str)} - {*read}
    ones = tuple(
        name for name in masks
        if name not in spec.roles
        and (_OTHER_SEQUENCE.search(name.lower()) or foreign.intersection((dims.get(name) or ())[-1:]))
    )  # fmt: skip
    batch = read[:1] if len(read) == 2 and read[0] != read[1] and read[0] is not None else None
    return Roles(
        tokens=tokens,
        positions=all_with("position"),
        masks=tuple(name for name in masks if name not in ones),
        others=(*constants, *ones),
        logits=_find_logits(model, [tensor for tensor in outputs if tensor.name not in names], spec),
        totals=all_with("total"),
        flags=all_with("flag"),
        zeros=all_with("zero"),
        ones=ones,
        of_texts=tuple(name for name in all_with("position") if batch and dims.get(name) == batch),
    )


def _find_tokens(model: str, free: Sequence[Tensor], found: Mapping[str, str], spec: EngineSpec) -> str:
    """Return the name of the input of tokens; `found` has the roles of other inputs."""
    declared = [name for name, role in found.items() if role == "tokens"]
    tokens = declared or [t.name for t in free if t.name not in found and t.dtype.startswith(("int", "uint"))]
    for pattern in _TOKENS:
        if len(tokens) > 1 and not declared:
            tokens = [name for name in tokens if pattern.fullmatch(name.lower())] or tokens
    if len(tokens) != 1:
        could = f"{len(tokens)} could be: {', '.join(map(repr, tokens))}" if tokens else "none"
        example = next((tensor.name for tensor in free if tensor.name not in spec.roles), "input_ids")
        raise ModelError(
            f"generate: {model} must have one input of tokens, which are integers, but {could}: its inputs without "
            f"state are {', '.join(repr(tensor.name) for tensor in free) or 'none'}; say which one, as in "
            f"trt_engine(roles={{{(tokens or [example])[0]!r}: 'tokens'}})"
        )
    return tokens[0]


def _find_logits(model: str, free: Sequence[Tensor], spec: EngineSpec) -> str:
    """Return the name of the output of logits among those that are no state."""
    scores = [t.name for t in free if t.dtype.startswith(("float", "bfloat")) and t.shape]
    scores = [name for name in scores if _LOGITS in name.lower()] or scores
    scores = [tensor.name for tensor in free if spec.roles.get(tensor.name) == "logits"] or scores
    if len(scores) != 1:
        could = f"{len(scores)} could be: {', '.join(map(repr, scores))}" if scores else "none"
        raise ModelError(
            f"generate: {model} must have one output of logits, which are floats for each token, but {could}: its "
            f"outputs without state are {', '.join(repr(tensor.name) for tensor in free) or 'none'}"
            + (f"; say which one, as in trt_engine(roles={{{scores[0]!r}: 'logits'}})" if scores else "")
        )
    return scores[0]


def check_declared_roles(spec: EngineSpec, names: Collection[str]) -> None:
    """Raise ModelError if a role is declared for a name that no model of a generation has."""
    for name in spec.roles:
        if name not in names:
            hint = suggest(name, sorted(names), "name an input, or the output of logits")
            raise ModelError(f"trt_engine: roles names {name!r}: no model of the generation has it: {hint}")
