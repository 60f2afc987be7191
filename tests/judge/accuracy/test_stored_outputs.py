"""Test the stored outputs of a baseline: small, exact, and as strict as whole outputs."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import numpy as np
import pytest

from pytest_trt.core import codec
from pytest_trt.core.stored_output import StoredOutput
from pytest_trt.errors import BaselineError
from pytest_trt.judge.accuracy.allowed_error import DEFAULTS, AccuracyLimits
from pytest_trt.judge.accuracy.stored_outputs import SAMPLE, judge, store

EXACT = AccuracyLimits(0.0, 0.0, None, atol_scaled=False)


def noise(shape: tuple[int, ...] = (3, 4000)) -> Any:
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def stored_and_read(outputs: dict[str, Any]) -> dict[str, StoredOutput]:
    """Return the outputs as they are stored and read again."""
    written = json.loads(json.dumps(codec.encode(store(outputs))))
    return {name: codec.decode(StoredOutput, stored) for name, stored in written.items()}


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16", "int64", "uint8", "bool"])
@pytest.mark.parametrize("shape", [(3, 4000), (7,), ()])
def test_equal_outputs_are_the_same_bit_for_bit(dtype: str, shape: tuple[int, ...]) -> None:
    import ml_dtypes

    array = (10 * noise(shape)).astype(np.int64).clip(0).astype(np.dtype(getattr(ml_dtypes, dtype, dtype)))
    (verdict,) = judge({"y": array}, stored_and_read({"y": array}), EXACT, "the baseline")
    assert (verdict.status, verdict.text) == ("ok", "output 'y' is the same as the baseline's bit for bit")


def test_stored_size_is_bounded() -> None:
    assert len(json.dumps(codec.encode(store({"y": noise((100, 4000))})))) < 12 * SAMPLE


def test_difference_is_shown_with_its_index_in_the_whole_output() -> None:
    reference, output = noise(), noise()
    index = np.unravel_index(600 * output.size // SAMPLE, output.shape)
    output[index] += 100
    (verdict,) = judge({"y": output}, stored_and_read({"y": reference}), DEFAULTS["fp16"], "the baseline")
    assert verdict.status == "inaccurate"
    assert any(line.startswith(f"at [{index[0]}, {index[1]}]: ") for line in verdict.details)
    assert f"compared {SAMPLE} of 12000 elements" in verdict.details


def test_output_within_tolerance_is_ok_and_counts_compared_elements() -> None:
    (verdict,) = judge({"y": noise() * 1.0001}, stored_and_read({"y": noise()}), DEFAULTS["fp16"], "the baseline")
    assert verdict.status == "ok"
    assert verdict.details[-1] == f"compared {SAMPLE} of 12000 elements"


def test_integers_are_exact() -> None:
    reference = np.arange(100, dtype=np.int64) + 2**53
    (verdict,) = judge({"y": reference + 1}, stored_and_read({"y": reference}), DEFAULTS["fp16"], "the baseline")
    assert verdict.status == "inaccurate"


def test_missing_outputs_and_wrong_shapes_are_named() -> None:
    verdicts = judge({"y": noise((2, 2))}, stored_and_read({"y": noise(), "z": noise()}), EXACT, "the baseline")
    assert [verdict.status for verdict in verdicts] == ["inaccurate"] * 2
    assert "(2, 2), but (3, 4000) in the baseline" in verdicts[0].text
    assert "no output 'z'" in verdicts[1].text


@pytest.mark.parametrize("shape", [(2**62,) * 100_000, (-1, 4), (1,) * 65])
def test_impossible_stored_shape_is_an_error(shape: tuple[int, ...]) -> None:
    """The size of the first shape has 6 million bits, and takes minutes to compute."""
    stored = dataclasses.replace(store({"y": noise()})["y"], shape=shape)
    with pytest.raises(BaselineError, match="the stored output 'y' has the shape"):
        judge({"y": noise()}, {"y": stored}, EXACT, "the baseline")


@pytest.mark.parametrize("change", [{"values": "?"}, {"values": "AAAA"}, {"values": ""}, {"shape": (1, 1)}])
def test_invalid_stored_output_is_an_error(change: dict[str, Any]) -> None:
    stored = dataclasses.replace(store({"y": noise()})["y"], sha256="", **change)
    subject = np.zeros(stored.shape, np.float32)
    with pytest.raises(BaselineError, match="the stored output 'y'"):
        judge({"y": subject}, {"y": stored}, EXACT, "the baseline")
