"""Match node ids against patterns with wildcards.

Square brackets in a pattern stand for themselves, because the id of every parametrised test contains them.
"""

from __future__ import annotations

import functools
import re


def matches(pattern: str, node_id: str) -> bool:
    """Return whether `pattern` matches the whole of `node_id`: `*` matches any text, `?` any single character.

    The parts between the stars are searched for one after another, each at its first position after the part before.
    No choice is ever revised, so that a pattern such as `*a*a*a*b` takes no longer than the text is long. A regular
    expression with `.*` for each star would try every combination of positions.
    """
    first, *others = pattern.split("*")
    if not others:
        return len(first) == len(node_id) and _find(first, node_id, 0, len(node_id)) == 0
    last = others.pop()
    start, end = len(first), len(node_id) - len(last)
    if start > end or _find(first, node_id, 0, start) != 0 or _find(last, node_id, end, len(node_id)) != end:
        return False
    for part in filter(None, others):
        start = _find(part, node_id, start, end)
        if start < 0:
            return False
        start += len(part)
    return True


def _find(part: str, text: str, start: int, end: int) -> int:
    """Return the first position of `part`, which may contain `?`, in `text[start:end]`. Return -1 if there is none."""
    if "?" not in part:
        return text.find(part, start, end)
    if len(part) > end - start:
        return -1
    found = _compile(part).search(text, start, end)
    return found.start() if found else -1


@functools.lru_cache(maxsize=1024)
def _compile(part: str) -> re.Pattern[str]:
    """Return a regular expression of one fixed length, which therefore never backtracks."""
    return re.compile("".join("." if character == "?" else re.escape(character) for character in part), re.DOTALL)
