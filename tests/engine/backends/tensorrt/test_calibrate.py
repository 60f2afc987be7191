"""Calibration caches of TensorRT's: whose they are. That they are written and read is tested on a GPU."""

from __future__ import annotations

import pytest

from pytest_trt.engine.backends.tensorrt.calibrate import check_calibration_cache
from pytest_trt.errors import BuildError

TENSORS = {"x", "conv_out", "relu_out", "y"}


def cache(*names: str) -> bytes:
    return "\n".join(["TRT-8600-EntropyCalibration2", *(f"{name}: 3c010a14" for name in names), ""]).encode()


@pytest.mark.parametrize("names", [("x", "conv_out", "relu_out", "y"), ("x", "y"), ("x", "y", "(Unnamed Layer* 1)")])
def test_a_cache_that_knows_the_tensors_is_the_models(names: tuple[str, ...]) -> None:
    check_calibration_cache(cache(*names), TENSORS, "m.onnx")


@pytest.mark.parametrize("names", [(), ("x",), ("x", "conv1", "relu1"), ("a", "b", "c")])
def test_a_cache_of_another_model_is_refused(names: tuple[str, ...]) -> None:
    with pytest.raises(BuildError, match=r"belongs to another model: it has scales for [01] of 4 tensors of m\.onnx"):
        check_calibration_cache(cache(*names), TENSORS, "m.onnx")


def test_names_may_hold_colons() -> None:
    check_calibration_cache(cache("net/x:0", "net/y:0"), {"net/x:0", "net/y:0"}, "m.onnx")
