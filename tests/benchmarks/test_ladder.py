"""The page of the pipeline benchmark, from measured rows."""

from __future__ import annotations

import ladder
import pytest
import python_cost

COST = {
    "issue_us": 12.0, "bindings_us": 11.0, "driver_us": 7.5, "ctypes_us": 2.0, "own_us": 4.5, "loop_us": 1.0,
    "count": 2, "calls": [["cudaMemcpyAsync", 6.0], ["cudaGraphLaunch", 5.0]],
}  # fmt: skip


def test_the_cost_of_python_is_separate_from_the_work_of_the_driver() -> None:
    assert python_cost.line(COST) == (
        "4.5 us per inference (2 calls take 12.0 us: the driver 7.5, cuda-python's wrappers 3.5, "
        "the loop of the package 1.0)"
    )


def test_a_call_without_a_counterpart_in_the_driver_is_an_error() -> None:
    with pytest.raises(KeyError, match="len"):
        python_cost.ctypes_calls([(len, ([],))], None, None)


def test_the_page_contains_the_cost_of_python() -> None:
    rows = {"128": {"limit": {}, "crossing": {}}, "1": {"limit": {}, "crossing": {}, "python": COST}}
    page = ladder.page({"time": "2026-11-24", "software": {"device": "H200"}, "rows": rows}, "name")
    assert "| batch 1: the cost of Python per inference | <= 15 us | 4.5 us per inference (2 calls take 12.0 us" in page
    assert "cudaMemcpyAsync 6.0, cudaGraphLaunch 5.0" in page
