"""What outputs are held against, on inputs as an engine takes them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from onnx import TensorProto, helper, numpy_helper, save

from pytest_trt.bench import Bench
from pytest_trt.engine.model import read
from pytest_trt.references import reference_outputs
from pytest_trt.spec import Settings


def test_integers_are_as_wide_for_the_reference_as_in_the_model(tmp_path: Path) -> None:
    """TensorRT before 10 has no integers of 64 bits: what it was run on is int32."""
    table = numpy_helper.from_array(np.arange(8, dtype=np.float32), "table")
    ids = helper.make_tensor_value_info("ids", TensorProto.INT64, ["N"])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N"])
    graph = helper.make_graph([helper.make_node("Gather", ["table", "ids"], ["y"])], "g", [ids], [y], [table])
    path = tmp_path / "m.onnx"
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(path))
    inputs = {"ids": np.array([3, 1], np.int32)}
    with Bench(Settings(backend="onnxruntime")) as bench:
        outputs = reference_outputs("onnxruntime", inputs, read(path), {"ids": (2,)}, [tmp_path], bench)
    assert outputs["y"].tolist() == [3.0, 1.0]
    assert inputs["ids"].dtype == np.int32
