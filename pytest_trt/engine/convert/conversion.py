"""The result of converting a model."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping


@dataclasses.dataclass(frozen=True)
class Conversion:
    """The result of converting a model to a half precision or to int8.

    Attributes:
        shares: The share (0 to 1) of the model's operators in each precision.
        converter: The name and version of the converter. Empty if nothing had to be converted.
        notes: Notes for the report.
    """

    shares: Mapping[str, float]
    converter: str
    notes: tuple[str, ...] = ()
