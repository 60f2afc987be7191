"""The record of an output that is stored with a measurement."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class StoredOutput:
    """A compact copy of an output.

    Attributes:
        sha256: The SHA-256 of all bytes of the output.
        values: A sample of the elements in base64: little-endian float64, or int64 for integer types.
    """

    dtype: str
    shape: tuple[int, ...]
    sha256: str
    values: str
