"""Find out whether the `where` of a budget can match any test. A budget that matches none would never be checked."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from pytest_trt.core.scalars import short_repr

UNKNOWN: Any = object()
"""The value of a parameter that may differ in another run, because a fixture or a hook chooses it."""


def reason_unmatched(where: Mapping[str, Any], cases: Collection[Mapping[str, Any]]) -> str:
    """Return why `where` matches none of `cases`, or an empty string if it may match one.

    A parameter that no case has is not reported here.

    Args:
        where: The values that a budget requires, by the name of the parameter.
        cases: The values of a test's parameters, one mapping for each case of the test.
    """
    if not where or not cases:
        return ""
    for name, required in where.items():
        values = [case[name] for case in cases if name in case]
        if not values:
            return ""
        if not any(_may_equal(value, required) for value in values):
            found = " or ".join(dict.fromkeys(map(short_repr, values)))
            return f"where requires {name}={required!r}, but {name} is {found}"
    if any(all(name in case and _may_equal(case[name], value) for name, value in where.items()) for case in cases):
        return ""
    required = " and ".join(f"{name}={value!r}" for name, value in where.items())
    return f"where requires {required}, but no case has this combination"


def _may_equal(value: Any, required: Any) -> bool:
    return value is UNKNOWN or (isinstance(value, (str, int, float, bool)) and bool(value == required))
