"""The error for inputs whose dimensions have no size: one for all of them, with everything that is to be written."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from pytest_trt.engine.model.dim_expression import UnknownSizeError
from pytest_trt.engine.model.input_dims import InputDims


@dataclasses.dataclass
class _Remedy:
    """The values that an error suggests to the user.

    Attributes:
        dims: The names of the dimensions that need a size.
        shapes: The inputs that need a shape, with a template of the shape.
        leading: How many of the missing dimensions the batch would fill.
        others: How many it would not fill.
    """

    dims: dict[str, None] = dataclasses.field(default_factory=dict)
    shapes: dict[str, str] = dataclasses.field(default_factory=dict)
    leading: int = 0
    others: int = 0

    def count(self, axis: int) -> None:
        """Count a missing dimension, which the batch would fill if it is the leading one."""
        if axis == 0:
            self.leading += 1
        else:
            self.others += 1

    def __str__(self) -> str:
        arguments = []
        if self.dims:
            arguments.append(f"dims={{{', '.join(f'{name!r}: (min, opt, max)' for name in self.dims)}}}")
        if self.shapes:
            arguments.append(f"shapes={{{', '.join(f'{name!r}: ((min), (opt), (max))' for name in self.shapes)}}}")
        options = [f"--dims={name}=SIZE" for name in self.dims]
        options += [f"--shapes={name}={shape}" for name, shape in self.shapes.items()]
        batch = option = ""
        if self.leading:
            count = f" for {self.leading} of the dimensions" if self.others else ""
            batch, option = f", or batch{count}", f", or --batch=SIZE{count}"
        return f"write {' and '.join(arguments)}{batch} (for a command: {' '.join(options)}{option})"


def describe_missing_sizes(
    model: str,
    dims: InputDims,
    sizes: Mapping[str, Sequence[int | None]],
    reasons: Mapping[str, UnknownSizeError],
) -> str:
    """Return the error for all dimensions without a size, or "" if every dimension has one.

    Args:
        model: The name of the model.
        dims: The dimensions of its inputs.
        sizes: The size of each dimension, by input. None for one without a size.
        reasons: Why the size of an expression does not follow from others, by its name.
    """
    remedy = _Remedy()
    missing: dict[str, str] = {}
    causes: dict[str, str] = {}
    for name, axes in dims.by_input.items():
        for axis, (dim, size) in enumerate(zip(axes or (), sizes[name], strict=False)):
            if size is not None or dim in missing:
                continue
            if isinstance(dim, str) and dim in reasons:
                missing[dim] = f"dimension {dim!r} of input {name!r}"
                causes[dim] = f" ({reasons[dim]})"
                remedy.dims.update(dict.fromkeys(reasons[dim].unknown or (dim,)))
                remedy.others += 1
            elif isinstance(dim, str):
                missing[dim] = f"dimension {dim!r} of input {name!r}"
                remedy.dims[dim] = None
                remedy.count(axis)
            else:
                missing[f"{name} {axis}"] = f"dimension {axis}, which has no name, of input {name!r}"
                remedy.shapes[name] = "x".join(str(dim) if isinstance(dim, int) else "SIZE" for dim in axes or ())
                remedy.count(axis)
    faults = []
    if len(missing) == 1:
        [(key, subject)] = missing.items()
        cause = causes.get(key, "")
        faults.append(f"{subject} of {model} is dynamic, and nothing defines its size{cause}")
    elif missing:
        listed = ", ".join(subject + causes.get(key, "") for key, subject in missing.items())
        faults.append(f"{len(missing)} dimensions of {model} are dynamic, and nothing defines their sizes ({listed})")
    for name in (name for name, axes in dims.by_input.items() if axes is None):
        faults.append(f"input {name!r} of {model} is of unknown rank")
        remedy.shapes[name] = "SIZExSIZE"
    return f"{'; '.join(faults)}: {remedy}" if faults else ""
