"""Write the marker that declares a model, with an example of a range for every dynamic dimension."""

from __future__ import annotations

from pytest_trt.engine.model.dim_expression import UnknownSizeError
from pytest_trt.engine.model.input_dims import InputDims
from pytest_trt.engine.model.model import Model
from pytest_trt.spec.declaration import RunShape
from pytest_trt.spec.engine_spec import EngineSpec
from pytest_trt.spec.shape_ranges import DimRange, ShapeRange

_LEADING: DimRange = (1, 8, 32)
"""The example of a (min, opt, max) range for a leading dimension, which is usually the batch."""

_OTHER: DimRange = (32, 128, 512)
"""The example for any other dimension."""

_UNKNOWN_RANK: ShapeRange = ((1, 32), (8, 128), (32, 512))
"""The example for an input whose rank is not known."""


def marker_line(model: Model, path: str) -> tuple[str, bool]:
    """Return the decorator that declares a model, and whether it has sizes that are only examples.

    A dimension whose size follows from others, such as `2*N`, is not declared.

    Args:
        model: The model.
        path: The model's path, as the marker is to name it.
    """
    dims = InputDims(model, EngineSpec(path=path), RunShape())
    ranges = _example_ranges(dims)
    shapes = {name: _example_shape(name, dims, ranges) for name in dims.by_input if _needs_shape(name, dims)}
    covered = {dim for name in shapes for dim in dims.by_input[name] or ()}
    named = {name: triple for name, triple in ranges.items() if name not in covered}
    arguments = [repr(path)]
    arguments += [f"dims={named!r}"] if named else []
    arguments += [f"shapes={shapes!r}"] if shapes else []
    return f"@pytest.mark.trt_engine({', '.join(arguments)})", bool(named or shapes)


def _example_ranges(dims: InputDims) -> dict[str, DimRange]:
    """Return an example of a range for every name that the sizes depend on."""
    ranges: dict[str, DimRange] = {}
    for axes in dims.by_input.values():
        for axis, dim in enumerate(axes or ()):
            if isinstance(dim, str):
                expression = dims.expressions.get(dim)
                for name in expression.variables if expression else (dim,):
                    ranges.setdefault(name, _OTHER if axis else _LEADING)
    return ranges


def _needs_shape(name: str, dims: InputDims) -> bool:
    axes = dims.by_input[name]
    return axes is None or None in axes


def _example_shape(name: str, dims: InputDims, ranges: dict[str, DimRange]) -> ShapeRange:
    """Return an example of a (min, opt, max) range for the shape of an input."""
    axes = dims.by_input[name]
    if axes is None:
        return _UNKNOWN_RANK
    triples = [_example_range(axis, dim, dims, ranges) for axis, dim in enumerate(axes)]
    low, opt, high = zip(*triples, strict=True)
    return low, opt, high


def _example_range(axis: int, dim: str | int | None, dims: InputDims, ranges: dict[str, DimRange]) -> DimRange:
    """Return an example of a range for one dimension."""
    if isinstance(dim, int):
        return dim, dim, dim
    if dim is None:
        return _OTHER if axis else _LEADING
    if (expression := dims.expressions.get(dim)) is None:
        return ranges[dim]
    try:
        low, opt, high = (expression.size({n: triple[k] for n, triple in ranges.items()}) for k in range(3))
    except UnknownSizeError:
        return _OTHER
    return low, opt, high
