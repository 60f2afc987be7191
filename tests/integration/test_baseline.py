"""Test --trt-baseline, --trt-baseline-dir and --trt-baseline-ref: what a run is compared with."""

from __future__ import annotations

import subprocess
import sys

import pytest
from samples.pytest_runs import ENGINE, MEASURES

RENAME = ["baseline", "rename", "test_m.py::test_other[b2]", "test_m.py::test_another[b2]"]


def git(project, *arguments):
    subprocess.run(["git", "-c", "user.name=t", "-c", "user.email=t@t", *arguments], cwd=project.path, check=True)


def test_regression_fails_for_every_source_of_baselines_except_off(project, save_model, verdicts):
    git(project, "init", "-q")
    project.makepyfile(test_m=ENGINE + MEASURES)
    project.runpytest_subprocess("--trt-baseline-save").assert_outcomes(passed=1)
    project.runpytest_subprocess("--trt-baseline-save", "--trt-baseline-dir=elsewhere").assert_outcomes(passed=1)
    assert list((project.path / "elsewhere" / "main").rglob("*.json"))
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
    result = project.runpytest_subprocess("--trt-baseline=never")
    result.assert_outcomes(passed=1)
    output = " ".join(result.stdout.str().split())
    assert "there is no baseline never for " in output
    assert " or any other device (there is main): --trt-baseline-save stores one" in output
    assert verdicts() == {"test_m": ["missing"]}
    project.runpytest_subprocess("--trt-baseline-dir=elsewhere").assert_outcomes(failed=1)
    assert verdicts() == {"test_m": ["regressed"]}

    # a pull request that changes its own baseline is still compared with the one at the revision
    project.runpytest_subprocess("--trt-baseline-save", "--trt-baseline-force").assert_outcomes(failed=1)
    project.runpytest_subprocess().assert_outcomes(passed=1)
    project.runpytest_subprocess("--trt-baseline-ref=HEAD").assert_outcomes(failed=1)
    assert verdicts() == {"test_m": ["regressed"]}


def test_unknown_revision_is_an_error(project):
    git(project, "init", "-q")
    project.makepyfile(test_m=ENGINE + MEASURES)
    result = project.runpytest_inprocess("--trt-baseline-ref=origin/main")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*--trt-baseline-ref=origin/main: git does not know this revision*fetch*"])


def test_renamed_test_is_offered_its_old_baseline(project, verdicts):
    two = MEASURES + "@pytest.mark.trt_matrix(batch=[2])\ndef test_other(trt_runner): trt_runner.measure()\n"
    project.makepyfile(test_m=ENGINE + two)
    project.runpytest_subprocess("--trt-baseline-save").assert_outcomes(passed=2)
    project.makepyfile(test_m=ENGINE + two.replace("test_other", "test_another"))
    result = project.runpytest_subprocess()
    assert verdicts()["test_another[b2]"] == ["new"]
    output = " ".join(result.stdout.str().split())
    assert 'new: test_another[b2] (was it renamed? pytest-trt baseline rename "test_m.py::test_other[b2]"' in output
    result = project.runpytest_subprocess("--trt-fail-on=new")
    assert '  was it renamed? pytest-trt baseline rename "test_m.py::test_other[b2]" ' in result.stdout.str()
    command = f"import sys; from pytest_trt.cli.main import main; sys.exit(main({RENAME!r}))"
    subprocess.run([sys.executable, "-c", command], cwd=project.path, check=True)
    project.runpytest_subprocess().assert_outcomes(passed=2)
    assert verdicts()["test_another[b2]"] == ["ok"]


def test_baselines_at_a_url_are_judged_like_local_ones(project, verdicts):
    project.makepyfile(test_m=ENGINE + MEASURES)
    url = f"--trt-baseline-dir=file://{project.path}/far"
    project.runpytest_subprocess(url, "--trt-baseline-save").assert_outcomes(passed=1)
    assert list((project.path / "far").rglob("*.json"))
    project.runpytest_subprocess(url, "-n", "2").assert_outcomes(passed=1)
    project.runpytest_subprocess(url).assert_outcomes(passed=1)
    assert verdicts() == {"test_m": ["ok"]}
    result = project.runpytest_inprocess("--trt-baseline-dir=nowhere://x")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*nowhere*"])
