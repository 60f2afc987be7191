"""Find the shapes of the steps of a generation, which follow from the number of tokens."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Iterator, Mapping

from pytest_trt.engine.model.model import Model
from pytest_trt.engine.model.shapes import resolve_shapes
from pytest_trt.engine.onnx.signature import Dims
from pytest_trt.engine.roles import Roles, find_roles
from pytest_trt.engine.state import State, resolve_state
from pytest_trt.errors import InputError, ModelError
from pytest_trt.spec.declaration import RunShape
from pytest_trt.spec.engine_spec import EngineSpec
from pytest_trt.spec.shape_ranges import Shape


@dataclasses.dataclass(frozen=True)
class Part:
    """A model of a generation: the one that reads the prompt, or the one that runs the steps.

    Attributes:
        model: The model.
        spec: How it is built.
        run: The shape that its test runs.
    """

    model: Model
    spec: EngineSpec
    run: RunShape


def roles_of(part: Part, decoder: Part, state: State) -> Roles:
    """Return the roles of a model's inputs and outputs.

    Args:
        part: The model.
        decoder: The model that runs the steps, whose spec declares roles.
        state: Its state, and what the model of the prompt hands to it.
    """
    model = part.model
    return find_roles(model.path.name, model.inputs, model.outputs, state, decoder.spec, model.dims)


def has_dim(model: Model, name: str) -> bool:
    """Return whether an input of the model has a dimension of that name, alone or in an expression."""
    dims = [dim for tensor in model.inputs for dim in model.dims[tensor.name] or () if isinstance(dim, str)]
    return any(name == dim or name in re.findall(r"\w+", dim) for dim in dims)


def with_total_dims(model: Model, spec: EngineSpec, run: RunShape) -> Model:
    """Return a decoder in which a dimension that counts all tokens is named as the sum that it is, such as `P + S`.

    An exporter may name it `total_length`, so that its size would have to be declared beside those that it follows
    from. It keeps its name if its size is declared, and if the model is no decoder.
    """
    part = Part(model, spec, run)
    try:
        state = resolve_state(spec.state, model.inputs, model.outputs)
        tokens = model.dims[roles_of(part, part, state).tokens] if state else None
    except ModelError:  # reported if the model is measured, or generates
        return model
    read = {dim for tensor in model.inputs for dim in _names(model.dims[tensor.name] or ())}
    free = read - {*spec.dims, *run.dims}
    sums: dict[str | int | None, str] = {}
    for pair in state if tokens and tokens[-1] is not None else ():
        for old, total in zip(model.dims[pair.input] or (), model.dims[pair.output] or (), strict=False):
            if total in free and old in read and old != total and str(old).isidentifier() and str(total).isidentifier():
                sums[total] = f"{old} + {(tokens or ())[-1]}"
    dims = {name: axes and tuple(sums.get(dim, dim) for dim in axes) for name, axes in model.dims.items()}
    return dataclasses.replace(model, dims=dims) if sums else model


class StepSizes:
    """The sizes of the dimensions of a model that follow from the number of tokens.

    Args:
        part: The model.
        roles: The roles of its inputs.
        decoder: The model that runs the steps; it may be the same one.
        state: Its state.
        what: What is generated, for errors.
        has_reader: Whether another model reads the prompt.

    Raises:
        ModelError: The model has a tensor of unknown rank.
    """

    def __init__(self, part: Part, roles: Roles, decoder: Part, state: State, what: str, *, has_reader: bool) -> None:
        self._model, self._spec, self._run = _with_named_dims(part.model), part.spec, part.run
        self._roles, self._what, self._has_reader = roles, what, has_reader
        self._tokens = self._dims_of(roles.tokens)
        named = self._model if part is decoder else _with_named_dims(decoder.model)
        before, after = _growing(named, decoder.spec, state, {*self._tokens})
        fixed = {dim for pair in state for dim in named.dims[pair.input] or ()}
        self._new = {*_names(self._tokens[-1:])}
        for name in (*roles.positions, *roles.zeros):
            self._new |= {*_names(() if name in roles.of_texts else self._dims_of(name)[-1:])} - {*self._tokens}
        for name in roles.masks:
            *rows, columns = self._dims_of(name) or (None,)
            self._new |= {*_names(rows[1:][-1:])} - {*self._tokens}
            after |= set() if decoder.spec.write_index else {*_names((columns,))} - {*self._tokens, *fixed}
        self._before, self._after = before, after - before
        leading = [self._dims_of(tensor.name)[:1] for tensor in self._model.inputs if tensor.name not in roles.others]
        self._texts = {dim for dims in leading for dim in _names(dims) if _is_unnamed(dim)} - {*self._new, *before}
        self._texts |= {*_names(self._tokens[:-1])}

    def _dims_of(self, name: str) -> Dims:
        return self._model.dims[name] or ()

    def shapes(self, batch: int, new: int, fill: int) -> Mapping[str, Shape]:
        """Return the shapes of the inputs in a step.

        Args:
            batch: The number of texts.
            new: The number of tokens that the step reads.
            fill: The number of tokens that were read before.

        Raises:
            InputError: A size lies outside of the ranges that the test declares.
            ModelError: The model does not read so many tokens.
        """
        sizes = {
            **self._run.dims,
            **dict.fromkeys(self._texts, batch),
            **dict.fromkeys(self._new, new),
            **dict.fromkeys(self._before, fill),
            **dict.fromkeys(self._after, fill + new),
        }
        known = {name: size for name, size in sizes.items() if has_dim(self._model, name)}
        self._check_ranges(known)
        run = RunShape(batch=self._run.batch and batch, dims=known)
        found = resolve_shapes(self._model, self._spec, run).run
        read = found[self._roles.tokens]
        if read != (batch, new) and not (read == (new,) and batch == 1):
            remedy = "export it with dynamic dimensions"
            if read[-1:] == (new,):
                remedy = f"give {read[0] if len(read) > 1 else 1} texts, or {remedy}"
            elif not self._has_reader and new > 1:
                remedy += ", or name a model that reads the prompt: prefill='prefill.onnx'"
            raise ModelError(
                f"generate: {self._model.path.name} reads tokens of the shape {read}, but {batch} x {new} are to be "
                f"read: {remedy}"
            )
        return found

    def _check_ranges(self, sizes: Mapping[str, int]) -> None:
        """Raise InputError if a size lies outside all ranges that the test declares for its dimension."""
        for name, size in sizes.items():
            ranges = self._spec.dims.get(name, ())
            if ranges and not any(low <= size <= high for low, _, high in ranges):
                listed = " or ".join(f"{low} to {high}" for low, _, high in ranges)
                raise InputError(
                    f"generate: {self._what} need {name}={size}, but {self._model.path.name} is built for {listed}: "
                    f"generate fewer, or widen dims={{{name!r}: (min, opt, max)}}"
                )


def _is_unnamed(dim: str) -> bool:
    """Return whether the model gives a dimension no name."""
    return dim.endswith("]")


def _names(dims: Iterable[str | int | None]) -> Iterator[str]:
    return (dim for dim in dims if isinstance(dim, str))


def _with_named_dims(model: Model) -> Model:
    """Return the model with a name for each dynamic dimension of an input that has none, such as `ids[1]`."""
    dims = dict(model.dims)
    for tensor in model.inputs:
        known = dims[tensor.name]
        if known is not None:
            dims[tensor.name] = tuple(
                f"{tensor.name}[{axis}]" if dim is None else dim for axis, dim in enumerate(known)
            )
    return dataclasses.replace(model, dims=dims)


def _growing(model: Model, spec: EngineSpec, state: State, fixed: set[str | int | None]) -> tuple[set[str], set[str]]:
    """Return the names of the dimensions that count the tokens before a step, and of those that also count its own.

    State into which a step writes at an index does not grow. An axis grows if it has another name in the output, or if
    it has the same name, or none, and its declared range begins at 0: no other state is empty.

    Args:
        model: The decoder, with names for all dynamic dimensions of its inputs.
        spec: Its spec.
        state: Its state.
        fixed: The dimensions of the tokens, which do not count those before.
    """
    before: set[str] = set()
    after: set[str] = set()
    for pair in state if not spec.write_index else ():
        past = model.dims[pair.input] or ()
        present = model.dims[pair.output] or past
        for axis, (old, new) in enumerate(zip(past, present, strict=False)):
            if not isinstance(old, str) or old in fixed:
                continue
            ranges = spec.dims.get(old) or [
                (low[axis], opt[axis], high[axis]) for low, opt, high in spec.shapes.get(pair.input, ())
            ]
            known = new != old and not (new is None and _is_unnamed(old))
            if known or any(low == 0 for low, _, _ in ranges):
                before.add(old)
                after |= {new} if isinstance(new, str) and new.isidentifier() else set()
    return before, after - before
