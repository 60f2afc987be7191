"""The conversion of a model: what is requested, and its result."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Literal

Recipe = Literal["fp16", "bf16", "int8", "int32 biases folded"]
"""What is done to a model: it gets another precision, or its int32 biases become floating point weights."""


@dataclasses.dataclass(frozen=True)
class ConversionJob:
    """A frozen record of a conversion to run in a process of its own.

    Attributes:
        recipe: What is done to the model.
        model: The ONNX file.
        output: The file to write.
        batches: The folder of the calibration inputs; empty unless the recipe is int8.
        timeout_s: The spec's `build_timeout_s`.
        preparation_s: The time that preparing the job took; it counts towards `timeout_s`.
    """

    recipe: Recipe
    model: str
    output: str
    batches: str = ""
    timeout_s: float = 0.0
    preparation_s: float = 0.0


@dataclasses.dataclass(frozen=True)
class Conversion:
    """A frozen record of the result of a conversion.

    Attributes:
        shares: The share (0 to 1) of the model's operators in each precision; empty if the recipe does not change it.
        converter: The name and version of the converter. Empty if nothing had to be converted.
        notes: Notes for the report.
    """

    shares: Mapping[str, float]
    converter: str
    notes: tuple[str, ...] = ()
