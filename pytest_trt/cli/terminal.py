"""Progress messages on the terminal."""

from __future__ import annotations

import sys


def show_progress(message: str) -> None:
    """Replace the progress line on standard error; print nothing if that is not a terminal."""
    if sys.stderr.isatty():
        print(f"\r\x1b[2K{message}", end="", file=sys.stderr, flush=True)
