"""Test --trt-prebuild: engines are built before the first test runs."""

from __future__ import annotations

import onnx
import pytest
from decoders import decoder
from samples.pytest_runs import MEASURES

TESTS = """
import pytest
pytestmark = [pytest.mark.trt_engine("m.onnx"), pytest.mark.trt_matrix(precision=["fp32", "fp16"], batch=[1, 4])]
@pytest.fixture(scope="session", autouse=True)
def list_engines(request):
    print("engines before the tests:", len(list(request.config.rootpath.glob("engines/**/plan"))))
"""


@pytest.mark.parametrize("xdist", [(), ("-n", "2")], ids=["alone", "xdist"])
def test_engines_are_built_before_the_first_test(project, xdist):
    project.makepyfile(test_m=TESTS + MEASURES)
    options = ("--trt-prebuild", "--trt-cache-dir=engines", "--trt-max-time=0.1", "-rP")
    result = project.runpytest_subprocess(*options, *xdist)
    result.assert_outcomes(passed=4)
    result.stdout.fnmatch_lines(["engines before the tests: 2"])
    if not xdist:
        result.stdout.fnmatch_lines(["trt: built 2 engines on 1 device in *"])


def test_prebuilding_without_a_cache_is_a_usage_error(project):
    project.makepyfile(test_m=TESTS + MEASURES)
    result = project.runpytest_inprocess("--trt-prebuild", "--trt-no-cache")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: --trt-prebuild and --trt-no-cache (nothing would be kept) contradict *"])


def test_the_model_of_a_prompt_is_built_too(project):
    for name, cache in (("growing", "growing"), ("prefill", "none")):
        onnx.save(decoder(cache=cache), str(project.path / f"{name}.onnx"))
    project.makepyfile(
        """
import pytest

@pytest.mark.trt_engine("growing.onnx", state={"present_*": "past_*"}, dims={"P": (0, 4, 16), "S": 1})
@pytest.mark.trt_generate(prompt=4, steps=2, prefill="prefill.onnx")
def test_m(trt_runner): trt_runner.measure()
"""
    )
    result = project.runpytest_inprocess("--trt-prebuild", "--trt-cache-dir=engines", "--trt-max-time=0.1")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["trt: built 2 engines on 1 device in *"])
