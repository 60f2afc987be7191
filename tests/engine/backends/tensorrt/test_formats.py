"""Test the formats of inputs and outputs, parsed from TensorRT's descriptions.

The descriptions are those of libnvinfer 8.6.0 and of the lean runtime 10.16.1.
"""

from __future__ import annotations

import pytest

from pytest_trt.engine.backends.tensorrt.formats import parse_format_description
from pytest_trt.errors import BackendError
from pytest_trt.pipeline.formats import storage_shape


@pytest.mark.parametrize(
    ("description", "name"),
    [
        ("Row major linear FP32 format (kLINEAR)", "linear"),
        ("Row major linear FP16 format", "linear"),
        ("Row major linear Int32", "linear"),
        ("Two wide channel vectorized row major FP16 format (kCHW2)", "chw2"),
        ("Two wide channel vectorized row major FP16 format", "chw2"),
        ("Four wide channel vectorized row major Int8 format", "chw4"),
        ("Sixteen wide channel vectorized row major FP16 format", "chw16"),
        ("Thirty-two wide channel vectorized row major INT8 format (kCHW32)", "chw32"),
        ("Thirty-two wide channel vectorized row major FP16 format with 3 spatial dimensions", "cdhw32"),
        ("Thirty-two wide channel vectorized row major FP16 format (kCDHW32) with 3 spatial dimensions", "cdhw32"),
        ("Eight channel FP16 format (kHWC8) where C is padded to a multiple of 8", "hwc8"),
        ("Eight channel BF16 format (kDHWC8) where C is padded to a multiple of 8 and has 3 spatial dimensions",
         "dhwc8"),
        ("Channel major FP16 format where channel % 8 == 0", "hwc8"),
        ("Channel major FP16 format where C % 8 == 0", "hwc8"),
        ("Channel major BFloat16 format where channel % 8 == 0 with 3 spatial dimensions", "dhwc8"),
        ("Channel major FP32 format with 3 spatial dimensions where channel % 4 == 0", "dhwc4"),
        ("Channel major FP32 format", "hwc"),
        ("Channel major FP32 format with 3 spatial dimensions", "dhwc"),
        ("Non-vectorized channel-last FP32 format", "hwc"),
        ("Non-vectorized channel-last format", "hwc"),
        ("Non-vectorized channel-last format with 3 spatial dimensions", "dhwc"),
    ],
)  # fmt: skip
def test_description_is_parsed_to_a_format(description: str, name: str) -> None:
    assert parse_format_description(description) == name


@pytest.mark.parametrize(
    "description",
    [
        "Channel major FP16 format where C % 8 == 0 and H Stride % 32 == 0",
        "Channel major INT8 format where channel == 4 and column stride % 32 == 0",
        "Row major FP16 format where column stride % 64 == 0",
        "unknown",
    ],
)
def test_unnamed_formats_are_not_confused_with_others(description: str) -> None:
    with pytest.raises(BackendError, match="which is not supported for a tensor of 4 dimensions"):
        storage_shape((1, 8, 4, 4), parse_format_description(description))
