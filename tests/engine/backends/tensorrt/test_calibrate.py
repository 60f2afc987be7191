"""Test to which model a calibration cache of TensorRT belongs. tests/gpu writes and reads such caches."""

from __future__ import annotations

import pytest

from pytest_trt.engine.backends.tensorrt.calibrate import check_calibration_cache
from pytest_trt.errors import BuildError

TENSORS = {"x", "conv_out", "relu_out", "y"}


def cache(*names: str) -> bytes:
    return "\n".join(["TRT-8600-EntropyCalibration2", *(f"{name}: 3c010a14" for name in names), ""]).encode()


@pytest.mark.parametrize("names", [("x", "conv_out", "relu_out", "y"), ("x", "y"), ("x", "y", "(Unnamed Layer* 1)")])
def test_cache_with_scales_of_the_models_tensors_is_accepted(names: tuple[str, ...]) -> None:
    check_calibration_cache(cache(*names), TENSORS, "m.onnx")


@pytest.mark.parametrize("names", [(), ("x",), ("x", "conv1", "relu1"), ("a", "b", "c")])
def test_cache_of_another_model_is_an_error(names: tuple[str, ...]) -> None:
    with pytest.raises(BuildError, match=r"belongs to another model: it has scales for [01] of 4 tensors of m\.onnx"):
        check_calibration_cache(cache(*names), TENSORS, "m.onnx")


def test_tensor_names_may_contain_colons() -> None:
    check_calibration_cache(cache("net/x:0", "net/y:0"), {"net/x:0", "net/y:0"}, "m.onnx")
