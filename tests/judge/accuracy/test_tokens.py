"""Test the verdict of generated tokens."""

from __future__ import annotations

import numpy as np
import pytest

from pytest_trt.core.records import Verdict
from pytest_trt.judge.accuracy.allowed_error import AccuracyLimits
from pytest_trt.judge.accuracy.tokens import judge_tokens

LIMITS = AccuracyLimits(rtol=0.0, atol=0.1, cosine=None, atol_scaled=False)
EXPECTED = np.array([[[0.0, 3.0, 1.0]], [[0.0, 1.0, 1.15]], [[2.0, 0.0, 0.0]]])


def verdict(*changes: tuple[int, int, float], limits: AccuracyLimits = LIMITS) -> Verdict:
    """Return the verdict on logits that differ from the reference: (step, token, value)."""
    logits = EXPECTED.copy()
    for step, token, value in changes:
        logits[step, 0, token] = value
    return judge_tokens(logits.argmax(-1).T, logits, EXPECTED.argmax(-1).T, EXPECTED, limits, "onnxruntime")


def test_equal_tokens_are_ok_whatever_the_logits() -> None:
    assert (verdict((0, 1, 9.0)).status, verdict().text) == ("ok", "all 3 tokens are those of onnxruntime")


def test_the_first_token_that_differs_is_named_with_its_logits() -> None:
    found = verdict((0, 2, 3.5), (2, 1, 5.0))
    assert found.status == "inaccurate"
    assert found.text == "token 1 of 3 is 2, but onnxruntime has 1: they are 2 apart there, 0.2 allowed"
    assert found.details == ("logits there: 2 has 3.5 (onnxruntime: 1), 1 has 3 (onnxruntime: 3)",)


@pytest.mark.parametrize(("atol", "status"), [(0.07, "inaccurate"), (0.08, "ok")])
def test_logits_closer_than_twice_the_allowed_error_may_be_exchanged(atol: float, status: str) -> None:
    limits = AccuracyLimits(rtol=0.0, atol=atol, cosine=None, atol_scaled=False)
    found = verdict((1, 1, 1.2), limits=limits)
    assert found.status == status
    if status == "ok":
        assert found.text.startswith("the first 1 tokens are those of onnxruntime; token 2 of 3 is 1 instead of 2")


def test_logits_at_exactly_twice_the_allowed_error_may_be_exchanged() -> None:
    """The reference's logits are 0.25 apart."""
    reference = np.array([[[0.0, 1.0, 1.25], [0.0, 3.0, 1.0]]])
    ours = reference.copy()
    ours[0, 0, 1] = 2.0
    tokens, expected = ours.argmax(-1).T, reference.argmax(-1).T
    limits = AccuracyLimits(rtol=0.0, atol=0.125, cosine=None, atol_scaled=False)
    found = judge_tokens(tokens, ours, expected, reference, limits, "x")
    assert (found.status, "token 1 of 1 of text 0" in found.text) == ("ok", True)
    assert "they are 0.25 apart, and 0.25 is within the allowed error" in found.text


def test_the_allowed_error_is_a_share_of_the_logits() -> None:
    rms = float(np.sqrt((EXPECTED[1] ** 2).mean()))
    for share, status in ((0.074 / rms, "inaccurate"), (0.076 / rms, "ok")):
        assert verdict((1, 1, 1.2), limits=AccuracyLimits(0.0, share, None)).status == status
    for share, status in ((0.074 / 1.15, "inaccurate"), (0.076 / 1.15, "ok")):
        assert verdict((1, 1, 1.2), limits=AccuracyLimits(share, 0.0, None)).status == status


def test_the_text_of_a_batch_is_named() -> None:
    logits = np.zeros((2, 2, 3))
    logits[..., 1] = 1
    ours = logits.copy()
    ours[1, 1] = [5, 0, 0]
    found = judge_tokens(ours.argmax(-1).T, ours, logits.argmax(-1).T, logits, LIMITS, "onnxruntime")
    assert found.text.startswith("token 2 of 2 of text 1 is 0, but onnxruntime has 1")
