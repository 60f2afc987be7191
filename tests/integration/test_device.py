"""--trt-device and --trt-require-device: what runs on the wrong device does not run at all."""

from __future__ import annotations

import pytest
from samples.pytest_runs import ENGINE, MEASURES


def test_a_gpu_that_is_asked_for_is_not_quietly_replaced_by_the_cpu(project):
    project.makepyfile(test_m=ENGINE + MEASURES)
    result = project.runpytest_subprocess("--trt-device=1")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: --trt-device=1 names a GPU, and these tests run on *onnxruntime*"])


@pytest.mark.parametrize("xdist", [(), ("-n", "2")], ids=["alone", "xdist"])
def test_the_device_that_is_required_is_the_one_that_is_there(project, xdist):
    project.makepyfile(test_m=ENGINE + MEASURES)
    project.runpytest_subprocess("--trt-require-device=cpu", *xdist).assert_outcomes(passed=1)
    result = project.runpytest_subprocess("--trt-require-device=H200", *xdist)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    (result.stdout if xdist else result.stderr).fnmatch_lines(["ERROR: --trt-require-device=H200: this device is *"])
    assert result.parseoutcomes().get("passed") is None


def test_an_empty_value_is_not_no_value(project):
    """--trt-require-device=$DEVICE, where DEVICE is not set, must not require nothing."""
    result = project.runpytest_subprocess("--trt-require-device=")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: --trt-require-device is empty: give it a value"])


@pytest.mark.parametrize("lists", ["--collect-only", "--fixtures", "--fixtures-per-test"])
def test_what_only_lists_asks_for_no_device(project, lists):
    project.makepyfile(test_m=ENGINE + MEASURES)
    result = project.runpytest_subprocess("--trt-require-device=H200", lists)
    assert result.ret == pytest.ExitCode.OK
    result.stdout.fnmatch_lines(["*trt_runner*" if "fixtures" in lists else "*test_m*"])
