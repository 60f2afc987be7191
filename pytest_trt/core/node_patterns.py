"""Patterns of node ids. Brackets stand for themselves: every parametrised test's id has them."""

from __future__ import annotations

import functools
import re


def matches(pattern: str, node_id: str) -> bool:
    """Whether `node_id` is what `pattern` says as a whole: `*` is any text, `?` any character."""
    return _compiled(pattern).fullmatch(node_id) is not None


@functools.lru_cache(maxsize=1024)
def _compiled(pattern: str) -> re.Pattern[str]:
    parts = {"*": ".*", "?": "."}
    return re.compile("".join(parts.get(character, re.escape(character)) for character in pattern), re.DOTALL)
