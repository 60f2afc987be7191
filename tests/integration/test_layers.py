"""Test trt_layers: the number, the precisions and the identity of an engine's layers."""

from __future__ import annotations

import json

import pytest
from samples.pytest_runs import ENGINE, MEASURES


@pytest.fixture
def layers(project):
    """Return a function that runs a test with `trt_layers`, and returns its layer verdicts by argument."""

    def run(arguments: str, *options: str) -> dict[str, str]:
        project.makepyfile(test_m=ENGINE + f"@pytest.mark.trt_layers({arguments})\n" + MEASURES)
        run.result = project.runpytest_subprocess("--trt-gate=ms=off", "--trt-gate=engine_mb=off", *options)
        (result,) = json.loads((project.path / "out.json").read_text())["results"]
        return {v["figure"]: v["status"] for v in result["verdicts"] if v["basis"] == "layers"}

    return run


def test_limits_on_the_layers_of_onnx_runtime(layers, project):
    assert layers("max_layers=9, max_reformats=0") == {"max_layers": "ok", "max_reformats": "ok"}
    layers.result.assert_outcomes(passed=1)
    assert layers("max_layers=1, no_fp32='*MatMul*'", "--junitxml=junit.xml", "--trt-report=json:out.json",
                  "--trt-report=md:out.md", "--trt-report=html:out.html") == {
        "max_layers": "over_budget", "no_fp32": "over_budget"
    }  # fmt: skip
    layers.result.assert_outcomes(failed=1)
    layers.result.stdout.fnmatch_lines(["layers over budget: *, at most 1 (and 1 more verdict below)"])
    layers.result.stdout.fnmatch_lines(["no_fp32 over budget: * named layers compute in fp32"])
    layers.result.stdout.fnmatch_lines(["test_m*layers: max_layers*over budget"])
    for name in ("out.md", "out.html", "junit.xml"):
        text = (project.path / name).read_text()
        assert "layers over budget" in text
        assert "no_fp32 over budget" in text
    assert 'value="max_layers over_budget, no_fp32 over_budget"' in (project.path / "junit.xml").read_text()


def test_layers_are_compared_with_those_of_the_baseline(layers, project, save_model):
    assert layers("unchanged=True", "--trt-baseline-save") == {}
    assert layers("unchanged=True") == {"unchanged": "ok"}  # the identical plan
    save_model(folder=project.path, layers=4)
    assert layers("unchanged=True") == {"unchanged": "regressed"}
    layers.result.assert_outcomes(failed=1)
    layers.result.stdout.fnmatch_lines(["layers regressed: * x new layer*", "  new layer *", "*seen again*"])
    assert layers("unchanged=True, max_layers=99", "--trt-baseline=off") == {"max_layers": "ok"}


def test_stored_layers_are_compared_if_the_old_engine_cannot_run(layers, project, save_model):
    layers("unchanged=True", "--trt-baseline-save")
    (file,) = (project.path / ".trt-baselines").rglob("*.json")
    file.write_text(file.read_text().replace('"engine_digest": "', '"engine_digest": "0').replace("plan_sha256", "x"))
    stored = json.loads(file.read_text())
    stored["engine_digest"] = "0" * 64
    stored["plan_sha256"] = stored.pop("x")
    file.write_text(json.dumps(stored))
    save_model(folder=project.path, layers=4)
    assert layers("unchanged=True") == {"unchanged": "regressed"}
    (data,) = (project.path / ".trt-baselines").rglob("*.json.gz")
    data.unlink()
    assert layers("unchanged=True", "--trt-strict") == {"unchanged": "missing"}
    layers.result.assert_outcomes(failed=1)
    assert layers("unchanged=True", "--trt-baseline-save") == {"unchanged": "missing"}
    assert layers("unchanged=True") == {"unchanged": "ok"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("max_reformat=1", "trt_layers: unknown argument 'max_reformat': did you mean 'max_reformats'?"),
        ("", "trt_layers: nothing is required: name a requirement*"),
        ("3", "trt_layers: 3 is an unexpected positional argument*"),
    ],
)
def test_invalid_markers_are_usage_errors(project, arguments, message):
    project.makepyfile(test_m=ENGINE + f"@pytest.mark.trt_layers({arguments})\n" + MEASURES)
    result = project.runpytest_subprocess()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: test_m.py::test_m: {message}"])


def test_a_test_that_measures_nothing_fails(project):
    project.makepyfile(test_m=ENGINE + "@pytest.mark.trt_layers(max_reformats=0)\ndef test_m(trt_runner): pass\n")
    result = project.runpytest_subprocess()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*trt_layers is declared, but the test measured nothing*"])
