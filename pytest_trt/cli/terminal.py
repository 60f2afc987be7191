"""Progress messages in the terminal."""

from __future__ import annotations

import sys


def show_progress(message: str) -> None:
    """Show `message` in place of the previous one on standard error; show nothing if that is not a terminal."""
    if sys.stderr.isatty():
        print(f"\r\x1b[2K{message}", end="", file=sys.stderr, flush=True)
