"""State: the outputs of an engine that become its inputs in the next step, such as caches of keys and values."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence

from pytest_trt.core.validation import suggest
from pytest_trt.engine.tensors import Tensor
from pytest_trt.errors import InputError, ModelError
from pytest_trt.spec.engine_spec import EngineSpec
from pytest_trt.spec.name_pairs import counterparts
from pytest_trt.spec.shape_ranges import Shape


@dataclasses.dataclass(frozen=True)
class StatePair:
    """An output and the input that it becomes in the next step.

    Attributes:
        output: The name of the output, such as `present_0`.
        input: The name of the input, such as `past_0`.
    """

    output: str
    input: str


State = tuple[StatePair, ...]

MOST_NAMES = 8
"""The most names that an error lists: a decoder has two for each layer."""


def resolve_state(patterns: Mapping[str, str], inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> State:
    """Return the pairs that `trt_engine(state=...)` declares, in the order of the outputs.

    Raises:
        ModelError: A name does not exist, an output or an input is in two pairs, or a pair does not fit together.
    """
    by_input, by_output = {t.name: t for t in inputs}, {t.name: t for t in outputs}
    chosen: dict[str, str] = {}
    for pattern, counterpart in patterns.items():
        found = counterparts(pattern, counterpart, by_output)
        if not found:
            raise ModelError(
                f"trt_engine: state names output {pattern!r}: {_no_such_name(pattern, 'output', by_output)}"
            )
        for output, name in found.items():
            if name not in by_input:
                hint = _no_such_name(name, "input", by_input)
                raise ModelError(f"trt_engine: state pairs output {output!r} with input {name!r}: {hint}")
            if chosen.setdefault(output, name) != name:
                raise ModelError(
                    f"trt_engine: state pairs output {output!r} with two inputs, {chosen[output]!r} and {name!r}: keep "
                    "one of them"
                )
    becomes: dict[str, str] = {}
    for output, name in chosen.items():
        if becomes.setdefault(name, output) != output:
            raise ModelError(
                f"trt_engine: state pairs input {name!r} with two outputs, {becomes[name]!r} and {output!r}: keep one "
                "of them"
            )
        _check_pair(by_output[output], by_input[name])
    return tuple(StatePair(name, chosen[name]) for name in by_output if name in chosen)


def prompt_state(state: State, inputs: Iterable[Tensor], outputs: Iterable[Tensor]) -> State:
    """Return the pairs whose input the model that reads the prompt has too; a model without caches has none.

    Raises:
        ModelError: The model lacks an output that the steps need.
    """
    names, written = {tensor.name for tensor in inputs}, [tensor.name for tensor in outputs]
    for pair in state:
        if pair.output not in written:
            hint = _no_such_name(pair.output, "output", written)
            raise ModelError(
                f"generate: the steps need output {pair.output!r} of the model that reads the prompt: {hint}"
            )
    return tuple(pair for pair in state if pair.input in names)


def kept_state(patterns: Mapping[str, str], state: State, inputs: Iterable[Tensor], prompt: Iterable[Tensor]) -> State:
    """Return the outputs of the model that reads the prompt that every step reads, and none writes.

    Such are the keys and values of an encoder-decoder's cross-attention.

    Args:
        patterns: `trt_engine(state=...)`.
        state: The pairs of the steps.
        inputs: The inputs of the steps.
        prompt: The outputs of the model that reads the prompt.

    Raises:
        ModelError: An output does not fit its input.
    """
    free = {t.name: t for t in inputs} if patterns else {}
    for pair in state:
        free.pop(pair.input, None)
    written, found = {t.name: t for t in prompt}, {}
    for pair in state:
        written.pop(pair.output, None)
    for pattern, counterpart in patterns.items():
        for output, name in counterparts(pattern, counterpart, written).items():
            if name in free:
                _check_pair(written[output], free[name])
                found[name] = output
    return tuple(StatePair(output, name) for name, output in found.items())


def check_shapes(state: State, inputs: Iterable[Tensor], outputs: Iterable[Tensor]) -> None:
    """Raise ModelError unless each pair fits together at the concrete shapes of `inputs` and `outputs`."""
    by_input, by_output = {t.name: t for t in inputs}, {t.name: t for t in outputs}
    for pair in state:
        _check_pair(by_output[pair.output], by_input[pair.input])


def growing_axis(past: Shape, present: Shape) -> int | None:
    """Return the axis along which state grows in a step; None for state of a fixed size."""
    return next((axis for axis, (old, new) in enumerate(zip(past, present, strict=True)) if old != new), None)


def check_write_index(
    spec: EngineSpec, state: State, shapes: Mapping[str, Shape], written: Mapping[str, tuple[float, float]]
) -> None:
    """Check that write indices lie within the capacity of the state.

    Args:
        spec: The spec, which names the write indices.
        state: The pairs.
        shapes: The shape of each input.
        written: The smallest and the largest value of inputs, by name.

    Raises:
        ModelError: There is no such input, or the state has no such axis.
        InputError: An index lies beyond the capacity, or is negative.
    """
    for name, axis in spec.write_index.items():
        if name not in shapes:
            raise ModelError(f"trt_engine: write_index names input {name!r}: {_no_such_name(name, 'input', shapes)}")
        (low, high), least = written.get(name, (0, 0)), capacity(state, shapes, axis)
        value = int(low if low < 0 else high)
        if not 0 <= value < least:
            remedy = "give an index from 0" if value < 0 else "lower it, or give the state a larger capacity"
            raise InputError(
                f"the write index {name!r} is {value}, but the state holds {least} entries along axis {axis}: {remedy}"
            )


def capacity(state: State, shapes: Mapping[str, Shape], axis: int) -> int:
    """Return how many entries the smallest state holds along an axis. Raises ModelError if a state has no such axis."""
    for pair in state:
        if not -len(shapes[pair.input]) <= axis < len(shapes[pair.input]):
            raise ModelError(
                f"trt_engine: write_index counts along axis {axis}, which the state {pair.input!r} with the shape "
                f"{shapes[pair.input]} does not have: name another axis, as in write_index={{'position': 0}}"
            )
    return min(shapes[pair.input][axis] for pair in state)


def _no_such_name(name: str, kind: str, known: Iterable[str]) -> str:
    names = list(known)
    listed = ", ".join(map(repr, names[:MOST_NAMES])) + (
        f" and {len(names) - MOST_NAMES} more" if names[MOST_NAMES:] else ""
    )
    hint = f"its {kind}s are {listed}"
    return f"the model has none of that name: {hint if '*' in name else suggest(name, names, hint)}"


def _check_pair(output: Tensor, tensor: Tensor) -> None:
    """Raise ModelError unless an output can become an input: its type, format and rank, and all sizes but one."""
    what = f"trt_engine: state pairs output {output.name!r} with input {tensor.name!r}"
    if output.dtype != tensor.dtype:
        raise ModelError(f"{what}, but they are {output.dtype} and {tensor.dtype}: both must be of one type")
    if output.format != tensor.format:
        raise ModelError(
            f"{what}, but they lie in memory as {output.format} and {tensor.format}: give both one of io_formats"
        )
    if output.on_host or tensor.on_host:
        raise ModelError(f"{what}, but TensorRT reads one of them on the host: state is on the device")
    if not (output.shape and tensor.shape):
        return  # a model may leave the rank of a tensor open
    if len(output.shape) != len(tensor.shape):
        raise ModelError(f"{what}, but their shapes are {output.shape} and {tensor.shape}: both must have one rank")
    known = [(old, new) for old, new in zip(tensor.shape, output.shape, strict=True) if -1 not in (old, new)]
    different = [(old, new) for old, new in known if old != new]
    if len(different) > 1 or any(new < old for old, new in different):
        raise ModelError(
            f"{what}, but their shapes are {output.shape} and {tensor.shape}: they may differ along one axis only, "
            "which grows"
        )
