"""Test how a test's budgets are judged from all its samples."""

from __future__ import annotations

import math

import pytest
from samples.records import H200, measurement

from pytest_trt.core import noise_levels
from pytest_trt.core.records import Block, Estimate, Samples
from pytest_trt.spec.declaration import Declaration
from pytest_trt.spec.engine_spec import EngineSpec
from pytest_trt.spec.expectations import Budget
from pytest_trt.trial.budget_verdicts import budget_verdicts

LATENCY = Samples(tuple(Block({"ms": (1.0 + n % 3 / 1000,), "gpu_ms": (0.9,)}, 0.02) for n in range(48)))


def drifting(figure: str) -> Samples:
    """Return values that begin at 1.03 and fade to 1, where the last ones have not arrived yet."""
    levels = [1 + 0.03 * math.exp(-n / 50) for n in range(24)]
    return Samples(tuple(Block({figure: (level * (1 + n % 3 / 1e5),)}, 0.02) for n, level in enumerate(levels)))


def status(figure: str, limit: float, *samples: Samples) -> str:
    estimate = noise_levels.estimate(figure, [drifting(figure)])
    declaration = Declaration(spec=EngineSpec(path="m.onnx"), budgets=(Budget(limits={figure: limit}),))
    (verdict,) = budget_verdicts(declaration, H200, {figure: estimate}, samples)
    return verdict.status


@pytest.mark.parametrize("figure", ["throughput", "tokens_s"])
def test_a_pass_after_the_samples_is_judged_with_its_own_drift(figure: str) -> None:
    """The rule of the pass goes on while it drifts. At the time limit, the verdict must not forget that."""
    assert status(figure, 1.002, LATENCY) == "ok"
    assert status(figure, 1.002, LATENCY, drifting(figure)) == "inconclusive"
    assert status(figure, 1.5, LATENCY, drifting(figure)) == "over_budget"
    assert status(figure, 0.5, LATENCY, drifting(figure)) == "ok"


def test_a_figure_without_samples_is_judged_beside_those_of_the_latency() -> None:
    declaration = Declaration(
        spec=EngineSpec(path="m.onnx"), budgets=(Budget(limits={"p99_ms": 2.0, "engine_mb": 3.0}),)
    )
    figures = {**measurement().figures, "p99_ms": Estimate(1.0, 0.9, 1.1, 48), "engine_mb": Estimate.exact(2.0)}
    percentile, size = budget_verdicts(declaration, H200, figures, (LATENCY, drifting("throughput")))
    assert "needs 3.8 s more" in percentile.text
    assert size.status == "ok"
    assert budget_verdicts(declaration, H200, figures)[0].status == "ok"
