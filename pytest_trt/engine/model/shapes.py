"""The shapes that an engine is built for and run with."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from pytest_trt.engine.model.dim_expression import UnknownSizeError
from pytest_trt.engine.model.input_dims import InputDims
from pytest_trt.engine.model.missing_sizes import describe_missing_sizes
from pytest_trt.engine.model.model import Model
from pytest_trt.engine.onnx.signature import Dims
from pytest_trt.errors import ModelError
from pytest_trt.spec.declaration import RunShape
from pytest_trt.spec.engine_spec import EngineSpec
from pytest_trt.spec.shape_ranges import Shape, ShapeRange


@dataclasses.dataclass(frozen=True)
class ResolvedShapes:
    """The shapes of a model's inputs, by input name.

    Attributes:
        run: The concrete shape of every input, as the engine is run.
        profiles: One mapping for each optimisation profile: the (min, opt, max) shapes of every input that has a
            dynamic dimension. Empty for a model without dynamic dimensions.
        batch: The number of inferences in a query, at least 1: the batch that is run; else the leading dimension of
            the first input that leaves it open; else 1.
    """

    run: Mapping[str, Shape]
    profiles: tuple[Mapping[str, ShapeRange], ...]
    batch: int = 1

    @property
    def optimum(self) -> Mapping[str, Shape]:
        """The shape of every input at the optimum of the first profile."""
        dynamic = {name: opt for profile in self.profiles[:1] for name, (_, opt, _) in profile.items()}
        return {**self.run, **dynamic}


def resolve_shapes(model: Model, spec: EngineSpec, run: RunShape) -> ResolvedShapes:
    """Return the shapes that an engine of `model` is built for and run with.

    A dynamic dimension gets the first of these sizes that exists: the size that `run.dims` gives its name; `run.batch`,
    if the dimension is the leading one of its input; the optimum that `spec.shapes` or `spec.dims` declares in the
    first profile. A dimension without a declared range is built for the size that it is run with.

    A dimension whose name is an expression of other names, such as `2*N`, has the size that follows from theirs. It is
    never the batch.

    Raises:
        ModelError: A name does not exist in the model, a size contradicts the model, a dimension has no size, or the
            shapes lie outside every profile.
    """
    dims = InputDims(model, spec, run)
    shapes = _run_shapes(model, dims, spec, run)
    profiles = _profiles(dims, spec, run, shapes)
    if profiles and not any(_covers(profile, shapes) for profile in profiles):
        listed = "; ".join(f"profile {i}: {_describe_profile(profile)}" for i, profile in enumerate(profiles))
        requested = ", ".join(f"{name!r} {shapes[name]}" for name in profiles[0])
        raise ModelError(
            f"{model.path.name} is run with {requested}, which is outside every profile ({listed}): change that shape, "
            "or widen the range in dims or shapes"
        )
    leading = {name: axes[0] for name, axes in dims.by_input.items() if axes}
    batches = [
        shapes[name][0] for name, dim in leading.items() if not isinstance(dim, int) and not dims.is_derived(dim)
    ]
    return ResolvedShapes(shapes, profiles, max(run.batch or next(iter(batches), 1), 1))


def _run_shapes(model: Model, dims: InputDims, spec: EngineSpec, run: RunShape) -> dict[str, Shape]:
    """Return the concrete shape of every input."""
    requested = _batch_sizes(model, dims, run) | dict(run.dims)
    sizes: dict[str, list[int | None]] = {}
    for name, axes in dims.by_input.items():
        optimum: Shape = spec.shapes[name][0][1] if name in spec.shapes else ()
        sizes[name] = []
        for axis, dim in enumerate(axes or ()):
            size = dim if isinstance(dim, int) else requested.get(dim) if dim else None
            if size is None and axis == 0 and not dims.is_derived(dim):
                size = run.batch
            if size is None and optimum:
                size = optimum[axis]
            if size is None and isinstance(dim, str) and dim in dims.ranges:
                size = dims.ranges[dim][0][1]
            sizes[name].append(size)
    reasons = _derive(model, dims, run, sizes)
    if fault := describe_missing_sizes(model.path.name, dims, sizes, reasons):
        raise ModelError(fault)
    shapes = {name: tuple(size for size in axes if size is not None) for name, axes in sizes.items()}
    _check_consistent(model, dims, shapes)
    return shapes


def _derive(
    model: Model, dims: InputDims, run: RunShape, sizes: dict[str, list[int | None]]
) -> dict[str, UnknownSizeError]:
    """Set the sizes of dimensions whose names are expressions, and return why some of them cannot be derived, by name.

    Raises:
        ModelError: The run gives such a dimension another size.
    """
    known = dims.sizes_by_name(sizes, run)
    derived: dict[str, int] = {}
    reasons: dict[str, UnknownSizeError] = {}
    for name, expression in dims.expressions.items():
        try:
            derived[name] = expression.size(known)
        except UnknownSizeError as error:
            reasons[name] = error
            continue
        if run.dims.get(name, derived[name]) != derived[name]:
            parts = ", ".join(f"{part} is {known[part]}" for part in expression.variables)
            raise ModelError(
                f"the shape that is run gives dimension {name!r} of {model.path.name} the size {run.dims[name]}, but "
                f"it is {derived[name]} where {parts}: leave {name!r} out"
            )
    for name, axes in dims.by_input.items():
        for axis, dim in enumerate(axes or ()):
            if dim in derived:
                sizes[name][axis] = derived[str(dim)]
    return reasons


def _batch_sizes(model: Model, dims: InputDims, run: RunShape) -> dict[str, int]:
    """Return the sizes of the named dimensions that the batch fills.

    Raises:
        ModelError: The batch fills no dimension, and no input has it as its leading size.
    """
    if run.batch is None:
        return {}
    leading = {name: axes[0] for name, axes in dims.by_input.items() if axes}
    filled = [
        dim for dim in leading.values()
        if dim is None or (isinstance(dim, str) and dim not in run.dims and not dims.is_derived(dim))
    ]  # fmt: skip
    unranked = any(axes is None for axes in dims.by_input.values())
    sizes = {name: run.dims.get(str(dim), dim) for name, dim in leading.items()}
    if not filled and not unranked and run.batch not in sizes.values():
        fixed = ", ".join(f"{name!r} leads with {size}" for name, size in sizes.items())
        derived = next((dim for dim in leading.values() if dims.is_derived(dim)), None)
        remedy = "export it with a dynamic leading dimension, or leave batch out"
        if derived is not None:
            parts = ", ".join(f"{part!r}: SIZE" for part in dims.expressions[str(derived)].variables)
            remedy = f"{derived!r} is computed from other dimensions, so write dims={{{parts}}} instead of batch"
        raise ModelError(
            f"batch={run.batch} fills no dimension of {model.path.name} ({fixed or 'it has none'}): {remedy}"
        )
    return {dim: run.batch for dim in filled if dim is not None}


def _check_consistent(model: Model, dims: InputDims, shapes: Mapping[str, Shape]) -> None:
    """Raise ModelError if a named dimension has two different sizes."""
    seen: dict[str, tuple[int, str]] = {}
    for name, axes in dims.by_input.items():
        for dim, size in zip(axes or (), shapes[name], strict=False):
            if isinstance(dim, str) and seen.setdefault(dim, (size, name))[0] != size:
                other, first = seen[dim]
                raise ModelError(
                    f"dimension {dim!r} of {model.path.name} would be {other} in {first!r} and {size} in {name!r}: "
                    "give it one size"
                )


def _profiles(
    dims: InputDims, spec: EngineSpec, run: RunShape, shapes: Mapping[str, Shape]
) -> tuple[Mapping[str, ShapeRange], ...]:
    """Return the optimisation profiles. `shapes` has the sizes of dimensions without a declared range."""
    dynamic = {
        name: axes for name, axes in dims.by_input.items() if axes is None or not all(isinstance(d, int) for d in axes)
    }
    if not dynamic:
        return ()
    known = dims.sizes_by_name(shapes, run)

    def shape_range(name: str, axes: Dims | None, profile: int) -> ShapeRange:
        if name in spec.shapes:
            triples = spec.shapes[name]
            return triples[profile % len(triples)]
        ranges = []
        for dim, size in zip(axes or (), shapes[name], strict=True):
            declared = dims.range_of(dim, profile, known) if isinstance(dim, str) else None
            ranges.append(declared or (size, size, size))
        low, opt, high = (tuple(axis[i] for axis in ranges) for i in range(3))
        return (low, opt, high)

    return tuple(
        {name: shape_range(name, axes, profile) for name, axes in dynamic.items()}
        for profile in range(spec.profile_count)
    )


def _covers(profile: Mapping[str, ShapeRange], shapes: Mapping[str, Shape]) -> bool:
    """Return whether all shapes lie within the profile."""
    return all(
        low <= size <= high
        for name, (lows, _, highs) in profile.items()
        for low, size, high in zip(lows, shapes[name], highs, strict=True)
    )


def _describe_profile(profile: Mapping[str, ShapeRange]) -> str:
    return ", ".join(f"{name!r} {low} to {high}" for name, (low, _, high) in profile.items())
