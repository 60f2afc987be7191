"""Shares, as fractions and as percentages."""

from __future__ import annotations

import pytest

from pytest_trt.core.validation import parse_share
from pytest_trt.errors import DeclarationError


@pytest.mark.parametrize(("written", "share"), [("3%", 0.03), (0.03, 0.03), ("0.03", 0.03), (0, 0.0), ("2.5 %", 0.025)])
def test_share_is_a_fraction_or_a_percentage(written, share):
    assert parse_share(written, "x") == pytest.approx(share)


def test_share_above_one_suggests_a_percentage():
    with pytest.raises(DeclarationError, match="did you mean '5%'"):
        parse_share(5, "max_slowdown")
    with pytest.raises(DeclarationError, match=r"write a share such as .3%. or 0\.03"):
        parse_share("three", "max_slowdown")
    with pytest.raises(
        DeclarationError, match="must be from 0 to below 1, or below '100%'"
    ):  # A percentage above 100 gets no suggestion.
        parse_share("500%", "max_slowdown")
