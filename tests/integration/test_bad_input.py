"""Test invalid input: one error each, with the test, the cause and the remedy, without a traceback of ours."""

from __future__ import annotations

import json
import sys

import onnx
import pytest
from onnx import TensorProto, helper
from samples.pytest_runs import ENGINE, MEASURES, error_of_each_test


def test_invalid_models_shapes_and_inputs(project):
    node = helper.make_node("Frobnicate", ["x"], ["y"], name="Frob_0")
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 4]) for name in "xy")
    graph = helper.make_graph([node], "g", [x], [y])
    unsupported = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(unsupported, str(project.path / "op.onnx"))
    whole = (project.path / "m.onnx").read_bytes()
    (project.path / "cut.onnx").write_bytes(whole[:300])
    (project.path / "empty.onnx").write_bytes(b"")
    project.makepyfile(
        test_m="""
import numpy as np
import pytest

engine = pytest.mark.trt_engine
dims = {"N": (1, 4, 8)}

def ones(*shape, dtype=np.float32): return np.ones(shape, dtype)
def broken(): raise ValueError("no weights today")

@engine("mm.onnx")
def test_missing(trt_runner): trt_runner.measure()
@engine("mm.onnx")
def test_missing_in_a_fixture(trt_engine): pass
@engine("cut.onnx")
def test_cut(trt_runner): trt_runner.measure()
@engine("empty.onnx")
def test_empty(trt_runner): trt_runner.measure()
@engine("op.onnx")
def test_operator(trt_runner): trt_runner.measure()
@engine("m.onnx", shapes={"x": (4, 33)})
def test_shape(trt_runner): trt_runner.measure()
@engine("m.onnx", shapes={"z": (4, 32)})
def test_name(trt_runner): trt_runner.measure()
@engine("m.onnx", dims={"M": (1, 4, 8)})
def test_dimension(trt_runner): trt_runner.measure()
@engine("m.onnx")
def test_dynamic(trt_runner): trt_runner.measure()
@engine("m.onnx", dims=dims)
def test_array_name(trt_runner): trt_runner({"z": ones(4, 32)})
@engine("m.onnx", dims=dims)
def test_array_shape(trt_runner): trt_runner({"x": ones(4, 31)})
@engine("m.onnx", dims=dims)
def test_array_dtype(trt_runner): trt_runner({"x": ones(4, 32, dtype=np.float64)})
@engine("m.onnx", dims=dims)
@pytest.mark.trt_matrix(batch=[99])
def test_outside(trt_runner): trt_runner.measure()
@engine("m.onnx", dims=dims)
def test_twice(trt_runner):
    trt_runner.measure()
    trt_runner.measure()
@engine("m.onnx", dims=dims, input_ranges={"q": (0, 1)})
def test_range(trt_runner): trt_runner.measure()
"""
    )
    result = project.runpytest_subprocess("--trt-baseline=off")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    errors = error_of_each_test(result)
    expected = {
        "test_missing": "ModelError: there is no model 'mm.onnx' (did you mean 'm.onnx'?)",
        "test_missing_in_a_fixture": "ModelError: there is no model 'mm.onnx' (did you mean 'm.onnx'?)",
        "test_cut": "cut.onnx is no ONNX model, or was cut short at 300 bytes",
        "test_empty": "empty.onnx",
        "test_operator": 'In Node, ("Frob_0", Frobnicate',
        "test_shape": "ModelError: shapes['x'] has (4, 33): the model's input is (N, 32)",
        "test_name": "ModelError: shapes: m.onnx has no input 'z': it has 'x'",
        "test_dimension": "'M'",
        "test_dynamic": "dimension 'N' of input 'x' of m.onnx is dynamic, and nothing defines its size: write dims=",
        "test_array_name": "InputError: the engine has no input 'z': it has 'x'",
        "test_array_shape": "InputError: input 'x' has the shape (4, 31): it must be (4, 32)",
        "test_array_dtype": "InputError: input 'x' is float64: it must be float32 (astype it)",
        "test_outside[b99]": "99",
        "test_twice": "DeclarationError: measure() was called twice in one test",
        "test_range": "'q'",
    }
    assert set(errors) == set(expected)
    for name, message in expected.items():
        assert message in errors[name], name


@pytest.mark.way_past("a baseline that is no JSON, empty, a folder, of another format or unreadable", "`error`")
def test_unreadable_baseline_names_the_file_and_the_remedy(project, save_baselines, verdicts):
    project.makepyfile(test_m=ENGINE + MEASURES)
    save_baselines()
    (file,) = (project.path / ".trt-baselines").rglob("test_m-*.json")
    whole = json.loads(file.read_text())
    endless = {**whole["figures"]["ms"], "high": 1e400}
    for content, message in (
        (file.read_text()[:200], "is not JSON"),
        (f"<<<<<<< HEAD\n{file.read_text()}=======\n", "holds a merge conflict: take either side whole"),
        (json.dumps({**whole, "schema": 99}), "has schema 99, and this pytest-trt reads up to 1: upgrade pytest-trt"),
        (json.dumps({**whole, "node_id": 7}), "Baseline.node_id must be of type str, not 7"),
        (json.dumps({**whole, "figures": {"ms": endless}}), "must be a finite number"),
        ("[" * 100_000, "bytes, but at most"),
    ):
        file.write_text(content)
        result = project.runpytest_subprocess()
        result.assert_outcomes(failed=1)
        assert f"{file.name}" in error_of_each_test(result)["test_m"]
        assert message in error_of_each_test(result)["test_m"]
        assert verdicts() == {"test_m": ["error"]}
        assert file.read_text() == content


def test_unwritable_cache_is_an_error(project):
    project.makepyfile(test_m=ENGINE + MEASURES)
    (project.path / "file").write_text("")
    for folder in ("file/cache", "/sys/pytest-trt"):  # not even root can write to the latter
        result = project.runpytest_inprocess(f"--trt-cache-dir={folder}")
        result.assert_outcomes(failed=1)
        error = error_of_each_test(result)["test_m"]
        assert "CacheError: engine cache " in error
        assert "name another with --trt-cache-dir" in error


def test_full_disk_leaves_no_partial_files(project):
    """A limit on the size of files simulates a full disk. Output goes through a pipe, which has no such limit.

    Python must not write bytecode: it would leave truncated files in the package for later processes to load.
    """
    fill = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))"
    project.makepyfile(
        test_build=ENGINE + MEASURES,
        test_store=f"{ENGINE}def test_m(trt_runner):\n    trt_runner.measure()\n    {fill}\n",
    )
    pytest_m = f"PYTHONDONTWRITEBYTECODE=1 {sys.executable} -m pytest"
    result = project.run("sh", "-c", f"(ulimit -f 8; {pytest_m} test_build.py --trt-cache-dir=own) | cat")
    result.assert_outcomes(failed=1)
    assert "CacheError: " in error_of_each_test(result)["test_m"]
    assert "File too large: make space, or name another" in error_of_each_test(result)["test_m"]
    left = [f for f in (project.path / "own").rglob("*") if f.is_file() and "locks" not in f.parts]
    assert left == [project.path / "own" / "CACHEDIR.TAG"]

    result = project.run("sh", "-c", f"{pytest_m} test_store.py --trt-baseline-save --trt-report=html:x.html | cat")
    result.assert_outcomes(passed=1, errors=1)
    assert "BaselineError: " in error_of_each_test(result)["ERROR at teardown of test_m"]
    assert "File too large" in error_of_each_test(result)["ERROR at teardown of test_m"]
    result.stdout.fnmatch_lines(["ERROR: a report cannot be written: *File too large*make space*"])
    assert not [f for f in (project.path / ".trt-baselines").rglob("*") if f.is_file()]
    assert not list(project.path.glob("*x.html*"))


def test_invalid_int8_calibrations(project):
    """Each is one clear error; the session continues, and no failed engine is in the cache."""
    (project.path / "entropy.calib").write_text("TRT-8600-EntropyCalibration2\nx: 3c010a14\n")
    project.makepyfile(
        test_m="""
import functools
import itertools
import numpy as np
import pytest

def engine(**spec): return pytest.mark.trt_engine("m.onnx", dims={"N": (1, 4, 8)}, precision="int8", **spec)
def yields(*shape, value=1):
    return lambda: [{"x": np.full(size, by, np.float32)} for size, by in (((4, 32), 1), (shape, value))]
def leaves():
    raise SystemExit("no pictures")
class Pictures:
    def __call__(self): return yields(4, 32)()
def fails():
    yield {"x": np.ones((4, 32), np.float32)}
    raise OSError("the disk with the pictures is gone")

@engine()
def test_uncalibrated(trt_runner): trt_runner.measure()
@engine(calibration=fails)
def test_fails(trt_runner): trt_runner.measure()
@engine(calibration=leaves)
def test_leaves(trt_runner): trt_runner.measure()
@engine(calibration=lambda: itertools.repeat({"x": np.ones((4, 32), np.float32)}), build_timeout_s=0.2)
def test_endless(trt_runner): trt_runner.measure()
@engine(calibration=list)
def test_nothing(trt_runner): trt_runner.measure()
@engine(calibration=yields(4, 31))
def test_shape(trt_runner): trt_runner.measure()
@engine(calibration=yields(4, 32, value=np.nan))
def test_nan(trt_runner): trt_runner.measure()
@engine(calibration=yields(4, 32, value=np.inf))
def test_infinite(trt_runner): trt_runner.measure()
@engine(calibration=lambda: 5)
def test_number(trt_runner): trt_runner.measure()
@engine(calibration=lambda: [5])
def test_numbers(trt_runner): trt_runner.measure()
@engine(calibration=lambda: [{"x": np.random.standard_normal((4, 32)).astype(np.float32)}])
def test_unseeded(trt_runner): trt_runner.measure()
@engine(calibration="entropy.calib")
def test_cache(trt_runner): trt_runner.measure()
@engine(calibration="random", calibrator="entropy")
def test_calibrator(trt_runner): trt_runner.measure()
@engine(calibration=functools.partial(yields(4, 32)))
def test_partial(trt_runner): trt_runner.measure()
@engine(calibration=Pictures())
def test_object(trt_runner): trt_runner.measure()
@engine(calibration="random")
def test_calibrated(trt_runner): trt_runner.measure()
"""
    )
    result = project.runpytest_subprocess("--trt-baseline=off", "--trt-cache-dir=own")
    result.assert_outcomes(failed=13, passed=3)
    errors = error_of_each_test(result)
    expected = {
        "test_uncalibrated": "int8 needs a model with Q/DQ, or inputs to calibrate on, and m.onnx has neither",
        "test_fails": "int8 calibration of m.onnx: the function raised OSError: the disk with the pictures is gone",
        "test_leaves": "int8 calibration of m.onnx: the function raised SystemExit: no pictures",
        "test_endless": "int8 calibration of m.onnx has not ended after ",
        "test_nothing": "int8 calibration of m.onnx: the function yielded nothing: let it yield some inputs",
        "test_shape": "int8 calibration of m.onnx, batch 2: input 'x' has the shape (4, 31): it must be (-1, 32)",
        "test_nan": "int8 calibration of m.onnx, batch 2: input 'x' holds 128 NaN of 128 values",
        "test_infinite": "int8 calibration of m.onnx, batch 2: input 'x' holds infinities, which have no range",
        "test_number": "int8 calibration of m.onnx: the function returned int: it must yield dicts of arrays",
        "test_numbers": "int8 calibration of m.onnx, batch 1: the inputs are of type int: give a dict of numpy arrays",
        "test_unseeded": "int8 calibration of m.onnx: the function yields different inputs at each call: seed it",
        "test_cache": "entropy.calib' is a calibration cache, which TensorRT's own calibrators read",
        "test_calibrator": "TensorRT's own calibration, which TensorRT from 8.6 to before 11.0 has: leave it out",
    }
    assert set(errors) == set(expected)
    for name, message in expected.items():
        assert message in errors[name], name
    assert len([entry for entry in (project.path / "own").iterdir() if len(entry.name) == 64]) == 2


def test_spec_fixture_that_returns_no_spec_is_an_error(project):
    project.makepyfile(
        test_m="import pytest\n@pytest.fixture\ndef trt_spec(): pass\ndef test_m(trt_runner): trt_runner.measure()\n"
    )
    result = project.runpytest_subprocess()
    result.assert_outcomes(failed=1)
    assert "the fixture trt_spec returned None: return a pytest_trt.EngineSpec" in error_of_each_test(result)["test_m"]
