"""Test --trt-device and --trt-require-device: on the wrong device, nothing runs."""

from __future__ import annotations

import pytest
from samples.pytest_runs import ENGINE, MEASURES


@pytest.mark.way_past("request a GPU where there is none", "exit status 4")
def test_requested_gpu_is_not_silently_replaced_by_the_cpu(project):
    project.makepyfile(test_m=ENGINE + MEASURES)
    result = project.runpytest_inprocess("--trt-device=1")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: --trt-device=1 names a GPU, and these tests run on *onnxruntime*"])


@pytest.mark.way_past("run on a device other than the required one", "exit status 4")
@pytest.mark.parametrize("xdist", [(), ("-n", "2")], ids=["alone", "xdist"])
def test_required_device_must_match(project, xdist):
    project.makepyfile(test_m=ENGINE + MEASURES)
    project.runpytest_subprocess("--trt-require-device=cpu", *xdist).assert_outcomes(passed=1)
    result = project.runpytest_inprocess("--trt-require-device=H200", *xdist)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    (result.stdout if xdist else result.stderr).fnmatch_lines(["ERROR: --trt-require-device=H200: this device is *"])
    assert result.parseoutcomes().get("passed") is None


@pytest.mark.way_past("an empty `--trt-require-device`, such as from an unset variable", "exit status 4")
def test_empty_required_device_is_a_usage_error(project):
    """`--trt-require-device=$DEVICE` must fail if DEVICE is not set, instead of requiring nothing."""
    result = project.runpytest_inprocess("--trt-require-device=")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: --trt-require-device is empty: give it a value"])


@pytest.mark.parametrize("option", ["--collect-only", "--fixtures", "--fixtures-per-test"])
def test_listing_needs_no_device(project, option):
    project.makepyfile(test_m=ENGINE + MEASURES)
    result = project.runpytest_inprocess("--trt-require-device=H200", option)
    assert result.ret == pytest.ExitCode.OK
    result.stdout.fnmatch_lines(["*trt_runner*" if "fixtures" in option else "*test_m*"])


def test_all_devices_of_a_host_without_gpu_are_its_cpu(project, tmp_path):
    project.makepyfile(test_m=ENGINE + MEASURES, test_n=ENGINE + MEASURES)
    locks = tmp_path / "locks"
    result = project.runpytest_subprocess(
        "-n", "2", "--trt-device=all", f"--trt-lock-dir={locks}", "--trt-max-time=0.2"
    )
    result.assert_outcomes(passed=2)
    assert locks.is_dir()


def test_a_list_of_devices_needs_each_of_them(project):
    project.makepyfile(test_m=ENGINE + MEASURES)
    result = project.runpytest_inprocess("--trt-device=0,1")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: --trt-device=0,1 names a GPU, and these tests run on *"])


MATRIX = """
import pytest
pytestmark = [
    pytest.mark.trt_engine("m.onnx"),
    pytest.mark.trt_matrix(device=["cpu", "H200"], batch=[4]),
    pytest.mark.trt_budget(ms=1e6),
]
def test_m(trt_runner):
    print("ran", trt_runner.measure().environment.kind)
"""


@pytest.mark.parametrize("xdist", [(), ("-n", "2")], ids=["alone", "xdist"])
def test_a_case_whose_device_is_not_there_is_missing(project, xdist):
    project.makepyfile(test_m=MATRIX)
    result = project.runpytest_subprocess("--trt-max-time=0.2", "--trt-device=all", "-rs", *xdist)
    result.assert_outcomes(passed=1, skipped=1)
    result.stdout.fnmatch_lines(
        ["*device:H200* missing*", "*no device of this run is 'H200': there is * (see --trt-device)*"]
    )


def test_a_missing_device_fails_if_verdicts_are_required(project):
    project.makepyfile(test_m=MATRIX)
    result = project.runpytest_inprocess("--trt-fail-on=missing", "--trt-disable")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["*no device of this run is 'H200'*"])
    result = project.runpytest_inprocess("--trt-require-device=cpu")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(
        ["ERROR: --trt-require-device=cpu: test_m.py::test_m[[]device:H200-b4]: no device of *"]
    )
