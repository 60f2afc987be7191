"""Atomic file writes: the content goes to a draft file, which then replaces the target in one step."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from pathlib import Path


def write_atomically(path: Path, text: str | Iterable[str]) -> None:
    """Write a text, or the parts of one, to `path`. A reader sees either the old file or the complete new one.

    The folder of `path` must exist.

    Raises:
        OSError: The file cannot be written. No draft file remains.
    """
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        # The text may contain a path, and the bytes of a path are not always valid UTF-8.
        with draft.open("w", encoding="utf-8", errors="backslashreplace") as file:
            file.writelines((text,) if isinstance(text, str) else text)
        draft.replace(path)
    except BaseException:
        discard_draft(draft)
        raise


def discard_draft(draft: Path) -> None:
    """Remove a draft file, if there is one."""
    with contextlib.suppress(OSError):  # A read-only file system refuses even if there is no such file.
        draft.unlink()
