r"""Name the combinations of a matrix in the ids of tests, and recognise the ids that earlier versions gave them.

pytest's `-k` accepts letters, digits and `_ : + - . [ ] \ /` in a name, so an id has no other characters. Until
version 0.1 an axis was written as `S=128`, which `-k` refuses.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping
from typing import Any

_REFUSED = re.compile(r"[^\w:+.\[\]\\/-]+")
"""The characters that an expression of `-k` cannot contain."""

_REFUSED_IN_PATTERN = re.compile(r"[^\w:+.\[\]\\/*?-]+")
_NUMBER = re.compile(r"[\d*?]+(?:\.[\d*?]+)?")
"""A number in an id, or in a pattern of ids with wildcards."""

_AXIS = re.compile(r"([A-Za-z_]\w*?)(\d+(?:\.\d+)?)|([A-Za-z_]\w*):(.+)")

_MOST_AMBIGUOUS = 6
"""With more parts that may have been written in two ways, only the id with all of them rewritten is tried."""


def case_id(case: Mapping[str, Any]) -> str:
    """Return a combination as part of a test's id, such as `fp16-b8-S128`."""
    return "-".join(_axis_id(name, value) for name, value in case.items())


def _axis_id(name: str, value: Any) -> str:
    text = _REFUSED.sub("_", str(getattr(value, "__name__", value)))
    if name == "precision":
        return text
    return f"b{text}" if name == "batch" else _join(name, text)


def _join(name: str, text: str) -> str:
    """Return `S128` for a number, and `cuda_graph:False` if the two would run together."""
    return f"{name}{text}" if _NUMBER.fullmatch(text) and not name[-1].isdigit() else f"{name}:{text}"


def current_node_id(node_id: str) -> str:
    """Return the id that a test has now, for one that an earlier version may have given it, or a pattern of such."""
    start = node_id.rfind("[")
    if start < 0 or "=" not in node_id[start:]:
        return node_id
    parts = [_current_part(part) for part in node_id[start + 1 : -1].split("-")]
    return f"{node_id[: start + 1]}{'-'.join(parts)}{node_id[-1]}"


def _current_part(part: str) -> str:
    name, equals, value = part.partition("=")
    return _join(name, _REFUSED_IN_PATTERN.sub("_", value)) if equals and name.isidentifier() else part


def former_node_ids(node_id: str) -> Iterator[str]:
    """Yield the ids that an earlier version may have given a test.

    A part such as `b8` may be the batch size, which was written in the same way, or a dimension `b`.
    """
    start = node_id.rfind("[")
    if start < 0:
        return
    parts = node_id[start + 1 : -1].split("-")
    choices = [(part, former) if (former := _former_part(part)) else (part,) for part in parts]
    if sum(len(choice) > 1 for choice in choices) > _MOST_AMBIGUOUS:
        choices = [choice[-1:] for choice in choices]
    for combination in itertools.product(*choices):
        former = f"{node_id[: start + 1]}{'-'.join(combination)}{node_id[-1]}"
        if former != node_id:
            yield former


def _former_part(part: str) -> str:
    found = _AXIS.fullmatch(part)
    return "" if found is None else f"{found[1] or found[3]}={found[2] or found[4]}"
