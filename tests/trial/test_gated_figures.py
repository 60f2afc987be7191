"""Test the verdict of each figure against the baseline, on measurements with known figures."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Mapping
from typing import Any

import pytest
from samples.records import H200, blocks, measurement

from pytest_trt.core import noise_levels
from pytest_trt.core.records import Estimate, Samples, Verdict
from pytest_trt.judge.baselines.baseline import Baseline, baseline_of
from pytest_trt.judge.regression.estimates import EstimateRule
from pytest_trt.judge.regression.question import RegressionQuestion
from pytest_trt.measure.run import MeasuredRun
from pytest_trt.measure.sampler import Sampling
from pytest_trt.measure.stopping import IfSampled
from pytest_trt.spec.expectations import Tolerance
from pytest_trt.spec.gates import Gate
from pytest_trt.spec.settings import Settings
from pytest_trt.trial.comparison import Comparison, ComparisonTerms
from pytest_trt.trial.gated_figures import rules_in_turn, rules_with_stored
from pytest_trt.trial.probe_spread import ProbeSpread

GPU = {
    "ms": Estimate(0.272, 0.2715, 0.2725, 400),
    "gpu_ms": Estimate(0.25, 0.2495, 0.2505, 400),
    "p99_ms": Estimate(0.273, 0.2725, 0.2735, 400),
    "throughput": Estimate(3660.0, 3650.0, 3670.0, 7),
    "memory_mb": Estimate.exact(628.4),
    "process_mb": Estimate.exact(1100.0),
    "host_mb": Estimate.exact(1900.0),
    "engine_mb": Estimate.exact(0.0105),
    "load_s": Estimate.exact(0.1),
    "build_s": Estimate.exact(27.0),
}
"""The figures of an engine on a GPU."""

CPU = {name: GPU[name] for name in ("ms", "p99_ms", "throughput", "host_mb", "engine_mb", "load_s", "build_s")}


def baseline(figures: Mapping[str, Estimate], *without: str) -> Baseline:
    kept = {name: estimate for name, estimate in figures.items() if name not in without}
    return baseline_of(dataclasses.replace(measurement(), figures=kept))


def run_of(figures: Mapping[str, Estimate], **changes: float) -> MeasuredRun:
    """Return a measurement of these figures; each change multiplies a figure and its interval."""
    changed = {
        name: Estimate(*(getattr(one, end) * changes.get(name, 1.0) for end in ("value", "low", "high")), one.samples)
        for name, one in figures.items()
    }
    return MeasuredRun(Sampling(((Samples(blocks(0.272)),),), "done", True, 1.0), changed, {})


def judge(
    run: MeasuredRun, old: Baseline, *, mode: str = "stored", settings: Mapping[str, Any] | None = None, **gates: Any
) -> dict[str, Verdict]:
    """Return the verdicts by figure."""
    terms = ComparisonTerms.of(Tolerance(gates=gates), Settings(**(settings or {})), ProbeSpread(0.002, 0.0), H200)
    comparison = Comparison(mode=mode, terms=terms, baseline=old)  # type: ignore[arg-type]
    return {verdict.figure: verdict for verdict in comparison.verdicts(run)}


def statuses(verdicts: Mapping[str, Verdict]) -> dict[str, str]:
    return {name: verdict.status for name, verdict in verdicts.items()}


def test_every_default_gate_of_an_unchanged_engine_is_ok() -> None:
    assert statuses(judge(run_of(GPU), baseline(GPU))) == dict.fromkeys(
        ("ms", "throughput", "memory_mb", "process_mb", "host_mb", "engine_mb"), "ok"
    )


def test_a_plan_that_grows_from_10_kb_to_4_gb_regresses() -> None:
    """As in NVIDIA/TensorRT#4841."""
    verdict = judge(run_of(GPU, engine_mb=4390 / 0.0105), baseline(GPU))["engine_mb"]
    assert verdict.status == "regressed"
    assert verdict.text == "engine size regressed: 4390 MB against 0.0105 MB, tolerance 10 %"


def test_more_host_memory_for_a_context_regresses() -> None:
    """By 1.4 GiB, as in NVIDIA/TensorRT-RTX#39."""
    found = judge(run_of(GPU, host_mb=(1900 + 1.4 * 1024**3 / 1e6) / 1900), baseline(GPU))
    assert statuses(found)["host_mb"] == "regressed"


@pytest.mark.parametrize(("figure", "factor"), [("process_mb", 1.2), ("memory_mb", 1.06), ("throughput", 0.7)])
def test_every_other_default_gate_regresses(figure: str, factor: float) -> None:
    found = statuses(judge(run_of(GPU, **{figure: factor}), baseline(GPU)))
    assert found.pop(figure) == "regressed"
    assert set(found.values()) == {"ok"}


@pytest.mark.parametrize(
    ("figure", "status"),
    [("ms", "improved"), ("memory_mb", "improved"), ("engine_mb", "improved"), ("throughput", "ok"), ("load_s", "ok")],
)
def test_only_latency_and_sizes_improve(figure: str, status: str) -> None:
    factor = 2.0 if figure == "throughput" else 0.5
    verdict = judge(run_of(GPU, **{figure: factor}), baseline(GPU), load_s=0.1)[figure]
    assert verdict.status == status
    assert ("better than the baseline's" in " ".join(verdict.details)) == (status == "ok")
    assert " improved:" not in verdict.text or status == "improved"


def test_a_default_gate_whose_figure_the_baseline_lacks_is_left_out() -> None:
    lacking = ("throughput", "process_mb", "host_mb", "engine_mb", "memory_mb")
    assert statuses(judge(run_of(GPU), baseline(GPU, *lacking))) == {"ms": "ok"}


def test_a_requested_figure_that_the_baseline_lacks_is_missing() -> None:
    verdict = judge(run_of(GPU), baseline(GPU, "load_s"), load_s=0.5)["load_s"]
    assert verdict.status == "missing"
    assert "the baseline has no load time (load_s): --trt-baseline-save adds it" in verdict.text


def test_a_requested_figure_that_the_backend_does_not_measure_is_unenforced() -> None:
    found = judge(run_of(CPU), baseline(CPU), process_mb=0.1)
    assert found["process_mb"].status == "unenforced"
    assert "this backend does not measure it" in found["process_mb"].text
    assert "memory_mb" not in found


def test_a_figure_is_switched_off() -> None:
    grown = run_of(GPU, engine_mb=100.0, ms=2.0)
    assert "engine_mb" not in judge(grown, baseline(GPU), engine_mb=None)
    assert "engine_mb" not in judge(grown, baseline(GPU), settings={"gates": (("engine_mb", None),)})
    assert statuses(judge(grown, baseline(GPU), settings={"gates": (("engine_mb", None),)}, engine_mb=0.1)) == {
        "ms": "regressed", "throughput": "ok", "memory_mb": "ok", "process_mb": "ok", "host_mb": "ok",
        "engine_mb": "regressed",
    }  # fmt: skip
    assert "ms" not in judge(grown, baseline(GPU), ms=None)


def test_a_marker_for_the_latency_overrides_a_setting_that_switches_it_off() -> None:
    terms = ComparisonTerms.of(
        Tolerance(max_slowdown=0.03), Settings(gates=(("ms", None), ("memory_mb", None))), ProbeSpread(0.0, 0.0), H200
    )
    assert terms.gates["ms"].tolerance == 0.03
    assert "memory_mb" not in terms.gates


@pytest.mark.parametrize(("figure", "factor"), [("load_s", 1.6), ("build_s", 2.0), ("p99_ms", 1.6)])
def test_requested_figures_regress(figure: str, factor: float) -> None:
    slower = run_of(GPU, **{figure: factor})
    assert figure not in judge(slower, baseline(GPU))
    assert judge(slower, baseline(GPU), **{figure: 0.5})[figure].status == "regressed"
    assert judge(run_of(GPU), baseline(GPU), **{figure: 0.5})[figure].status == "ok"


def test_throughput_that_follows_from_the_latency_is_judged_only_on_request() -> None:
    slower = run_of(CPU, throughput=0.5)
    assert "throughput" not in judge(slower, baseline(CPU))
    assert judge(slower, baseline(CPU), throughput=0.2)["throughput"].status == "regressed"


def in_turn(new_ms: float, old_ms: float, figures: Mapping[str, Estimate]) -> MeasuredRun:
    """Return a measurement of two engines in turn."""

    def side(ms: float, seed: int) -> tuple[Samples, ...]:
        made = blocks(ms, 48, seed=seed)
        measured = [{name: times for name, times in block.times.items() if name in figures} for block in made]
        return (Samples(tuple(dataclasses.replace(b, times=t) for b, t in zip(made, measured, strict=True))),)

    sides = (side(new_ms, 0), side(old_ms, 1))
    own = {name: noise_levels.estimate(name, sides[0]) for name in ("ms", "gpu_ms", "p99_ms") if name in figures}
    return MeasuredRun(Sampling(sides, "done", True, 1.0), {**figures, **own}, {})


def test_engines_in_turn_are_judged_by_their_own_samples() -> None:
    """The stored figures are those of another day, when the machine was ten times as slow."""
    old = baseline(run_of(GPU, ms=10.0, gpu_ms=10.0, p99_ms=10.0).figures)
    gates = {"gpu_ms": 0.05, "p99_ms": 0.05}
    found = judge(in_turn(0.3, 0.272, GPU), old, mode="paired", **gates)
    assert {name: found[name].status for name in ("ms", *gates)} == dict.fromkeys(("ms", *gates), "regressed")
    found = judge(in_turn(0.272, 0.272, GPU), old, mode="paired", **gates)
    assert {name: found[name].status for name in ("ms", *gates)} == dict.fromkeys(("ms", *gates), "ok")


def test_throughput_of_engines_in_turn() -> None:
    old = baseline(run_of(GPU, throughput=10.0).figures)
    run = dataclasses.replace(in_turn(0.272, 0.272, GPU), other_figures={"throughput": GPU["throughput"]})
    assert judge(run, old, mode="paired")["throughput"].status == "ok"
    halved = dataclasses.replace(run, figures=run_of(GPU, throughput=0.5).figures)
    assert judge(halved, old, mode="paired")["throughput"].status == "regressed"


def test_throughput_of_engines_in_turn_on_a_cpu_is_the_inverse_of_the_latency() -> None:
    found = judge(in_turn(0.3, 0.272, CPU), baseline(CPU), mode="paired", throughput=0.05)["throughput"]
    assert found.status == "regressed"
    assert found.ratio is not None
    assert found.ratio.value == pytest.approx(0.272 / 0.3, rel=0.01)


def test_a_quarantine_holds_for_every_figure() -> None:
    quarantine = Tolerance(enforce=False, until=datetime.date.max, reason="#7")
    terms = ComparisonTerms.of(quarantine, Settings(), ProbeSpread(0.002, 0.0), H200)
    found = Comparison(mode="stored", terms=terms, baseline=baseline(GPU)).verdicts(run_of(GPU, engine_mb=2.0))
    assert {v.figure: v.status for v in found}["engine_mb"] == "unenforced"


def test_an_identical_engine_has_nothing_to_compare() -> None:
    terms = ComparisonTerms.of(Tolerance(gates={"load_s": 0.1}), Settings(), ProbeSpread(0.002, 0.0), H200)
    comparison = Comparison(mode="identical", terms=terms, baseline=baseline(GPU))
    assert [(v.figure, v.status) for v in comparison.verdicts(run_of(GPU, load_s=9.0))] == [("ms", "ok")]


def test_only_the_latency_has_a_place_and_a_lone_pair_of_its_own() -> None:
    spread = ProbeSpread(0.002, 0.001, place=0.0005, lone_pair=1.25)
    terms = ComparisonTerms.of(Tolerance(), Settings(), spread, H200)
    latency, other = (Comparison(mode="paired", terms=terms).question_of(name) for name in ("ms", "gpu_ms"))
    assert (latency.place, latency.lone_pair) == (0.0005, 1.25)
    assert (other.place, other.lone_pair) == (0.0, 2.0)


def question_of(figure: str) -> RegressionQuestion:
    return RegressionQuestion(figure=figure, tolerance=0.05)


def gates_of(*requested: str, unrequested: tuple[str, ...] = ()) -> list[Gate]:
    return [
        Gate(figure=name, tolerance=0.05, requested=name in requested)
        for name in dict.fromkeys(requested + unrequested)
    ]


def test_only_requested_figures_with_samples_prolong_a_sampling_in_turn() -> None:
    gates = gates_of("ms", "gpu_ms", "p99_ms", "throughput", "load_s", unrequested=("h2d_ms", "p95_ms"))
    rules = list(rules_in_turn(gates, question_of))
    assert [type(rule) for rule in rules] == [IfSampled, EstimateRule, IfSampled]
    assert len(list(rules_in_turn(gates_of("throughput"), question_of))) == 1
    assert list(rules_in_turn(gates_of("ms", "load_s"), question_of)) == []


def test_only_requested_percentiles_prolong_a_sampling_against_stored_figures() -> None:
    gates = gates_of("ms", "gpu_ms", "p99_ms", "p95_ms", "load_s")
    old = baseline(GPU)  # without p95_ms
    rules = list(rules_with_stored(gates, question_of, old, ""))
    assert [type(rule) for rule in rules] == [EstimateRule]
    assert list(rules_with_stored(gates_of(unrequested=("p99_ms",)), question_of, old, "")) == []
