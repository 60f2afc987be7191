"""Pair names by patterns in which `*` stands for the same text on both sides: `{"present_*": "past_*"}`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping


def pattern_problems(patterns: Mapping[str, str]) -> Iterator[str]:
    """Yield what is wrong with the patterns of `state`, in words."""
    for output, name in patterns.items():
        if not (output.strip() and name.strip()):
            yield f"state pairs {output!r} with {name!r}: name an output and an input"
        elif output.count("*") != name.count("*"):
            yield f"state pairs {output!r} with {name!r}: both must have the same number of '*'"


def counterparts(pattern: str, counterpart: str, names: Iterable[str]) -> dict[str, str]:
    """Return the name that `counterpart` makes of each of `names` that `pattern` matches.

    Args:
        pattern: A name, in which each `*` stands for any text.
        counterpart: A name with as many `*`, which stand for the same texts.
        names: The names to match.
    """
    regex = re.compile("(.*?)".join(map(re.escape, pattern.split("*"))), re.DOTALL)
    found: dict[str, str] = {}
    for name in names:
        if match := regex.fullmatch(name):
            first, *others = counterpart.split("*")
            found[name] = first + "".join(t + part for t, part in zip(match.groups(), others, strict=True))
    return found
