"""Test energy as a figure of a test: who requests it, how it is judged, and when it is refused."""

from __future__ import annotations

import json

import pytest
from samples.energy import ClockMeter, short_windows
from samples.pytest_runs import ENGINE, MEASURES

from pytest_trt.errors import BackendError
from pytest_trt.trial import energy as trial_energy


@pytest.fixture
def clock_meter(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a counter that follows the clock stand for that of the host, which most machines do not let users read."""
    short_windows(monkeypatch)
    monkeypatch.setattr(trial_energy, "RaplMeter", lambda: ClockMeter(50.0))


def run(project, *options: str, marks: str = ""):
    project.makepyfile(test_m=ENGINE + marks + MEASURES)
    result = project.runpytest_inprocess(*options)
    (found,) = json.loads((project.path / "out.json").read_text())["results"]
    return result, found


@pytest.mark.usefixtures("clock_meter")
def test_energy_is_measured_only_on_request(project) -> None:
    _, found = run(project)
    assert "energy_mj" not in found["measurement"]["figures"]
    result, found = run(project, "--trt-energy")
    figures = found["measurement"]["figures"]
    assert {"energy_mj", "power_w", "idle_w"} <= set(figures)
    assert figures["power_w"]["value"] == pytest.approx(50.0, rel=0.5)
    assert found["measurement"]["proof"]["energy"].startswith("clock, 4 windows")
    result.stdout.fnmatch_lines(["*test*ms*mJ*verdict*"])


@pytest.mark.usefixtures("clock_meter")
def test_a_budget_on_energy_is_judged(project) -> None:
    result, _ = run(project, marks='@pytest.mark.trt_budget("cpu", energy_mj=1e-6, power_w=500)\n')
    result.assert_outcomes(failed=1)
    assert "near the budget" not in result.stdout.str()
    result.stdout.fnmatch_lines(["energy an inference over budget: * mJ, budget 0.00000100 mJ*"])


@pytest.mark.usefixtures("clock_meter")
def test_a_tolerance_compares_the_energy_of_two_engines_in_turn(project) -> None:
    run(project, "--trt-energy", "--trt-baseline-save")
    _, found = run(project, marks='@pytest.mark.trt_regression(power_w="500%", paired=True)\n')
    (verdict,) = [v for v in found["verdicts"] if v["figure"] == "power_w"]
    assert verdict["status"] == "ok"
    assert "judged engine against engine: 4 windows each, in turns" in verdict["details"]
    assert not [v for v in found["verdicts"] if v["figure"] == "energy_mj"]  # nobody requested its comparison


def test_energy_that_cannot_be_measured_is_one_error_with_the_reason(project, monkeypatch) -> None:
    def missing():
        raise BackendError("there is no counter")

    monkeypatch.setattr(trial_energy, "RaplMeter", missing)
    result, found = run(
        project, marks='@pytest.mark.trt_budget("cpu", energy_mj=5)\n@pytest.mark.trt_regression(power_w="5%")\n'
    )
    result.assert_outcomes(failed=1)
    texts = [v["text"] for v in found["verdicts"] if v["figure"] in ("energy_mj", "power_w")]
    assert texts == ["energy cannot be measured: there is no counter"]
