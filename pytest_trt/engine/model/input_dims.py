"""The dimensions of a model's inputs: their names, and the ranges that are declared for them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from pytest_trt.core.validation import suggest
from pytest_trt.engine.model.dim_expression import DimExpression, UnknownSizeError, parse_dim_name
from pytest_trt.engine.model.model import Model
from pytest_trt.engine.onnx.signature import Dims
from pytest_trt.errors import ModelError
from pytest_trt.spec.declaration import RunShape
from pytest_trt.spec.engine_spec import EngineSpec
from pytest_trt.spec.shape_ranges import DimRange


class InputDims:
    """The dimensions of a model's inputs.

    Args:
        model: The model.
        spec: The spec, which may declare ranges.
        run: The shape to run.

    Attributes:
        by_input: The dimensions of each input. None for an input of unknown rank, unless `spec` declares its shape.
        expressions: The names that are expressions, such as `2*N`.
        ranges: By the name of a dimension, its (min, opt, max) sizes, one triple for each profile. They come from
            `dims`, and from the `shapes` of any input with a dimension of that name.

    Raises:
        ModelError: `spec` or `run` names an input or a dimension that the model does not have, or a shape does not fit
            its input.
    """

    def __init__(self, model: Model, spec: EngineSpec, run: RunShape) -> None:
        self.by_input: dict[str, Dims | None] = {tensor.name: model.dims[tensor.name] for tensor in model.inputs}
        names = {dim for dims in self.by_input.values() for dim in dims or () if isinstance(dim, str)}
        known = names | set(spec.dims) | set(run.dims)
        parsed = {name: parse_dim_name(name, known - {name}) for name in sorted(names)}
        self.expressions: Mapping[str, DimExpression] = {name: found for name, found in parsed.items() if found}
        self._check_shapes(model, spec)
        self._check_names(model, spec, run, names)
        for name, triples in spec.shapes.items():
            if self.by_input[name] is None:
                self.by_input[name] = (None,) * len(triples[0][0])
        self.ranges = self._declared_ranges(spec)

    def _check_shapes(self, model: Model, spec: EngineSpec) -> None:
        for name, triples in spec.shapes.items():
            if name not in self.by_input:
                hint = suggest_name(name, self.by_input)
                raise ModelError(f"shapes: {model.path.name} has no input {name!r}: {hint}")
            dims = self.by_input[name]
            for shape in (shape for triple in triples for shape in triple if dims is not None):
                assert dims is not None
                fits = len(shape) == len(dims) and all(
                    dim == size for dim, size in zip(dims, shape, strict=True) if isinstance(dim, int)
                )
                if not fits:
                    raise ModelError(f"shapes[{name!r}] has {shape}: the model's input is {_describe_dims(dims)}")

    def _check_names(self, model: Model, spec: EngineSpec, run: RunShape, names: set[str]) -> None:
        usable = names.union(*(expression.variables for expression in self.expressions.values()))
        for name in (*spec.dims, *run.dims):
            if name not in usable:
                where = "dims" if name in spec.dims else "the shape that is run"
                unnamed = any(dim is None for dims in self.by_input.values() for dim in dims or ())
                no_names = not names and unnamed
                hint = "its dimensions have no names: give shapes" if no_names else suggest_name(name, usable)
                raise ModelError(f"{where}: {model.path.name} has no dimension {name!r}: {hint}")

    def _declared_ranges(self, spec: EngineSpec) -> Mapping[str, tuple[DimRange, ...]]:
        found: dict[str, tuple[DimRange, ...]] = {}
        for name, triples in spec.shapes.items():
            for axis, dim in enumerate(self.by_input[name] or ()):
                if isinstance(dim, str):
                    found.setdefault(dim, tuple((low[axis], opt[axis], high[axis]) for low, opt, high in triples))
        return found | dict(spec.dims)

    def is_derived(self, name: str | int | None) -> bool:
        """Return whether the size of a dimension follows from the sizes of others."""
        return name in self.expressions

    def sizes_by_name(self, sizes: Mapping[str, Sequence[int | None]], run: RunShape) -> dict[str, int]:
        """Return the size of every named dimension that has one and is no expression.

        Args:
            sizes: The size of each dimension, by input. None for one without a size.
            run: The shape to run.
        """
        found = {name: triples[0][1] for name, triples in self.ranges.items()} | dict(run.dims)
        for name, axes in self.by_input.items():
            for dim, size in zip(axes or (), sizes[name], strict=False):
                if isinstance(dim, str) and size is not None:
                    found[dim] = size
        return {name: size for name, size in found.items() if not self.is_derived(name)}

    def range_of(self, name: str, profile: int, sizes: Mapping[str, int]) -> DimRange | None:
        """Return the (min, opt, max) sizes of a named dimension in a profile, or None if nothing declares them.

        Args:
            name: The name of the dimension.
            profile: The number of the profile.
            sizes: The sizes of the dimensions that are run, for those without a declared range.

        Raises:
            ModelError: The declared optimum contradicts the name of the dimension.
        """
        declared = self.ranges[name][profile % len(self.ranges[name])] if name in self.ranges else None
        expression = self.expressions.get(name)
        if expression is None or (declared and not self.ranges.keys() >= set(expression.variables)):
            return declared
        found = {part: self.range_of(part, profile, sizes) for part in expression.variables}
        triples = {part: triple or (sizes[part],) * 3 for part, triple in found.items() if triple or part in sizes}
        try:
            opt = expression.size({part: middle for part, (_, middle, _) in triples.items()})
            low, high = expression.limits({part: (least, most) for part, (least, _, most) in triples.items()})
        except UnknownSizeError:
            return declared
        if declared and declared[1] != opt:
            parts = ", ".join(f"{part} is {triples[part][1]}" for part in expression.variables)
            raise ModelError(
                f"dimension {name!r} is declared with the optimum {declared[1]}, but is {opt} where {parts}: change "
                "one of them"
            )
        return declared or (low, opt, high)


def _describe_dims(dims: Dims) -> str:
    return f"({', '.join('?' if dim is None else str(dim) for dim in dims)})"


def suggest_name(name: str, names: Iterable[str]) -> str:
    """Return the hint for an unknown name: the most similar of `names`, or all of them."""
    known = sorted(names)
    return suggest(name, known, f"it has {', '.join(map(repr, known)) or 'none'}")
