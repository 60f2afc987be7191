"""Test integer masks: they become half precision, unlike other whole numbers of unknown size."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx.reference import ReferenceEvaluator
from samples.whole_numbers import Kind, node, number

from pytest_trt.engine.convert.half import convert

MASK = np.array([[1, 1, 0, 1, 1, 0], [1, 1, 1, 1, 1, 0]])
IS_FLOAT = node("Cast", ["m"], ["f"], to=1)
ROWS = {"m": (MASK, ["B", "S"]), "x": (np.random.default_rng(0).standard_normal((2, 3, 6)).astype(np.float32),
                                       ["B", 3, "S"])}  # fmt: skip
HIDING = [node("Sub", ["one", "f"], ["h"]), node("Mul", ["h", "large"], ["n"]), node("Unsqueeze", ["n", "axis"], ["u"]),
          node("Add", ["x", "u"], ["s"]), node("Softmax", ["s"], ["y"])]  # fmt: skip
KINDS = {
    "hiding with -10000": Kind([IS_FLOAT, *HIDING], ROWS, {"one": number(1), "axis": [1], "large": number(-1e4)}),
    "hiding with -1e38": Kind([IS_FLOAT, *HIDING], ROWS,
                                           {"one": number(1), "axis": [1], "large": number(-1e38)}),
    "multiplied": Kind([IS_FLOAT, node("Unsqueeze", ["f", "axis"], ["u"]), node("Mul", ["x", "u"], ["p"]),
                        node("Relu", ["p"], ["y"])], ROWS, {"axis": [1]}),
}  # fmt: skip


@pytest.mark.parametrize("half", ["fp16", "bf16"])
@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_masks_become_half_precision(kind: Kind, half: Any, tmp_path: Path) -> None:
    onnx.save(kind.model(), tmp_path / "m.onnx")
    assert convert(tmp_path / "m.onnx", half, tmp_path / "h.onnx").shares[half] >= 0.75
    types = onnx.shape_inference.infer_shapes(onnx.load(tmp_path / "h.onnx")).graph.value_info
    halves = {value.name for value in types if value.type.tensor_type.elem_type != onnx.TensorProto.FLOAT}
    assert halves >= {"s"} or halves >= {"p"}
    got, expected = (ReferenceEvaluator(str(tmp_path / name)).run(None, kind.feed)[0] for name in ("h.onnx", "m.onnx"))
    assert np.abs(got - expected).max() < 0.02
