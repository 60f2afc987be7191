"""Turn what rich prints into text that the output can represent."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

# rich is imported inside the function, so that a run that prints no table does not load it.

PIPED_WIDTH = 100
"""The width of a report in columns if it is not written to a terminal."""

_PLAIN = str.maketrans({"…": "~", "─": "-", "┤": "|", "└": "+", "●": "o"})


def render(draw: Callable[[Console], None], *, width: int, colour: bool, encoding: str) -> str:
    """Return what `draw` prints to a console, without blanks at the ends of the lines.

    Args:
        draw: Prints to the console that it is called with.
        width: The width of the terminal in columns.
        colour: Whether to add ANSI colour codes.
        encoding: The encoding of the output. A character that it lacks is replaced by a plain one.
    """
    from rich.console import Console

    stream = io.StringIO()
    console = Console(
        file=stream, width=width, force_terminal=colour, color_system="standard" if colour else None,
        no_color=not colour, legacy_windows=False, force_jupyter=False, highlight=False, markup=False, emoji=False,
    )  # fmt: skip
    draw(console)
    lines = (line.rstrip() for line in stream.getvalue().splitlines())
    return encodable("".join(f"{line}\n" for line in lines), encoding)


def encodable(text: str, encoding: str) -> str:
    """Return `text`, with plain characters of the same width if `encoding` cannot represent it."""
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return text.translate(_PLAIN).encode(encoding, "backslashreplace").decode(encoding)
    return text
