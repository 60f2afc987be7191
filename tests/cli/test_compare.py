"""Test `pytest-trt compare`: exit statuses, usage errors and formats."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from samples.records import TEST, measurement
from samples.reports import read_json
from samples.runs import OTHER, Run, folder, write_run

from pytest_trt.core.records import Estimate, Verdict


def test_compare_exit_statuses(run: Run) -> None:
    base = write_run("a.json", measurement())
    assert run("compare", base, write_run("same.json", measurement(day=2)))[0] == 0
    assert run("compare", base, write_run("slow.json", measurement(0.306, day=2)))[0] == 1
    assert run("compare", base, write_run("near.json", measurement(0.274)), "--max-slowdown", "1%")[0] == 125
    invalid = write_run("busy.json", measurement(), verdicts=[Verdict("invalid", "run", "", "the GPU was busy")])
    assert run("compare", base, invalid)[0] == 125
    lost = write_run("lost.json", measurement(), verdicts=[Verdict("error", "run", "", "the probe was lost")])
    assert run("compare", base, lost)[0] == 1


def test_compare_never_passes_a_test_that_was_not_compared(run: Run) -> None:
    both = write_run("both.json", measurement(), measurement(node_id=OTHER))
    one = write_run("one.json", measurement(day=2))
    status, out, _ = run("compare", both, one)
    assert status == 125
    assert "inconclusive" in out
    assert run("compare", one, both)[0] == 0
    assert run("compare", one, both, "--strict")[0] == 1
    assert run("compare", one, both, "--fail-on", "new")[0] == 1
    assert run("compare", both, one, "--test", TEST)[0] == 0
    status, _, error = run("compare", one, write_run("other.json", measurement(node_id=OTHER)))
    assert status == 2
    assert "no test on the same device" in error
    status, _, error = run("compare", one, write_run("none.json"))
    assert status == 2
    assert "no measured test" in error


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nothing.json", "b.json"), "neither a file nor a folder"),
        (("a.json", "bad.json"), "bad.json is not JSON"),
        (("bad.json", "a.json"), "bad.json is not JSON"),
        (("a.json", "a.json", "--max-slowdown", "fast"), "--max-slowdown is 'fast'"),
        (("a.json", "a.json", "--max-slowdown", "5"), "did you mean '5%'"),
        (("a.json", "a.json", "--fail-on", "mising"), "did you mean 'missing'"),
        (("a.json", "a.json", "--test", "*nothing*"), "that matches"),
    ],
)
def test_compare_usage_errors(run: Run, arguments: tuple[str, ...], message: str) -> None:
    write_run("a.json", measurement())
    Path("bad.json").write_text("{")
    status, _, error = run("compare", *arguments)
    assert status == 2
    assert message in error


@pytest.mark.parametrize("edited", [{"value": -1.0}, {"high": -1.0}, {"low": 9.0}])
def test_compare_refuses_impossible_figures_on_either_side(run: Run, edited: dict[str, float]) -> None:
    base = write_run("base.json", measurement())
    whole = json.loads(Path(base).read_text())
    whole["results"][0]["measurement"]["figures"]["ms"].update(edited)
    Path("edited.json").write_text(json.dumps(whole))
    for sides in ((base, "edited.json"), ("edited.json", base)):
        status, _, error = run("compare", *sides)
        assert status == 2
        assert "edited.json: " in error
        assert "ms" in error


def test_compare_formats(run: Run) -> None:
    base, slow = write_run("a.json", measurement()), write_run("b.json", measurement(0.306, day=2))
    status, out, _ = run("compare", base, slow)
    assert "regressed" in out
    assert "+12.5 %" in out
    status, out, _ = run("compare", base, slow, "--format", "md")
    assert status == 1
    assert "| " in out
    status, out, _ = run("compare", base, slow, "--format", "json")
    (result,) = read_json(out)
    assert (status, result.status) == (1, "regressed")
    assert result.measurement is not None
    assert result.measurement.samples == ()


def test_compare_a_run_with_baselines_and_baselines_with_each_other(run: Run) -> None:
    folder().save(measurement(), "missing")
    folder("slow").save(measurement(0.306), "missing")
    assert run("compare", ".trt-baselines", write_run("b.json", measurement(day=2)))[0] == 0
    assert run("compare", ".trt-baselines", ".trt-baselines#slow")[0] == 1
    assert run("compare", "memory://nothing", ".trt-baselines")[0] == 2


def test_compare_refuses_a_folder_with_a_broken_baseline(run: Run) -> None:
    folder().save(measurement(), "missing")
    folder().save(measurement(node_id=OTHER), "new")
    next(Path().rglob("test_encoder*.json")).write_text("{")
    status, _, error = run("compare", ".trt-baselines", write_run("b.json", measurement()))
    assert status == 2
    assert "test_encoder" in error


def test_json_of_a_comparison_is_one_document(run: Run) -> None:
    base = write_run("a.json", measurement())
    assert json.loads(run("compare", base, base, "--format", "json")[1])["results"]


def test_compare_gates_figures_by_name(run: Run) -> None:
    figures = measurement().figures
    larger = {**figures, "engine_mb": Estimate.exact(30.0), "build_s": Estimate.exact(60.0)}
    base, grown = write_run("a.json", measurement()), write_run("b.json", measurement(day=2, figures=larger))
    status, out, _ = run("compare", base, grown)
    assert status == 1
    assert "engine_mb +28.2 %" in out
    assert run("compare", base, grown, "--gate", "engine_mb=30%")[0] == 0
    assert run("compare", base, grown, "--gate", "engine_mb=off")[0] == 0
    assert run("compare", base, grown, "--gate", "engine_mb=off", "--gate", "build_s=50%")[0] == 1
    status, _, error = run("compare", base, grown, "--gate", "engin_mb=3%")
    assert status == 2
    assert "--gate: engin_mb: there is no figure 'engin_mb': did you mean 'engine_mb'?" in error
