"""The protocol of a storage of files.

Paths are relative to the storage, with `/`, and come from paths.py alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from pytest_trt.errors import BaselineError

Content = bytes | BaselineError | None
"""The bytes of a file; the error that reading it raised; or None if it does not exist."""


class Storage(Protocol):
    """Files by path. Every method raises BaselineError if the storage as a whole cannot be read or written."""

    where: str
    """How messages name the storage."""

    def read(self, paths: Sequence[str], most: int) -> dict[str, Content]:
        """Read files, together if that is faster.

        Args:
            paths: The files.
            most: The most bytes of a file that is read; a larger file is an error.

        Returns:
            The content of every file. An error of one file does not affect the others.
        """
        ...

    def write(self, files: Mapping[str, bytes]) -> None:
        """Write files, each of them completely or not at all."""
        ...

    def remove(self, paths: Iterable[str]) -> None:
        """Remove files; those that do not exist are ignored."""
        ...

    def list(self, prefix: str) -> list[str]:
        """Return the sorted paths of all files below a folder, without those that are being written."""
        ...
