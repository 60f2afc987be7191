"""What several commands print, and the interpreters they name."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from pytest_trt.errors import DeclarationError


def interpreter(flag: str, name: str) -> str:
    """The path of an interpreter that an option names. Raises DeclarationError where there is none."""
    python = shutil.which(name)
    if python is None:
        raise DeclarationError(f"{flag} is {name!r}: there is no such interpreter")
    return str(Path(python).absolute())


def say(text: str) -> None:
    if sys.stderr.isatty():
        print(f"\r\x1b[2K{text}", end="", file=sys.stderr, flush=True)
