"""Test --trt-bisect: the failure names the first layer that departs, or the command that finds it."""

from __future__ import annotations

import onnx
import pytest
from samples.models import clipped_model
from samples.pytest_runs import ENGINE

FILE = (
    ENGINE.replace("dims={'N': (1, 4, 8)}", "precision='fp16'")
    + """
@pytest.mark.trt_matrix(batch=[2])
@pytest.mark.trt_accuracy(rtol=0.01, atol=0.05)
def test_m(trt_runner): trt_runner.measure()
"""
)


@pytest.fixture
def clipped(project):
    """A project whose model float16 clips."""
    onnx.save(clipped_model(), str(project.path / "m.onnx"))
    project.makepyfile(test_m=FILE)
    return project


def test_failure_names_the_command_that_bisects(clipped, verdicts):
    result = clipped.runpytest_subprocess("--trt-baseline=off")
    result.assert_outcomes(failed=1)
    assert "inaccurate" in verdicts()["test_m[b2]"]
    result.stdout.fnmatch_lines(['*find the first layer that departs: pytest --trt-bisect "test_m.py::test_m[[]b2[]]"'])


@pytest.mark.parametrize("xdist", [(), ("-n", "1")], ids=["alone", "xdist"])
def test_the_first_layer_is_named(clipped, xdist):
    result = clipped.runpytest_subprocess("--trt-baseline=off", "--trt-bisect", *xdist)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines([
        "*output 'y' departs from onnxruntime*",
        "*first to depart: scale_down (Mul): output 'down' departs from onnxruntime*",
        "*it reads 't13', which agrees, its worst element at *% of the limit",
        "*seen again with nothing else marked (* builds, * tensors marked)",
    ])  # fmt: skip
    assert '--trt-bisect "' not in result.stdout.str()


def test_ini_setting_does_not_bisect_an_accurate_test(project, verdicts):
    project.makepyfile(test_m=FILE)
    result = project.runpytest_subprocess("--trt-baseline=off", "-o", "trt_bisect=true")
    result.assert_outcomes(passed=1)
    assert "first to depart" not in result.stdout.str()
    assert set(verdicts()["test_m[b2]"]) == {"ok"}
