"""The pipeline's ladder: what its page says of the rows that were measured."""

from __future__ import annotations

import ladder
import pytest
import python_cost

COST = {
    "issue_us": 12.0, "bindings_us": 11.0, "driver_us": 7.5, "ctypes_us": 2.0, "own_us": 4.5, "loop_us": 1.0,
    "count": 2, "calls": [["cudaMemcpyAsync", 6.0], ["cudaGraphLaunch", 5.0]],
}  # fmt: skip


def test_python_cost_is_told_apart_from_the_drivers_work() -> None:
    assert python_cost.line(COST) == (
        "4.5 us an inference (2 calls: 12.0 us, of which the driver's own work is 7.5, cuda-python's wrappers 3.5, "
        "the package's loop 1.0)"
    )


def test_a_call_that_the_driver_has_no_counterpart_of_is_not_left_out() -> None:
    with pytest.raises(KeyError, match="len"):
        python_cost.from_c([(len, ([],))], None, None)


def test_a_page_says_what_python_costs() -> None:
    rows = {"128": {"limit": {}, "crossing": {}}, "1": {"limit": {}, "crossing": {}, "python": COST}}
    page = ladder.page({"time": "2026-11-24", "software": {"device": "H200"}, "rows": rows}, "name")
    assert "| batch 1: Python's own cost an inference | <= 15 us | 4.5 us an inference (2 calls: 12.0 us" in page
    assert "cudaMemcpyAsync 6.0, cudaGraphLaunch 5.0" in page
