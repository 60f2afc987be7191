"""Whether the `where` of a budget may match a test."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_trt.spec.budget_where import UNKNOWN, reason_unmatched

CASES = [{"batch": 1, "kind": "a"}, {"batch": 8, "kind": "b"}, {"size": object()}]


@pytest.mark.parametrize("where", [{}, {"batch": 8}, {"batch": 8, "kind": "b"}, {"unknown": 3}])
def test_where_that_may_match_has_no_reason(where: dict[str, Any]) -> None:
    assert reason_unmatched(where, CASES) == ""


@pytest.mark.parametrize(
    ("where", "why"),
    [
        ({"batch": "8"}, "where requires batch='8', but batch is 1 or 8"),
        ({"batch": 1, "kind": "b"}, "where requires batch=1 and kind='b', but no case has this combination"),
        ({"size": 1}, "where requires size=1, but size is <object*"),
    ],
)
def test_where_that_never_matches_has_a_reason(where: dict[str, Any], why: str) -> None:
    assert reason_unmatched(where, CASES).startswith(why.rstrip("*"))


def test_unknown_value_may_match() -> None:
    assert reason_unmatched({"batch": 16, "kind": "a"}, [{"batch": UNKNOWN, "kind": "a"}]) == ""
    assert reason_unmatched({"batch": 16, "kind": "b"}, [{"batch": UNKNOWN, "kind": "a"}]) != ""
    assert reason_unmatched({"batch": 16}, []) == ""
