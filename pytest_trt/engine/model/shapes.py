"""The shapes that an engine is built for and run with."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping

from pytest_trt.core.validation import suggest
from pytest_trt.engine.model.model import Model
from pytest_trt.engine.onnx.signature import Dims
from pytest_trt.errors import ModelError
from pytest_trt.spec.declaration import RunShape
from pytest_trt.spec.engine_spec import EngineSpec
from pytest_trt.spec.shape_ranges import DimRange, Shape, ShapeRange


@dataclasses.dataclass(frozen=True)
class ResolvedShapes:
    """The shapes of a model's inputs, by input name.

    Attributes:
        run: The concrete shape of every input, as the engine is run.
        profiles: One mapping for each optimisation profile: the (min, opt, max) shapes of every input that has a
            dynamic dimension. Empty for a model without dynamic dimensions.
    """

    run: Mapping[str, Shape]
    profiles: tuple[Mapping[str, ShapeRange], ...]

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

    Raises:
        ModelError: A name does not exist in the model, a size contradicts the model, a dimension has no size, or the
            shapes lie outside every profile.
    """
    shapes = _run_shapes(model, spec, run)
    profiles = _profiles(model, spec, shapes)
    if profiles and not any(_covers(profile, shapes) for profile in profiles):
        listed = "; ".join(f"profile {i}: {_describe_profile(profile)}" for i, profile in enumerate(profiles))
        requested = ", ".join(f"{name!r} {shapes[name]}" for name in profiles[0])
        raise ModelError(
            f"{model.path.name} is run with {requested}, which is outside every profile ({listed}): change that shape, "
            "or widen the range in dims or shapes"
        )
    return ResolvedShapes(shapes, profiles)


def _input_dims(model: Model) -> dict[str, Dims | None]:
    return {tensor.name: model.dims[tensor.name] for tensor in model.inputs}


def _run_shapes(model: Model, spec: EngineSpec, run: RunShape) -> dict[str, Shape]:
    """Return the concrete shape of every input."""
    inputs = _input_dims(model)
    _check_names(model, inputs, spec, run)
    sizes_by_name = _batch_sizes(model, inputs, run) | dict(run.dims)
    ranges = _declared_ranges(inputs, spec)
    shapes: dict[str, Shape] = {}
    for name, dims in inputs.items():
        optimum = spec.shapes[name][0][1] if name in spec.shapes else None
        if dims is None:
            if optimum is None:
                raise ModelError(
                    f"input {name!r} of {model.path.name} is of unknown rank: give shapes={{{name!r}: ...}}"
                )
            dims = (None,) * len(optimum)
        sizes = []
        for axis, dim in enumerate(dims):
            size = dim if isinstance(dim, int) else sizes_by_name.get(dim) if dim else None
            if size is None and axis == 0:
                size = run.batch
            if size is None and optimum is not None:
                size = optimum[axis]
            if size is None and isinstance(dim, str) and dim in ranges:
                size = ranges[dim][0][1]
            if size is None:
                raise ModelError(_missing_size(model, name, dims, axis))
            sizes.append(size)
        shapes[name] = tuple(sizes)
    _check_consistent(model, inputs, shapes)
    return shapes


def _check_names(model: Model, inputs: Mapping[str, Dims | None], spec: EngineSpec, run: RunShape) -> None:
    """Raise ModelError for a name that the model does not have, or a shape that does not fit its input."""
    names = {dim for dims in inputs.values() for dim in dims or () if isinstance(dim, str)}
    for name, triples in spec.shapes.items():
        if name not in inputs:
            raise ModelError(f"shapes: {model.path.name} has no input {name!r}: {_suggest_name(name, inputs)}")
        dims = inputs[name]
        for shape in (shape for triple in triples for shape in triple if dims is not None):
            assert dims is not None
            fits = len(shape) == len(dims) and all(
                dim == size for dim, size in zip(dims, shape, strict=True) if isinstance(dim, int)
            )
            if not fits:
                raise ModelError(f"shapes[{name!r}] has {shape}: the model's input is {_describe_dims(dims)}")
    for name in (*spec.dims, *run.dims):
        if name not in names:
            where = "dims" if name in spec.dims else "the shape that is run"
            unnamed = any(dim is None for dims in inputs.values() for dim in dims or ())
            hint = _suggest_name(name, names) if names or not unnamed else "its dimensions have no names: give shapes"
            raise ModelError(f"{where}: {model.path.name} has no dimension {name!r}: {hint}")


def _batch_sizes(model: Model, inputs: Mapping[str, Dims | None], run: RunShape) -> dict[str, int]:
    """Return the sizes of the named dimensions that the batch fills.

    Raises:
        ModelError: The batch fills no dimension, and no input has it as its leading size.
    """
    if run.batch is None:
        return {}
    leading = {name: dims[0] for name, dims in inputs.items() if dims}
    filled = [d for d in leading.values() if d is None or (isinstance(d, str) and d not in run.dims)]
    unranked = any(dims is None for dims in inputs.values())
    sizes = {name: run.dims.get(str(d), d) for name, d in leading.items()}
    if not filled and not unranked and run.batch not in sizes.values():
        fixed = ", ".join(f"{name!r} leads with {size}" for name, size in sizes.items())
        raise ModelError(
            f"batch={run.batch} fills no dimension of {model.path.name} ({fixed or 'it has none'}): export it with a "
            "dynamic leading dimension, or leave batch out"
        )
    return {d: run.batch for d in filled if d is not None}


def _declared_ranges(inputs: Mapping[str, Dims | None], spec: EngineSpec) -> dict[str, tuple[DimRange, ...]]:
    """Return the (min, opt, max) sizes of named dimensions, one triple for each profile.

    They come from `dims`, and from the `shapes` of any input with a dimension of that name.
    """
    found: dict[str, tuple[DimRange, ...]] = {}
    for name, triples in spec.shapes.items():
        for axis, dim in enumerate(inputs[name] or ()):
            if isinstance(dim, str):
                found.setdefault(dim, tuple((low[axis], opt[axis], high[axis]) for low, opt, high in triples))
    return found | dict(spec.dims)


def _check_consistent(model: Model, inputs: Mapping[str, Dims | None], shapes: Mapping[str, Shape]) -> None:
    """Raise ModelError if a named dimension has two different sizes."""
    seen: dict[str, tuple[int, str]] = {}
    for name, dims in inputs.items():
        for dim, size in zip(dims or (), shapes[name], strict=False):
            if isinstance(dim, str) and seen.setdefault(dim, (size, name))[0] != size:
                other, first = seen[dim]
                raise ModelError(
                    f"dimension {dim!r} of {model.path.name} would be {other} in {first!r} and {size} in {name!r}: "
                    "give it one size"
                )


def _profiles(model: Model, spec: EngineSpec, shapes: Mapping[str, Shape]) -> tuple[Mapping[str, ShapeRange], ...]:
    """Return the optimisation profiles. `shapes` has the sizes of dimensions without a declared range."""
    inputs = _input_dims(model)
    ranges = _declared_ranges(inputs, spec)
    dynamic = {name: dims for name, dims in inputs.items() if dims is None or not all(isinstance(d, int) for d in dims)}
    if not dynamic:
        return ()

    def shape_range(name: str, dims: Dims | None, profile: int) -> ShapeRange:
        if name in spec.shapes:
            triples = spec.shapes[name]
            return triples[profile % len(triples)]
        axes = []
        for dim, size in zip(dims or (), shapes[name], strict=True):
            of_dim = ranges.get(dim) if isinstance(dim, str) else None
            axes.append(of_dim[profile % len(of_dim)] if of_dim else (size, size, size))
        low, opt, high = (tuple(axis[i] for axis in axes) for i in range(3))
        return (low, opt, high)

    return tuple(
        {name: shape_range(name, dims, profile) for name, dims in dynamic.items()}
        for profile in range(spec.profile_count)
    )


def _covers(profile: Mapping[str, ShapeRange], shapes: Mapping[str, Shape]) -> bool:
    """Return whether all shapes lie within the profile."""
    return all(
        low <= size <= high
        for name, (lows, _, highs) in profile.items()
        for low, size, high in zip(lows, shapes[name], highs, strict=True)
    )


def _missing_size(model: Model, name: str, dims: Dims, axis: int) -> str:
    """Return the error for a dynamic dimension without a size."""
    dim = dims[axis]
    subject = f"dimension {dim!r}" if dim else f"dimension {axis}, which has no name,"
    remedy = f"dims={{{dim!r}: (min, opt, max)}}" if dim else f"shapes={{{name!r}: ((min), (opt), (max))}}"
    batch = ", or batch" if axis == 0 else ""
    shape = "x".join(str(dim) if isinstance(dim, int) else "SIZE" for dim in dims)
    option = f"--dims={dim}=SIZE" if dim else f"--shapes={name}={shape}"
    command = f" (for a command: {option}{batch and ', or --batch=SIZE'})"
    fault = f"{subject} of input {name!r} of {model.path.name} is dynamic, and nothing defines its size"
    return f"{fault}: write {remedy}{batch}{command}"


def _describe_dims(dims: Dims) -> str:
    return f"({', '.join('?' if dim is None else str(dim) for dim in dims)})"


def _describe_profile(profile: Mapping[str, ShapeRange]) -> str:
    return ", ".join(f"{name!r} {low} to {high}" for name, (low, _, high) in profile.items())


def _suggest_name(name: str, names: Iterable[str]) -> str:
    known = sorted(names)
    return suggest(name, known, f"it has {', '.join(map(repr, known)) or 'none'}")
