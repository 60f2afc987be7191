"""Test --trt-cache-dir, --trt-cache-size, --trt-no-cache and --trt-build-only."""

from __future__ import annotations

import pytest
from samples.pytest_runs import ENGINE, MEASURES


def engines(folder):
    """Return the folders of the engines in a cache."""
    return [entry for entry in folder.iterdir() if len(entry.name) == 64] if folder.is_dir() else []


def test_engines_are_cached_in_the_given_folder_or_not_at_all(project):
    project.makepyfile(test_m=ENGINE + MEASURES)
    own = project.path / "own"
    project.runpytest_subprocess("--trt-no-cache", f"--trt-cache-dir={own}").stdout.fnmatch_lines(["1 engine built *"])
    assert not engines(own)
    project.runpytest_subprocess("--trt-cache-dir=own").stdout.fnmatch_lines(["1 engine built *"])
    assert len(engines(own)) == 1
    assert own.stat().st_mode & 0o777 == 0o700
    project.runpytest_subprocess("--trt-cache-dir=own").stdout.fnmatch_lines(["1 engine from the cache*"])


def test_cache_stays_within_its_size(project, save_model):
    save_model("a.onnx", project.path, seed=1)
    save_model("b.onnx", project.path, seed=2)
    file = "import pytest\n@pytest.mark.trt_engine('{}.onnx', dims={{'N': (1, 4, 8)}})\n" + MEASURES
    project.makepyfile(test_a=file.format("a"), test_b=file.format("b"))
    own = project.path / "own"
    for name in ("test_a.py", "test_b.py"):
        project.runpytest_subprocess(name, "--trt-cache-dir=own", "--trt-cache-size=12kB").assert_outcomes(passed=1)
    assert len(engines(own)) == 1


def test_cache_that_others_can_write_to_is_an_error(project):
    project.makepyfile(test_m=ENGINE + MEASURES)
    shared = project.path / "shared"
    shared.mkdir(mode=0o777)
    shared.chmod(0o777)
    result = project.runpytest_inprocess("--trt-cache-dir=shared")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["CacheError: *shared is writable by others (mode 0777): chmod 700 it*"])


def test_build_only_builds_declared_engines_and_runs_no_body(project, verdicts):
    project.makepyfile(
        test_m=ENGINE
        + """
import os
@pytest.mark.trt_matrix(precision=["fp32", "fp16"], batch=[1, 8])
@pytest.mark.trt_budget("cpu", ms=1e-9)
def test_m(trt_runner): os._exit(1)
@pytest.mark.trt_engine("missing.onnx")
def test_missing(trt_runner): os._exit(1)
def test_in_code(trt_build): os._exit(1)
def test_other(): os._exit(1)
import unittest
@pytest.mark.usefixtures("trt_runner")
class TestCase(unittest.TestCase):
    def test_m(self): os._exit(1)
"""
    )
    own = project.path / "own"
    result = project.runpytest_subprocess("--trt-build-only", "--trt-cache-dir=own")
    result.assert_outcomes(passed=5, failed=1, skipped=1, deselected=1)
    assert len(engines(own)) == 2  # batches share a plan
    result = project.runpytest_subprocess("--trt-build-only", "--trt-cache-dir=own", "-n", "2")
    result.assert_outcomes(passed=5, failed=1, skipped=1)
    assert len(engines(own)) == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--trt-cache-size=lots"], "--trt-cache-size is 'lots': give a size such as 20GB or 500MB"),
        (["--trt-no-cache", "--trt-build-only"], "--trt-build-only and --trt-no-cache (nothing would be kept)*"),
    ],
)
def test_invalid_options_are_usage_errors(project, options, message):
    result = project.runpytest_inprocess(*options)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: {message}"])
