"""Test whole numbers that a model carries in floats: they stay exact in half precision."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx.reference import ReferenceEvaluator
from samples.whole_numbers import KINDS, SCORES, Kind, node

from pytest_trt.engine.convert.half import convert

ROUNDING = {"fp16": 0.003, "bf16": 0.02}
"""The largest error in each precision, in relation to the largest number."""


@pytest.mark.parametrize("half", ROUNDING)
@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_whole_numbers_stay_exact(kind: Kind, half: Any, tmp_path: Path) -> None:
    """ONNX's evaluator rounds as the model declares. ONNX Runtime computes most of fp16 in float32 on a CPU."""
    onnx.save(kind.model(), tmp_path / "m.onnx")
    assert convert(tmp_path / "m.onnx", half, tmp_path / "h.onnx").shares[half] > 0
    got, expected = (ReferenceEvaluator(str(tmp_path / name)).run(None, kind.feed) for name in ("h.onnx", "m.onnx"))
    for one, other in zip(got, expected, strict=True):
        assert one.dtype == other.dtype
        assert np.abs(one - other).max() <= ROUNDING[half] * np.abs(other).max()


@pytest.mark.parametrize(("equation", "operands"), [("ij->ji", 1), ("ij->", 1), ("ij,jk,kl->il", 3), ("ij,ij->ij", 2)])
def test_einsum_reads_any_number_of_operands(equation: str, operands: int, tmp_path: Path) -> None:
    made = Kind([node("Einsum", ["x"] * operands, ["y"], equation=equation)], {"x": (SCORES, [6, 6])}).model()
    onnx.save(made, tmp_path / "m.onnx")
    assert convert(tmp_path / "m.onnx", "fp16", tmp_path / "h.onnx").shares == {"fp16": 1.0}
