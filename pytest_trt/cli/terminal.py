"""Write to the terminal. Commands print through this module only, so that no text from elsewhere can control it."""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Sequence
from typing import NoReturn

from pytest_trt.core.foreign_text import escape
from pytest_trt.report.console import PIPED_WIDTH, encodable


def show(*lines: str, error: bool = False) -> None:
    """Print lines, with foreign text in them escaped.

    Args:
        *lines: The lines. A line break inside one is escaped, because it comes from elsewhere.
        error: Whether to print to standard error.
    """
    file = sys.stderr if error else sys.stdout
    text = "".join(f"{escape(line)}\n" for line in lines)
    print(encodable(text, file.encoding or "utf-8"), end="", file=file, flush=True)


def output_width() -> int:
    """Return the width of a report on standard output in columns."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else PIPED_WIDTH


def show_table(rows: Sequence[Sequence[str]]) -> None:
    """Print rows of cells, of which the first is the headings, with the columns aligned to the left."""
    rows = [[escape(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    show(*("  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows))


def show_report(text: str) -> None:
    """Print a text of `pytest_trt.report` as it is: its foreign text is escaped already, and it may have colours."""
    print(encodable(text, sys.stdout.encoding or "utf-8"), end="" if text.endswith("\n") else "\n", flush=True)


def show_json(text: str) -> None:
    """Print a JSON document. `##` is written as an escape of JSON, because it begins a command of some CI services."""
    show_report(text.replace("##", "\\u0023#"))


def show_progress(message: str) -> None:
    """Show `message` in place of the previous one on standard error; show nothing if that is not a terminal."""
    if sys.stderr.isatty():
        text = encodable(escape(message), sys.stderr.encoding or "utf-8")
        print(f"\r\x1b[2K{text}", end="", file=sys.stderr, flush=True)


class ArgumentParser(argparse.ArgumentParser):
    """An argparse parser whose errors are escaped, and show no credentials."""

    def error(self, message: str) -> NoReturn:
        """Print the usage and the error, and exit with status 2."""
        self.print_usage(sys.stderr)
        show(f"{self.prog}: error: {message}", error=True)
        sys.exit(2)
