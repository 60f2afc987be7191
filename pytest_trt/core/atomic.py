"""Files that are written whole or not at all: as a draft beside them, which then takes their place."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path


def write_atomically(path: Path, text: str) -> None:
    """Write `text` to `path`, whose folder is there. Raises OSError, and leaves no draft then."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        draft.write_text(text, encoding="utf-8", errors="backslashreplace")  # a path's bytes need not be UTF-8
        draft.replace(path)
    except OSError:
        discard_draft(draft)
        raise


def discard_draft(draft: Path) -> None:
    """Remove a draft that is there. A read-only file system refuses that of what is not there, too."""
    with contextlib.suppress(OSError):
        draft.unlink()
