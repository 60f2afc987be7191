"""Choose sizes for the dynamic dimensions of a model where the user has chosen none.

The batch is what the caller says. Every other size is a guess from the name of the dimension, or from its place.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence

from pytest_trt.engine.model.dim_expression import UnknownSizeError
from pytest_trt.engine.model.input_dims import InputDims
from pytest_trt.engine.model.model import Model
from pytest_trt.engine.onnx.signature import Dims
from pytest_trt.spec.declaration import RunShape
from pytest_trt.spec.engine_spec import EngineSpec
from pytest_trt.spec.shape_ranges import Shape

_GUESSES: Mapping[str, tuple[int, str]] = {
    "image": (224, "guessed as the side of an image"),
    "channels": (3, "guessed as the channels of an image"),
    "past": (0, "guessed as if nothing had been decoded yet"),
    "length": (128, "guessed as the length of a sequence"),
}
"""The size of each kind of dimension, and why. No past keys and a prompt of 128 tokens agree with a total of 128."""

_WORDS = {
    "batch": "batch", "batchsize": "batch", "bs": "batch", "past": "past", "height": "image", "width": "image",
    "channel": "channels", "channels": "channels", "seq": "length", "sequence": "length", "length": "length",
    "len": "length", "time": "length", "frames": "length", "tokens": "length",
}  # fmt: skip
"""The kind of a dimension by a word of its name. The first word of the name that is here decides."""

_LETTERS = {"n": "batch", "b": "batch", "h": "image", "w": "image", "c": "channels", "s": "length", "t": "length",
            "l": "length"}  # fmt: skip
"""The kind of a dimension by a name of one letter."""

_IMAGE_CHANNELS = (1, 3, 4)


@dataclasses.dataclass(frozen=True)
class ChosenSizes:
    """Sizes for the dimensions that had none.

    Attributes:
        dims: The sizes by the name of the dimension.
        shapes: The shapes of inputs that have dimensions without a name, by the name of the input.
        batch: The names of dimensions and inputs that the batch fills.
        why: A sentence about each size.
    """

    dims: Mapping[str, int]
    shapes: Mapping[str, Shape]
    batch: tuple[str, ...]
    why: tuple[str, ...]


def choose_sizes(model: Model, spec: EngineSpec, batch: int) -> ChosenSizes:
    """Return sizes for the dimensions of the model's inputs that `spec` gives none.

    A dimension is the batch if its name says so, or if it leads an input and its name says nothing else. An input of
    unknown rank gets no shape, and neither does one with a dimension that is computed from unknown ones.

    Args:
        model: The model.
        spec: The spec. Its `dims` and `shapes` are kept.
        batch: The size of the batch.

    Raises:
        ModelError: `spec` does not fit the model.
    """
    inputs = InputDims(model, spec, RunShape())
    chosen = _Choice(batch)
    for dims in inputs.by_input.values():
        for axis, dim in enumerate(dims or ()):
            if isinstance(dim, str) and not inputs.is_derived(dim) and dim not in inputs.ranges:
                chosen.add(dim, _kind(dim, axis, dims or ()))
    for expression in inputs.expressions.values():
        for part in expression.variables:
            if part not in inputs.ranges:
                chosen.add(part, _kind(part, 1, ()))
    known = {name: triples[0][1] for name, triples in inputs.ranges.items()} | chosen.sizes
    for name, expression in inputs.expressions.items():
        try:
            known.setdefault(name, expression.size(known))
        except UnknownSizeError:
            continue
    for name, dims in inputs.by_input.items():
        if dims is not None and None in dims and name not in spec.shapes:
            chosen.add_shape(name, dims, known)
    return ChosenSizes(chosen.sizes, chosen.shapes, tuple(chosen.filled), tuple(chosen.why))


class _Choice:
    """The sizes that have been chosen so far."""

    def __init__(self, batch: int) -> None:
        self._batch = batch
        self.sizes: dict[str, int] = {}
        self.shapes: dict[str, Shape] = {}
        self.filled: list[str] = []
        self.why: list[str] = []

    def _size(self, kind: str, name: str) -> tuple[int, str]:
        if kind != "batch":
            return _GUESSES[kind]
        self.filled.append(name)
        return self._batch, "the batch"

    def add(self, name: str, kind: str) -> None:
        """Choose the size of a named dimension."""
        if name not in self.sizes:
            self.sizes[name], why = self._size(kind, name)
            self.why.append(f"dimension {name!r} is {self.sizes[name]}: {why}")

    def add_shape(self, name: str, dims: Dims, known: Mapping[str, int]) -> None:
        """Choose the shape of an input that has dimensions without a name."""
        shape, reasons = [], []
        for axis, dim in enumerate(dims):
            size = dim if isinstance(dim, int) else known.get(dim) if dim else None
            if size is None and dim is None:
                size, why = self._size(_kind("", axis, dims), name)
                reasons.append(f"{size} is {why}")
            if size is None:
                return
            shape.append(size)
        self.shapes[name] = tuple(shape)
        self.why.append(f"input {name!r} is {'x'.join(map(str, shape))}: {'; '.join(dict.fromkeys(reasons))}")


def _kind(name: str, axis: int, dims: Sequence[object]) -> str:
    """Return what a dimension is: `batch`, or a key of _GUESSES."""
    words = re.findall(r"[a-z]+", re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower())
    if words and len(name) == 1 and words[0] in _LETTERS:
        return _LETTERS[words[0]]
    for word in words:
        if word in _WORDS:
            return _WORDS[word]
    if axis == 0:
        return "batch"
    return _image_part(axis, dims) if len(dims) == 4 else "length"


def _image_part(axis: int, dims: Sequence[object]) -> str:
    """Return what a dimension of an input of rank 4 is: of an image, both sides are dynamic, and the channels few."""
    channel_axis = 3 if dims[3] in _IMAGE_CHANNELS else 1
    sides = {1, 2, 3} - {channel_axis}
    few_channels = dims[channel_axis] in _IMAGE_CHANNELS or not isinstance(dims[channel_axis], int)
    if not few_channels or any(isinstance(dims[side], int) for side in sides):
        return "length"
    return "channels" if axis == channel_axis else "image"
