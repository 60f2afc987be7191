"""Test the comparison of two stored runs: a test that was not compared never passes."""

from __future__ import annotations

import dataclasses

from samples.records import H200, TEST, measurement

from pytest_trt.core.records import Environment, Estimate, Result, Verdict
from pytest_trt.judge.baselines.baseline import Baseline, baseline_of
from pytest_trt.judge.regression.offline import RUN_SPREAD, Key, Tolerances, compare_runs, devices

KEY = ("nvidia-h200", TEST)


def old(ms: float = 0.272) -> dict[Key, Baseline]:
    return {KEY: baseline_of(measurement(ms))}


def new(ms: float = 0.272, *verdicts: Verdict) -> dict[Key, Result]:
    return {KEY: Result(TEST, verdicts, measurement(ms, day=2))}


def statuses(old: dict[Key, Baseline], new: dict[Key, Result], **tolerances: object) -> list[str]:
    return [result.status for result in compare_runs(old, new, Tolerances(**tolerances))]  # type: ignore[arg-type]


def test_unchanged_slower_and_faster() -> None:
    assert statuses(old(), new()) == ["ok"]
    assert statuses(old(), new(0.306)) == ["regressed"]
    assert statuses(old(), new(0.2)) == ["improved"]


def test_tolerances() -> None:
    assert statuses(old(), new(0.306), max_slowdown=0.2) == ["ok"]
    assert statuses(old(), new(0.274), max_slowdown=0.01) == ["inconclusive"]


def test_memory_has_its_own_tolerance() -> None:
    grown = new()
    figures = {**measurement().figures, "memory_mb": dataclasses.replace(measurement().figures["memory_mb"], value=700)}
    grown[KEY] = Result(TEST, (), measurement(figures=figures, day=2))
    assert statuses(old(), grown) == ["regressed"]
    assert statuses(old(), grown, max_memory_growth=0.2) == ["ok"]


def test_regression_describes_what_changed() -> None:
    (result,) = compare_runs(old(), new(0.306), Tolerances())
    worst = next(verdict for verdict in result.verdicts if verdict.status == "regressed")
    assert any("changed since the baseline" in line for line in worst.details)
    assert result.baseline_time == "2026-07-01T12:00:00+00:00"


def test_unmeasured_test_is_inconclusive() -> None:
    assert statuses(old(), {}) == ["inconclusive"]
    assert statuses(old(), {KEY: Result(TEST, ())}) == ["inconclusive"]
    built = Verdict("ok", "run", "", "engine in the cache")  # the result of --trt-build-only
    assert statuses(old(), {KEY: Result(TEST, (built,))}) == ["inconclusive"]


def test_test_only_in_the_newer_run_is_new() -> None:
    assert statuses({}, new()) == ["new"]


def test_failures_of_the_newer_run_stay_failures() -> None:
    assert statuses(old(), new(0.272, Verdict("error", "run", "", "lost"))) == ["error"]
    assert statuses(old(), new(0.272, Verdict("invalid", "run", "", "busy"))) == ["invalid"]
    assert statuses(old(), {KEY: Result(TEST, (Verdict("error", "run", "", "lost"),))}) == ["error"]


def test_comparison_of_the_newer_run_is_ignored() -> None:
    assert statuses(old(), new(0.272, Verdict("regressed", "baseline", "ms", "slower than another"))) == ["ok"]


def test_missing_figures_are_inconclusive() -> None:
    assert statuses(old(), new(), figures=("host_mb",)) == ["inconclusive"]


def test_runs_on_a_cpu_have_a_larger_spread() -> None:
    cpu = Environment("Xeon", "cpu", "onnxruntime", "1.20")
    before = {KEY: baseline_of(measurement(environment=cpu))}
    after = {KEY: Result(TEST, (), measurement(0.285, environment=cpu))}
    assert statuses(before, after) == ["inconclusive"]
    assert H200.kind == "gpu"


def test_every_default_gate_is_compared() -> None:
    (result,) = compare_runs(old(), new(), Tolerances())
    assert [verdict.figure for verdict in result.verdicts] == ["ms", "throughput", "memory_mb", "engine_mb"]


def changed(figure: str, factor: float) -> dict[Key, Result]:
    before = measurement().figures
    value = before[figure].value * factor
    return {KEY: Result(TEST, (), measurement(figures={**before, figure: Estimate.exact(value)}, day=2))}


def test_a_larger_engine_regresses_and_a_smaller_one_is_improved() -> None:
    assert statuses(old(), changed("engine_mb", 1.11)) == ["regressed"]
    assert statuses(old(), changed("engine_mb", 0.5)) == ["improved"]
    assert statuses(old(), changed("engine_mb", 1.11), requested={"engine_mb": None}) == ["ok"]
    assert statuses(old(), changed("engine_mb", 1.11), requested={"engine_mb": 0.2}) == ["ok"]


def test_a_requested_figure_is_compared_or_inconclusive() -> None:
    assert statuses(old(), changed("build_s", 2.0)) == ["ok"]
    assert statuses(old(), changed("build_s", 2.0), requested={"build_s": 0.5}) == ["regressed"]
    assert statuses(old(), new(), requested={"host_mb": 0.1}) == ["inconclusive"]


def test_throughput_on_a_cpu_is_compared_only_on_request() -> None:
    cpu = Environment("Xeon", "cpu", "onnxruntime", "1.20")
    figures = {name: measurement().figures[name] for name in ("ms", "throughput")}
    half = {**figures, "throughput": Estimate(1000.0, 990.0, 1010.0)}
    before = {KEY: baseline_of(measurement(environment=cpu, figures=figures))}
    after = {KEY: Result(TEST, (), measurement(environment=cpu, figures=half))}
    judged = [compare_runs(before, after, Tolerances(requested=r))[0].verdicts for r in ({}, {"throughput": 0.2})]
    assert [[verdict.figure for verdict in verdicts] for verdicts in judged] == [["ms"], ["ms", "throughput"]]
    assert judged[1][1].status == "regressed"


def test_runs_of_either_kind_have_their_spread_and_tolerances_their_defaults() -> None:
    assert RUN_SPREAD == {"gpu": 0.01, "cpu": 0.1}
    gates = {gate.figure: gate.tolerance for gate in Tolerances().gates()}
    assert (gates["ms"], gates["memory_mb"]) == (0.05, 0.05)


def test_named_figures_have_the_tolerance_of_their_unit() -> None:
    named = Tolerances(
        max_slowdown=0.03, max_memory_growth=0.07, requested={"p99_ms": 0.5}, figures=("host_mb", "gpu_ms", "p99_ms")
    ).gates()
    assert {gate.figure: gate.tolerance for gate in named} == {"host_mb": 0.07, "gpu_ms": 0.03, "p99_ms": 0.5}


def test_a_figure_of_one_run_only_is_not_compared() -> None:
    more = {**measurement().figures, "host_mb": Estimate.exact(500.0)}
    before = {KEY: baseline_of(measurement(figures=more))}
    after = {KEY: Result(TEST, (), measurement(figures=more, day=2))}
    for pair in ((before, new()), (old(), after)):
        (result,) = compare_runs(*pair, Tolerances())
        assert "host_mb" not in [verdict.figure for verdict in result.verdicts]


def test_a_named_figure_that_is_better_is_improved() -> None:
    (default,) = compare_runs(old(), changed("throughput", 2.0), Tolerances())
    (named,) = compare_runs(old(), changed("throughput", 2.0), Tolerances(figures=("throughput",)))
    assert {verdict.figure: verdict.status for verdict in default.verdicts}["throughput"] == "ok"
    assert [verdict.status for verdict in named.verdicts] == ["improved"]


def test_a_lost_test_names_the_day_and_devices_are_named_once() -> None:
    (lost,) = compare_runs(old(), {}, Tolerances())
    assert "the older run measured it on 2026-07-01, but" in lost.verdicts[0].text
    assert devices([("b", "x"), ("a", "x"), ("a", "y")]) == "a, b"
    assert devices([]) == "none"
