"""Whether a budget's `where` ever holds: a limit that nothing is held to leaves a gate open."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from pytest_trt.core.scalars import short_repr

UNKNOWN: Any = object()
"""The value of a parameter that another run may give: by a fixture, or by a conftest that asks the command line."""


def reason_unmatched(where: Mapping[str, Any], cases: Collection[Mapping[str, Any]]) -> str:
    """Why `where` holds for none of `cases`, each the values of a test's parameters; empty where it may hold for one.
    A name that no case has is not told here."""
    if not where or not cases:
        return ""
    for name, value in where.items():
        known = [case[name] for case in cases if name in case]
        if not known:
            return ""
        if not any(_is(one, value) for one in known):
            return f"where says {name}={value!r}, but {name} is {' or '.join(dict.fromkeys(map(short_repr, known)))}"
    if any(all(name in case and _is(case[name], value) for name, value in where.items()) for case in cases):
        return ""
    said = " and ".join(f"{name}={value!r}" for name, value in where.items())
    return f"where says {said}, but no case has all of that at once"


def _is(seen: Any, wanted: Any) -> bool:
    return seen is UNKNOWN or (isinstance(seen, (str, int, float, bool)) and bool(seen == wanted))
