"""Test how a self-test is shown."""

from __future__ import annotations

import dataclasses

import pytest
from samples.reports import HEADER, RUN

from pytest_trt.core.selftest_record import SelftestRecord, SlowdownCount
from pytest_trt.report import html, markdown, selftest, terminal


def count(share: float, caught: int, *, inverted: int = 0, measured: float | None = None) -> SlowdownCount:
    return SlowdownCount(
        share=share, measured=measured, slower=3, caught=caught, faster=3, inverted=inverted, inconclusive=3 - caught
    )


RECORD = SelftestRecord(
    device="NVIDIA H200",
    model="resnet18.onnx",
    time="2026-11-30T12:00:00+00:00",
    tolerance=0.05,
    max_time_s=10.0,
    same=6,
    false_alarms=0,
    same_inconclusive=1,
    slowdowns=(count(0.01, 0, measured=0.0123), count(0.1, 2), count(1.0, 3)),
    tests=20,
    unable=tuple((f"test_{n}", "no budget and no baseline") for n in range(12)),
)


def test_a_selftest_in_one_line() -> None:
    assert selftest.headline(RECORD) == (
        "self-test of 2026-11-30 (resnet18.onnx): catches x2; does not catch +1 %, +10 % (2 of 3); "
        "no false of 6 alike; 12 tests cannot fail"
    )
    bad = dataclasses.replace(RECORD, false_alarms=2, slowdowns=(count(1.0, 3, inverted=1),), unable=())
    assert selftest.headline(bad).endswith(": catches x2; 2 false of 6 alike; 1 inverted")


def test_a_selftest_in_full() -> None:
    shown, right = list(selftest.lines(RECORD)), "0 of 6 in the wrong direction"
    assert shown[:4] == [
        "resnet18.onnx on NVIDIA H200, with a tolerance of 5 %, at most 10 s a measurement:",
        "  against itself: 0 of 6 false alarms, 1 inconclusive",
        f"  +1 %: caught in 0 of 3 (within the tolerance), {right}, 3 inconclusive, measured +1.2 %",
        f"  +10 %: caught in 2 of 3, {right}, 1 inconclusive",
    ]
    assert shown[5:7] == [
        "12 of 20 tests of the last run cannot fail",
        "  test_0: no budget and no baseline",
    ]
    assert shown[-1] == "  and 2 more"
    alone = list(selftest.lines(dataclasses.replace(RECORD, tests=0, unable=())))
    assert alone[-1].startswith("there is no last run: run pytest")


@pytest.mark.parametrize("form", ["terminal", "markdown", "html"])
def test_the_header_of_a_run_shows_the_selftest(form: str) -> None:
    header = dataclasses.replace(HEADER, selftest="self-test of <today>")
    render = {
        "terminal": lambda: terminal.render(RUN, header, colour=False),
        "markdown": lambda: markdown.render(RUN, header),
        "html": lambda: html.render(RUN, header),
    }[form]
    expected = {"terminal": "self-test of <today>", "markdown": "self-test of \\<today\\>"}
    shown = render()
    line = expected.get(form, "self-test of &lt;today&gt;")
    assert line in shown
    assert shown.index(line) < shown.index("test_resnet18")
