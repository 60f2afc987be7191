"""Test the figures of a generation, on generations of known times."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import numpy as np
import pytest

from pytest_trt.core import stats
from pytest_trt.engine.decoder import Roles
from pytest_trt.judge.budgets import LimitRule
from pytest_trt.measure.engine_probe import EngineProbe, GenerationInputs
from pytest_trt.measure.generation import MOST_STEPS, WIDEST, measure_generation
from pytest_trt.measure.probe.generations import GenerationJob
from pytest_trt.pipeline.generation import Generated, Phase

PHASE = Phase(Roles("ids", (), (), (), "logits"), {}, {}, 4)
INPUTS = GenerationInputs(GenerationJob(PHASE, PHASE), {"ids": np.zeros((2, 6), np.int64)})


class KnownGenerations:
    """Stands for a probe: each generation is as slow as the one before, times a factor."""

    def __init__(
        self, times: Iterator[float], ttft_ms: float = 10.0, step_ms: tuple[float, ...] = (1, 2, 3, 4)
    ) -> None:
        self._times, self._ttft_ms, self._step_ms = times, ttft_ms, step_ms
        self.kept: list[bool] = []

    def generate(self, inputs: GenerationInputs, *, keep_logits: bool = False) -> Generated:
        self.kept.append(keep_logits)
        factor = next(self._times)
        steps = tuple(factor * ms for ms in self._step_ms)
        return Generated(np.zeros((2, 1 + len(steps))), factor * self._ttft_ms, steps, 5_000_000)


def ones(first: float = 50.0) -> Iterator[float]:
    yield first  # the first generation is not counted
    while True:
        yield 1.0


def measured(probe: KnownGenerations, **options: Any) -> Any:
    defaults: dict[str, Any] = {"spread": 0.0, "rule": None, "max_time_s": 10.0, "keep_example": False}
    return measure_generation(cast(EngineProbe, probe), INPUTS, **{**defaults, **options})


def test_the_figures_are_those_of_all_generations_but_the_first() -> None:
    probe = KnownGenerations(ones())
    found = measured(probe)
    values = {name: estimate.value for name, estimate in found.figures.items()}
    assert values == pytest.approx(
        {"ttft_ms": 10, "itl_ms": 2.5, "itl_p99_ms": 4, "tokens_s": 2 * 5 / 20 * 1000, "kv_mb": 5.0}
    )
    assert found.growth == "1 ms from 6 tokens on, 2 ms from 7 tokens on, 3 ms from 8 tokens on, 4 ms from 9 tokens on"
    assert found.step_ms == {"6": 1, "7": 2, "8": 3, "9": 4}
    assert len(probe.kept) == 1 + stats.LOOKS[0]
    assert found.example is None


def test_a_report_keeps_some_of_many_steps() -> None:
    found = measured(KnownGenerations(ones(), step_ms=tuple(range(1, 1001))))
    assert len(found.step_ms) == MOST_STEPS
    assert list(found.step_ms.items())[:2] == [("6", 1), ("21", 16)]


def test_the_first_generation_is_the_example() -> None:
    probe = KnownGenerations(ones())
    assert measured(probe, keep_example=True).example.ttft_ms == 500
    assert probe.kept[:3] == [True, False, False]


def test_generations_end_after_the_longest_time() -> None:
    found = measured(KnownGenerations(ones()), max_time_s=0.03)
    assert found.figures["ttft_ms"].samples == 2
    assert found.figures["ttft_ms"].needs_s > 0


def test_a_budget_that_scatter_leaves_open_prolongs_it() -> None:
    def scattered() -> Iterator[float]:
        for number in range(10**6):
            yield 1.0 + 0.3 * (number % 7 - 3) / 3

    decided, undecided = (
        measured(KnownGenerations(scattered()), rule=LimitRule({"itl_ms": limit}), max_time_s=2.0).figures["itl_ms"]
        for limit in (25.0, 2.51)
    )
    assert stats.LOOKS[0] <= decided.samples < undecided.samples


def test_an_interval_stays_a_number_however_much_generations_scatter() -> None:
    found = measured(KnownGenerations(iter([1.0, *[10.0 ** (9 * (number % 2)) for number in range(100)]])))
    for figure in ("ttft_ms", "itl_ms", "itl_p99_ms", "tokens_s"):
        estimate = found.figures[figure]
        assert estimate.low == pytest.approx(estimate.value / WIDEST)
        assert estimate.high == pytest.approx(estimate.value * WIDEST)


def test_a_single_token_has_no_time_between_tokens() -> None:
    found = measured(KnownGenerations(ones(), step_ms=()))
    assert sorted(found.figures) == ["kv_mb", "tokens_s", "ttft_ms"]
    assert found.growth == ""
