"""Test --trt-backend and ini settings: which one applies, and the errors of invalid ones."""

from __future__ import annotations

import importlib.util

import pytest
from samples.pytest_runs import ENGINE, MEASURES

from pytest_trt.engine.backends import cuda


def test_unknown_backend_is_a_usage_error_with_a_suggestion(project):
    project.makepyfile(test_m=ENGINE + MEASURES)
    result = project.runpytest_inprocess("--trt-backend=tensort")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: --trt-backend is 'tensort': did you mean 'tensorrt'?"])


@pytest.mark.skipif(importlib.util.find_spec("tensorrt_lean") is not None, reason="tensorrt_lean is installed")
@pytest.mark.parametrize("xdist", [(), ("-n", "1")], ids=["alone", "xdist"])
def test_backend_that_is_not_installed_is_reported_once(project, xdist):
    project.makepyfile(test_m=ENGINE + "def test_other(): pass\n" + MEASURES)
    result = project.runpytest_inprocess("--trt-backend=tensorrt_lean", *xdist)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    message = "ERROR: tensorrt_lean cannot be imported*pip install*"
    (result.stdout if xdist else result.stderr).fnmatch_lines([message])
    if xdist:  # a worker cannot end the run: there the test fails, and the controller exits with 4
        result.assert_outcomes(passed=1, failed=1)


@pytest.mark.skipif(cuda.reason_unusable() is None, reason="needs a machine without a GPU")
@pytest.mark.parametrize("name", ["onnxruntime_cuda", "onnxruntime_tensorrt"])
def test_onnx_runtime_on_a_gpu_never_runs_on_the_cpu_instead(project, name):
    """The error names the provider that the package lacks, or the library that is missing."""
    project.makepyfile(test_m=ENGINE + MEASURES)
    result = project.runpytest_inprocess(f"--trt-backend={name}")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.re_match_lines([r"ERROR: .*(has no \w+ExecutionProvider|ExecutionProvider .*does not load: lib).*"])
    assert not (project.path / "out.json").exists()


def test_marker_overrides_command_line_which_overrides_ini_file(project, verdicts):
    project.makepyfile(
        test_m="import pytest\n"
        "@pytest.mark.trt_engine('m.onnx', backend='onnxruntime', dims={'N': (1, 4, 8)})\n" + MEASURES
    )
    project.runpytest_subprocess("--trt-backend=tensorrt_lean").assert_outcomes(passed=1)
    assert verdicts() == {"test_m": ["missing"]}
    project.makepyfile(test_m=ENGINE + MEASURES)
    project.runpytest_subprocess("-o", "trt_backend=tensorrt_lean", "--trt-backend=onnxruntime").assert_outcomes(
        passed=1
    )


def test_invalid_ini_settings_are_named_as_ini_settings(project):
    invalid = ("-o", "trt_backend=onnxrt", "-o", "trt_max_slowdown=fast", "--trt-device=0,,1")
    result = project.runpytest_inprocess(*invalid)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(
        [
            "ERROR: ini setting trt_backend is 'onnxrt': did you mean 'onnxruntime'?",
            "--trt-device is '0,,1': give 'all', or a list of numbers*",
            "ini setting trt_max_slowdown is 'fast': write a share such as '3%' or 0.03",
        ]
    )


def test_invalid_boolean_ini_setting_is_named(project):
    result = project.runpytest_inprocess("-o", "trt_strict=maybe")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: ini setting trt_strict: invalid truth value 'maybe': write true or false"])


@pytest.mark.skipif(pytest.version_tuple < (9,), reason="pytest 9 reads it")
@pytest.mark.parametrize(
    ("setting", "remedy"),
    [
        ("trt_max_time = 3", 'write a string in quotes, trt_max_time = "..."'),
        ("trt_report = 'json:q.json'", 'write a list of strings, trt_report = ["..."]'),
        ("trt_strict = 'maybe'", "write true or false"),
    ],
)
def test_wrong_type_in_pytest_toml_shows_the_right_form(project, setting, remedy):
    (project.path / "pytest.toml").write_text(f"[pytest]\n{setting}\n")
    result = project.runpytest_inprocess("-c", "pytest.toml")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    (line,) = (line for line in result.errlines if line.startswith("ERROR: "))
    assert line.startswith(f"ERROR: ini setting {setting.split()[0]}: ")
    assert line.endswith(remedy)


@pytest.mark.parametrize("xdist", [(), ("-n", "1")], ids=["alone", "xdist"])
@pytest.mark.parametrize("test", [ENGINE + MEASURES, "def test_nothing_of_ours(): pass"])
def test_misspelt_ini_setting_is_a_usage_error(project, xdist, test):
    """Pytest only warns, so the check would silently be off."""
    project.makepyfile(test_m=test)
    result = project.runpytest_inprocess("-o", "trt_require_devise=H200", *xdist)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    message = "*there is no ini setting trt_require_devise: did you mean trt_require_device?*"
    result.stderr.fnmatch_lines([message])
