"""Test build options: in markers, in engines that TensorRT-RTX builds ahead of time, and where they are invalid."""

from __future__ import annotations

import importlib.util
import json

import pytest
from samples.pytest_runs import error_of_each_test

AHEAD = ("--trt-backend=tensorrt_rtx", "--trt-build-only", "--trt-cache-dir=engines", "--trt-compute-capability=89")
NEEDS_RTX = pytest.mark.skipif(
    importlib.util.find_spec("tensorrt_rtx") is None, reason="needs the package tensorrt_rtx"
)


def metas(project):
    """Return the meta.json of each engine in the cache."""
    return [json.loads(path.read_text()) for path in (project.path / "engines").glob("*/meta.json")]


@NEEDS_RTX
def test_each_combination_of_options_has_its_own_engine(project):
    project.makepyfile(
        test_m="""
import pytest

@pytest.mark.trt_engine("m.onnx", dims={"N": (1, 4, 8)}, memory_pool_bytes={"workspace": 2**26}, weight_streaming=True)
@pytest.mark.trt_matrix(max_aux_streams=[0, 1])
def test_m(trt_engine): pass
"""
    )
    project.runpytest_inprocess(*AHEAD).assert_outcomes(passed=2)
    built = [meta["spec"] for meta in metas(project)]
    assert sorted(spec["max_aux_streams"] for spec in built) == [0, 1]
    assert all(spec["memory_pool_bytes"] == {"workspace": 2**26} and spec["weight_streaming"] for spec in built)


@NEEDS_RTX
def test_unsupported_options_fail_only_their_own_tests(project):
    (project.path / "broken.so").write_bytes(b"nothing")
    project.makepyfile(
        test_m="""
import pytest

engine = lambda **spec: pytest.mark.trt_engine("m.onnx", dims={"N": (1, 4, 8)}, **spec)

@engine()
def test_good(trt_engine): pass
@engine(tactic_sources=("CUBLAS",))
def test_source(trt_engine): pass
@engine(layer_precisions={"*": "fp32"})
def test_layers(trt_engine): pass
@engine(dla_core=0)
def test_dla(trt_engine): pass
@engine(plugins="broken.so")
def test_plugin(trt_engine): pass
@engine(plugins="absent.so")
def test_no_plugin(trt_engine): pass
@engine(timing_cache="mine.cache")
def test_timings(trt_engine): pass
@engine(workspace_mb=1, optimization_level=0, memory_pool_bytes={"tactic_dram": 1000})
def test_pool(trt_engine): pass
@engine(build_timeout_s=0.001, sparsity=True)
def test_time(trt_engine): pass
"""
    )
    result = project.runpytest_inprocess(*AHEAD)
    result.assert_outcomes(passed=1, failed=8)
    errors = error_of_each_test(result)
    for name, message in {
        "test_source": "tactic_sources: 'CUBLAS' is not in tensorrt_rtx",
        "test_layers": "layer_precisions is not in tensorrt_rtx",
        "test_dla": "dla_core is not in tensorrt_rtx",
        "test_plugin": "cannot be loaded by tensorrt_rtx",
        "test_no_plugin": "there is no plugin library 'absent.so'",
        "test_timings": "timing_cache is not in tensorrt_rtx",
        "test_pool": "tactic_dram=1000 was rejected by TensorRT",
        "test_time": "building m.onnx took longer than build_timeout_s=0.001 and was stopped",
    }.items():
        assert message in errors[name], errors[name]
    assert len(metas(project)) == 1


def test_one_marker_works_with_a_builder_and_with_onnx_runtime(project):
    """Options of a builder have no effect on a CPU, which is noted. A marker that contradicts itself is an error."""
    project.makepyfile(
        test_m="""
import pytest

@pytest.mark.trt_engine("m.onnx", dims={"N": (1, 4, 8)}, workspace_mb=64, plugins="only_on_the_gpu.so")
def test_m(trt_runner): trt_runner.measure()

@pytest.mark.trt_engine("m.onnx", dims={"N": (1, 4, 8)}, workspace_mb=64)
def test_without(trt_runner): trt_runner.measure()

@pytest.mark.trt_engine("m.onnx", dims={"N": (1, 4, 8)}, plugins="nowhere.so")
def test_absent(trt_runner): trt_runner.measure()
"""
    )
    (project.path / "only_on_the_gpu.so").write_bytes(b"a library")
    result = project.runpytest_subprocess("--trt-backend=onnxruntime", "--trt-max-time=0.5")
    result.assert_outcomes(passed=2, failed=1)
    note = "*ONNX Runtime has no builder, so these are without effect:"
    result.stdout.fnmatch_lines(["*there is no plugin library 'nowhere.so'*"])
    result.stdout.fnmatch_lines([f"{note} plugins, workspace_mb: test_m", f"{note} workspace_mb: test_without"])
    project.makepyfile(
        test_m="""
import pytest

@pytest.mark.trt_engine("m.onnx", backend="onnxruntime", workspace_mb=64)
def test_m(trt_runner): trt_runner.measure()
"""
    )
    result = project.runpytest_inprocess()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*backend='onnxruntime' does not support workspace_mb: remove these options*"])


def test_prebuilt_plan_rejects_build_options(project):
    (project.path / "m.plan").write_bytes(b"ftrt")
    project.makepyfile(
        test_m="""
import pytest

@pytest.mark.trt_engine("m.plan", refit=True)
def test_m(trt_runner): trt_runner.measure()
"""
    )
    result = project.runpytest_inprocess()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*the engine is a prebuilt plan, so refit would have no effect*"])
