"""What a place that holds files must be able to do. Paths are relative, with `/`, and made by names.py alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from pytest_trt.errors import BaselineError

Content = bytes | BaselineError | None
"""What a file holds; the error that met whoever read it; None where it is not there."""


class Storage(Protocol):
    where: str
    """How messages name it."""

    def read(self, paths: Sequence[str], most: int) -> dict[str, Content]:
        """Every file of `paths`, of at most `most` bytes, together where that is faster. One that cannot be read does
        not keep the others from being read; raises BaselineError where the place as a whole cannot be."""
        ...

    def write(self, files: Mapping[str, bytes]) -> None:
        """Every file, each whole or not at all. Raises BaselineError."""
        ...

    def remove(self, paths: Iterable[str]) -> None: ...

    def list(self, prefix: str) -> list[str]:
        """The paths of all files below `prefix`, sorted; those being written are not among them."""
        ...
