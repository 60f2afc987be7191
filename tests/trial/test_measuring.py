"""When an engine is measured again, and how: from verdicts and measurements that are made up."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import pytest
from samples.records import H200

from pytest_trt.core.records import Status, Verdict
from pytest_trt.measure.sampler import Limits
from pytest_trt.measure.stopping import FixedTime
from pytest_trt.spec.settings import Settings
from pytest_trt.trial import measuring
from pytest_trt.trial.bench import Bench
from pytest_trt.trial.measuring import MeasuringDevice, measure_and_confirm


def looks_and_verdict(*statuses: Status, basis: Any = "baseline") -> tuple[int, Verdict]:
    """Return how many measurements were taken, and the verdict, if they are judged so in turn."""
    taken: list[bool] = []

    def measure(failing: Sequence[Verdict]) -> Any:
        assert [verdict.status for verdict in failing] == list(statuses[: len(failing)])
        taken.append(bool(failing))
        return len(failing)

    def judge(look: Any) -> tuple[Verdict, ...]:
        return (Verdict(statuses[look], basis, "ms", f"look {look}"),)

    (verdict,) = measure_and_confirm(measure, judge).verdicts
    assert taken == [False, True][: len(taken)]
    return len(taken), verdict


def test_a_verdict_that_passes_is_believed_at_once() -> None:
    assert looks_and_verdict("ok")[0] == 1


@pytest.mark.parametrize(("basis", "failing"), [("baseline", "regressed"), ("budget", "over_budget")])
def test_a_failing_verdict_is_measured_again(basis: str, failing: Status) -> None:
    taken, verdict = looks_and_verdict(failing, failing, basis=basis)
    assert (taken, verdict.status, verdict.looks) == (2, failing, 2)
    taken, verdict = looks_and_verdict(failing, "ok", basis=basis)
    assert (taken, verdict.status) == (2, "inconclusive")


@pytest.mark.parametrize(("basis", "failing"), [("baseline", "regressed"), ("budget", "over_budget")])
def test_the_first_verdict_stands_if_the_second_measurement_cannot_decide(basis: str, failing: Status) -> None:
    taken, verdict = looks_and_verdict(failing, "inconclusive", basis=basis)
    assert (taken, verdict.status, verdict.looks) == (2, failing, 1)


@pytest.mark.parametrize(("confirming", "seconds"), [(False, 7.0), (True, 14.0)])
def test_a_confirming_measurement_may_last_twice_as_long(
    confirming: bool, seconds: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It opens the probes in the opposite order."""
    given: dict[str, Any] = {}

    def measure_run(sides: Any, rule: Any, limits: Limits, **arguments: Any) -> Any:
        given.update(limits=limits, reverse_opening=arguments["reverse_opening"])

    monkeypatch.setattr(measuring, "measure_run", measure_run)
    settings = Settings(max_time_s=7.0, no_cache=True)
    with Bench(settings, lambda text: None) as bench:
        device = MeasuringDevice(bench, dataclasses.replace(H200, kind="cpu", device_uuid=None))
        device.measure([], FixedTime(1), batch=1, spread=0.0, confirming=confirming)
    assert given["limits"].max_time_s == seconds
    assert given["reverse_opening"] is confirming
