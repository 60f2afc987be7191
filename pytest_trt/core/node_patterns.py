"""Match node ids against patterns with wildcards.

Square brackets in a pattern stand for themselves, because the id of every parametrised test contains them.
"""

from __future__ import annotations

import functools
import re


def matches(pattern: str, node_id: str) -> bool:
    """Return whether `pattern` matches the whole of `node_id`: `*` matches any text, `?` any single character."""
    return _compile(pattern).fullmatch(node_id) is not None


@functools.lru_cache(maxsize=1024)
def _compile(pattern: str) -> re.Pattern[str]:
    parts = {"*": ".*", "?": "."}
    return re.compile("".join(parts.get(character, re.escape(character)) for character in pattern), re.DOTALL)
