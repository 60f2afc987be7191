"""Test the state of the host that is recorded with blocks."""

from __future__ import annotations

import os

import pytest

from pytest_trt.measure import host_state


def test_load_and_processors_are_recorded():
    state = host_state.read()
    assert state["load_1min"] >= 0
    assert state["running"] >= 1
    found = host_state.proof([{"load_1min": 0.5}, {}, {"load_1min": 1.25}])
    assert found["host load"] == "0.50 to 1.25"
    assert found["affinity"] == host_state.format_ranges(os.sched_getaffinity(0))
    assert "host load" not in host_state.proof([])


@pytest.mark.parametrize(("numbers", "text"), [({0, 1, 2, 8}, "0-2 8"), ({3}, "3"), (set(), ""), ({5, 7, 6}, "5-7")])
def test_processor_numbers_are_formatted_as_ranges(numbers, text):
    assert host_state.format_ranges(numbers) == text
