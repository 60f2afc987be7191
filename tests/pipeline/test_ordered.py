"""Test ordered work on threads: order, bounds, exceptions and clean-up."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from pytest_trt.pipeline.ordered import map_in_order


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_results_keep_the_order_of_items(threads: int) -> None:
    def work(item: int) -> int:
        time.sleep(0.001 * (item % 3))
        return item * 2

    assert list(map_in_order(range(30), work, threads)) == [2 * item for item in range(30)]


def test_error_of_work_is_raised_at_its_item() -> None:
    def work(item: int) -> int:
        return 10 // (3 - item)

    results = map_in_order(range(10), work, 2)
    assert [next(results) for _ in range(3)] == [3, 5, 10]
    with pytest.raises(ZeroDivisionError):
        next(results)


def test_error_of_items_is_raised_after_earlier_results() -> None:
    def items() -> Iterator[int]:
        yield from (1, 2, 3)
        raise OSError("gone")

    got: list[int] = []
    with pytest.raises(OSError, match="gone"):
        got.extend(map_in_order(items(), lambda item: item, 2))
    assert got == [1, 2, 3]


def test_no_more_items_are_fetched_than_the_threads_need() -> None:
    fetched: list[int] = []

    def items() -> Iterator[int]:
        for item in range(1000):
            fetched.append(item)
            yield item

    results = map_in_order(items(), lambda item: item, 2)
    assert next(results) == 0
    assert len(fetched) <= 2 * 2 + 1
    results.close()  # type: ignore[attr-defined]


def test_no_thread_survives_a_break() -> None:
    before = threading.active_count()
    for result in map_in_order(range(100), lambda item: item, 4):
        if result == 3:
            break
    assert threading.active_count() == before


@pytest.mark.parametrize("end", ["error of work", "break"])
def test_items_are_closed_in_every_case(end: str) -> None:
    closed: list[str] = []

    def items() -> Iterator[int]:
        try:
            yield from range(100)
        finally:
            closed.append(end)

    def work(item: int) -> int:
        if end == "error of work" and item == 3:
            raise ValueError("three")
        return item

    results = map_in_order(items(), work, 2)
    if end == "error of work":
        with pytest.raises(ValueError, match="three") as caught:
            list(results)
        assert caught.value.__traceback__ is not None, "the traceback keeps its frames alive"
    else:
        assert next(results) == 0
        results.close()  # type: ignore[attr-defined]
    assert closed == [end]
