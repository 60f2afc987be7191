"""Test how an engine is slowed down on the host. On a GPU, tests/gpu slows one down."""

from __future__ import annotations

import time

from pytest_trt.pipeline.delay import delayed


def test_a_delayed_call_ends_so_much_later() -> None:
    calls: list[int] = []
    slower = delayed(lambda: calls.append(1), 3.0)
    started = time.perf_counter()
    slower()
    assert time.perf_counter() - started >= 0.003
    assert calls == [1]


def test_without_a_delay_the_call_is_the_same() -> None:
    def call() -> None:
        pass

    assert delayed(call, 0.0) is call
