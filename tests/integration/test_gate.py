"""Test --trt-gate, its ini setting and trt_regression(FIGURE=P): every figure can be compared with the baseline."""

from __future__ import annotations

import json

import pytest
from samples.pytest_runs import ENGINE, MEASURES


@pytest.fixture
def judged(project):
    """Return a function that returns the statuses of the baseline's verdicts in the last run, by figure."""

    def read() -> dict[str, str]:
        (result,) = json.loads((project.path / "out.json").read_text())["results"]
        return {v["figure"]: v["status"] for v in result["verdicts"] if v["basis"] == "baseline"}

    return read


@pytest.fixture
def larger(project, save_model):
    """A project whose baseline is that of a model of one layer; the model now has 64 layers of the same latency limit.

    The latency is not compared, so that only the sizes can fail.
    """
    project.makepyfile(test_m=ENGINE + MEASURES)
    project.runpytest_subprocess("--trt-baseline-save", "--trt-gate=ms=off").assert_outcomes(passed=1)
    save_model(folder=project.path, layers=64)
    return project


def test_a_larger_engine_fails_by_default(larger, judged):
    result = larger.runpytest_subprocess("--trt-gate=ms=off")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*engine size regressed: * MB against * MB, *%, tolerance 10 %*"])
    result.stdout.fnmatch_lines(["*accept it with: pytest-trt baseline accept*"])
    assert judged() == {"engine_mb": "regressed", "host_mb": "ok"}


@pytest.mark.parametrize("how", ["option", "ini", "marker"])
def test_a_figure_is_switched_off(larger, judged, how):
    options = ["--trt-gate=ms=off", *(["--trt-gate=engine_mb=off"] if how == "option" else [])]
    if how == "ini":
        ini = larger.path / "tox.ini"
        ini.write_text(ini.read_text() + "\ntrt_gate = engine_mb=off\n")
    if how == "marker":
        marker = "@pytest.mark.trt_regression(engine_mb='off')\n"
        larger.makepyfile(test_m=ENGINE + marker + MEASURES)
    larger.runpytest_subprocess(*options).assert_outcomes(passed=1)
    assert judged() == {"host_mb": "ok"}


def test_the_command_line_overrides_the_ini_file_figure_by_figure(larger, judged):
    ini = larger.path / "tox.ini"
    ini.write_text(ini.read_text() + "\ntrt_gate =\n    engine_mb=off\n    host_mb=off\n    ms=off\n")
    larger.runpytest_subprocess("--trt-gate=engine_mb=900%").assert_outcomes(failed=1)
    assert judged() == {"engine_mb": "regressed"}


def test_a_requested_figure_that_the_baseline_lacks_is_missing_until_it_is_saved(project, judged):
    project.makepyfile(test_m=ENGINE + MEASURES)
    project.runpytest_subprocess("--trt-baseline-save").assert_outcomes(passed=1)
    (file,) = (project.path / ".trt-baselines").rglob("*.json")
    stored = json.loads(file.read_text())
    del stored["figures"]["load_s"], stored["figures"]["host_mb"]
    stored["plan_sha256"] = stored["engine_digest"] = "0" * 64
    file.write_text(json.dumps(stored))
    gates = ("--trt-gate=load_s=900%", "--trt-gate=ms=off", "--trt-gate=process_mb=10%")
    project.runpytest_subprocess("--trt-gate=ms=off", "--trt-strict").assert_outcomes(passed=1)
    assert judged() == {"engine_mb": "ok"}
    project.runpytest_subprocess(*gates, "--trt-strict").assert_outcomes(failed=1)
    assert judged() == {"engine_mb": "ok", "load_s": "missing", "process_mb": "unenforced"}
    result = project.runpytest_subprocess(*gates, "--trt-baseline-save")
    result.stdout.fnmatch_lines(["*whose reference is unchanged, except that it now has *host_mb, load_s*"])
    added = json.loads(file.read_text())
    assert {"load_s", "host_mb"} <= added["figures"].keys()
    assert (added["time"], added["plan_sha256"]) == (stored["time"], "0" * 64)
    project.runpytest_subprocess(*gates)
    assert judged()["load_s"] in ("ok", "inconclusive")


def test_invalid_gates_are_usage_errors(project):
    project.makepyfile(test_m=ENGINE + MEASURES)
    result = project.runpytest_subprocess("--trt-gate=engin_mb=5%")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(
        ["ERROR: --trt-gate: engin_mb: there is no figure 'engin_mb': did you mean 'engine_mb'?"]
    )
    project.makepyfile(test_m=ENGINE + "@pytest.mark.trt_regression(engine_mb=10)\n" + MEASURES)
    result = project.runpytest_subprocess()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: test_m.py::test_m: trt_regression: engine_mb is 10: did you mean '10%'?"])
