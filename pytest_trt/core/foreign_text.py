r"""Escape text from elsewhere: names in models, paths, commit messages, messages of libraries.

Such text could otherwise move the cursor of a terminal, begin a line of its own in an error, or give a command to a CI
service, such as GitHub's `::error::`. A character that could do so is shown as in a Python string: `\n`, `\x1b`.
"""

from __future__ import annotations

import re
import unicodedata

from pytest_trt.core.location import mask_urls

_ESCAPED_CATEGORIES = frozenset(("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"))
"""Control and format characters (these include the bidirectional controls), surrogates, unknown characters, and line
separators."""

_LINE_COMMAND = re.compile(r"\s*::")
"""How a command of GitHub Actions begins a line."""

_INLINE_COMMAND = re.compile(r"#(?=#[A-Za-z]*\[)")
"""How a command of Azure Pipelines (`##vso[`), TeamCity, or an old runner of GitHub (`##[`) begins, anywhere in a
line."""


def escape(text: str) -> str:
    r"""Return `text` as one line that nothing interprets.

    Line breaks, control characters and bidirectional controls are shown as `\n`, `\x1b` or `\u202e`, and so is the
    first character of a CI command. Credentials in URLs become `***`. Escaping twice is the same as once.
    """
    if text.isascii() and text.isprintable() and "::" not in text and "##" not in text and "://" not in text:
        return text
    text = mask_urls("".join(map(_escape_character, text)))
    text = _INLINE_COMMAND.sub(r"\\x23", text)
    command = _LINE_COMMAND.match(text)
    return f"{command[0][:-2]}\\x3a:{text[command.end() :]}" if command else text


def escape_lines(text: str) -> str:
    """Return `text` with its line breaks, and each of its lines escaped."""
    return "\n".join(map(escape, text.split("\n")))


def _escape_character(character: str) -> str:
    if character.isprintable() or unicodedata.category(character) not in _ESCAPED_CATEGORIES:
        return character
    return character.encode("unicode_escape", "surrogatepass").decode("ascii")
