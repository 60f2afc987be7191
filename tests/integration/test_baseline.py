"""--trt-baseline, --trt-baseline-dir and --trt-baseline-ref: what a run is compared with."""

from __future__ import annotations

import subprocess

from declared import ENGINE, MEASURES


def git(project, *words):
    subprocess.run(["git", "-c", "user.name=t", "-c", "user.email=t@t", *words], cwd=project.path, check=True)


def test_a_regression_fails_wherever_the_baseline_is_and_off_compares_nothing(project, save_model, verdicts):
    git(project, "init", "-q")
    project.makepyfile(test_m=ENGINE + MEASURES)
    project.runpytest_subprocess("--trt-baseline-save").assert_outcomes(passed=1)
    project.runpytest_subprocess("--trt-baseline-save", "--trt-baseline-dir=kept").assert_outcomes(passed=1)
    assert list((project.path / "kept" / "main").rglob("*.json"))
    git(project, "add", ".trt-baselines")
    git(project, "commit", "-q", "-m", "baseline")

    save_model(folder=project.path, layers=64)
    result = project.runpytest_subprocess()
    result.assert_outcomes(failed=1)
    assert verdicts() == {"test_m": ["regressed"]}
    result.stdout.re_match_lines([r"latency regressed: .* against .*, \+.* %.*, tolerance 5 %"])
    result.stdout.fnmatch_lines(['*accept it with: pytest-trt baseline accept "test_m.py::test_m" --reason=*'])

    project.runpytest_subprocess("--trt-baseline=off").assert_outcomes(passed=1)
    assert verdicts() == {"test_m": []}
    project.runpytest_subprocess("--trt-baseline=never").assert_outcomes(passed=1)
    assert verdicts() == {"test_m": ["missing"]}
    project.runpytest_subprocess("--trt-baseline-dir=kept").assert_outcomes(failed=1)
    assert verdicts() == {"test_m": ["regressed"]}

    # a pull request that raises its own baseline is still held to the one at the revision
    project.runpytest_subprocess("--trt-baseline-save", "--trt-baseline-force").assert_outcomes(failed=1)
    project.runpytest_subprocess().assert_outcomes(passed=1)
    project.runpytest_subprocess("--trt-baseline-ref=HEAD").assert_outcomes(failed=1)
    assert verdicts() == {"test_m": ["regressed"]}


def test_a_revision_that_is_not_there_is_said(project):
    git(project, "init", "-q")
    project.makepyfile(test_m=ENGINE + MEASURES)
    result = project.runpytest_subprocess("--trt-baseline-ref=origin/main")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*--trt-baseline-ref=origin/main: git knows no such revision*fetch*"])
