"""Test invalid input on a GPU in whole runs: each mistake fails its own test, and the next test passes."""

from __future__ import annotations

import os
import re
import textwrap

import onnx
import pytest
from gpu_workshop import FAULT, Workshop, conv_model

TESTS = """
import numpy as np
import pytest
from pytest_trt.engine.backends import cuda

pytestmark = pytest.mark.trt_engine(
    "conv.onnx", shapes={"x": ((1, 3, 32, 32), (32, 3, 32, 32), (32, 3, 32, 32))}, optimization_level=0
)
X = np.random.default_rng(0).standard_normal((32, 3, 32, 32)).astype(np.float32)
STRAY = {"x": np.full_like(X, 13)}

def batches():
    yield {"x": X}
    yield {"x": X[::-1]}
    raise OSError("the camera is gone")

def test_dtype(trt_runner): trt_runner({"x": X.astype(np.float16)})
def test_shape(trt_runner): trt_runner({"x": np.ones((33, 3, 32, 32), np.float32)})
def test_name(trt_runner): trt_runner({"X": X})
def test_nan(trt_runner): trt_runner({"x": np.where(X > 2, np.nan, X)})
def test_nan_measured(trt_runner): trt_runner.measure({"x": np.where(X > 2, np.nan, X)})
def test_contiguous(trt_runner):
    transposed = X[:, :, ::-1].transpose(0, 1, 3, 2)
    assert not transposed.flags.c_contiguous
    plain = trt_runner({"x": np.ascontiguousarray(transposed)})["y"]
    np.testing.assert_array_equal(trt_runner({"x": transposed})["y"], plain)

def test_generator(trt_runner):
    outputs = trt_runner.stream(batches())
    np.testing.assert_allclose(next(outputs)["y"], next(outputs)["y"][::-1], rtol=5e-3, atol=5e-3)
    next(outputs)

@pytest.mark.trt_pipeline(contexts=64, depth=64)
def test_memory(trt_runner):
    cuda.device("0").activate()
    hog = cuda.DeviceBuffer(cuda.memory_info()[0] - 2 * 2**30)  # enough left for a process, not for all buffers
    try:
        trt_runner({"x": X})
    finally:
        hog.close()

def test_after_memory(trt_runner): trt_runner.measure()

@pytest.mark.trt_pipeline(cuda_graph=False)
def test_sticky(trt_runner):
    trt_runner({"x": X})
    trt_runner(STRAY)

def test_after_sticky(trt_runner): trt_runner.measure()
"""

STRAY = 'import sys\n\nif "pytest_trt.measure.probe" in sys.orig_argv:\n' + textwrap.indent(FAULT, "    ")
"""A sitecustomize module that makes the device of every probe fail permanently at one input."""


@pytest.mark.serial
def test_each_mistake_fails_only_its_own_test(
    project: pytest.Pytester, workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    onnx.save(conv_model(), str(project.path / "conv.onnx"))
    project.makepyfile(test_m=TESTS, sitecustomize=STRAY)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, (str(project.path), os.environ.get("PYTHONPATH")))))
    result = project.runpytest_subprocess(f"--trt-backend={workshop.name}", "--trt-baseline=off")
    out = result.stdout.str()
    print(out)
    passing = ("test_contiguous", "test_after_memory", "test_after_sticky")
    messages = {
        "test_dtype": "InputError: input 'x' is float16: it must be float32 (astype it)",
        "test_shape": "InputError: no profile of the engine covers 'x' (33, 3, 32, 32)",
        "test_name": "InputError: the engine has no input 'X'",
        "test_nan": "InputError: input 'x' holds ",
        "test_nan_measured": "InputError: input 'x' holds ",
        "test_generator": "OSError: the camera is gone",
        "test_memory": "free: ",
        "test_sticky": "(an illegal memory access was encountered): the CUDA context of this process is lost",
    }
    result.assert_outcomes(passed=len(passing), failed=len(messages))
    sections = dict(re.findall(r"^_{3,} (\S+) _{3,}$(.*?)(?=^_{3,} |^={3,} )", out, re.MULTILINE | re.DOTALL))
    for name, text in messages.items():
        assert text in sections[name], name
    assert "was lost in" not in out, "the GPU still works"
