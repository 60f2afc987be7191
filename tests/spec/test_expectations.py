"""Budgets, tolerances and accuracy bounds, valid and invalid."""

from __future__ import annotations

import datetime

import pytest

from pytest_trt.errors import DeclarationError
from pytest_trt.spec.expectations import Accuracy, Budget, Tolerance


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"limits": {}}, "no limit is given"),
        ({"limits": {"mss": 1.0}}, "'mss' cannot have a limit"),
        ({"limits": {"enqueue_ms": 1.0}}, "'enqueue_ms' cannot have a limit: choose from ms, gpu_ms"),
        ({"limits": {"ms": -1.0}}, "ms is -1: a limit must be above 0"),
        ({"limits": {"ms": float("nan")}}, "ms is nan"),
        ({"limits": {"ms": "10"}}, "must be of type float, not '10'"),
        ({"limits": {"ms": 1}, "device": " "}, "the device is empty"),
    ],
)
def test_invalid_budget_is_rejected(arguments, message):
    with pytest.raises(DeclarationError, match=message):
        Budget(**arguments)


def test_quarantine_needs_a_date_and_a_reason():
    assert Tolerance(enforce=False, until="2027-01-31", reason="driver bug").until == datetime.date(2027, 1, 31)  # type: ignore[arg-type]
    with pytest.raises(DeclarationError, match="enforce=False needs until"):
        Tolerance(enforce=False)
    with pytest.raises(DeclarationError, match="write a date such as"):
        Tolerance(until="soon")  # type: ignore[arg-type]


def test_accuracy_limits_are_checked():
    with pytest.raises(DeclarationError, match="rtol is -1"):
        Accuracy(rtol=-1)
    with pytest.raises(DeclarationError, match="cosine is 2"):
        Accuracy(cosine=2)
    with pytest.raises(DeclarationError, match="top5 is 95: it must be from 0 to 1"):
        Accuracy(top5=95)
    with pytest.raises(DeclarationError, match="only a sample of each output: name another reference"):
        Accuracy(reference="baseline", top1=0.9)
