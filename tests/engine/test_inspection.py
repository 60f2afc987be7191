"""Test what is read from a model's file and a plan's header."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from samples.models import layers_model

from pytest_trt.core.model_facts import TensorFacts
from pytest_trt.engine.inspection import inspect_model, inspect_plan, is_plan
from pytest_trt.errors import BackendError, ModelError

HEADER = b"ftrt" + bytes(20) + struct.pack("4B", 10, 9, 0, 34) + bytes(36)


def test_facts_of_a_model_with_external_data(tmp_path: Path) -> None:
    model = layers_model()
    model.producer_name, model.producer_version = "pytorch", "2.9"
    model.graph.node.append(helper.make_node("Vendor", ["x"], ["z"], "v", domain="vendor"))
    model.opset_import.append(helper.make_opsetid("vendor", 3))
    odd = {"nan": np.float32([np.nan, 1]), "large": np.float32([7e4]), "half": np.float16([2, -3]), "text": ["a"]}
    model.graph.initializer.extend(numpy_helper.from_array(np.array(value), name) for name, value in odd.items())
    path = tmp_path / "m.onnx"
    onnx.save(model, str(path), save_as_external_data=True, location="m.data", size_threshold=1024)
    facts = inspect_model(path, "models/m.onnx", "fp32")
    assert facts.external == ("m.data",)
    assert facts.bytes == path.stat().st_size + (tmp_path / "m.data").stat().st_size
    assert (facts.opsets, facts.producer) == ({"ai.onnx": 17, "vendor": 3}, "pytorch 2.9")
    assert facts.inputs == (TensorFacts(name="x", dtype="float32", dims=("N", "32")),)
    assert facts.operators == {"MatMul": 2, "Relu": 2, "Vendor": 1}
    floats, halves, texts = facts.weights
    assert (floats.dtype, floats.tensors, floats.values, floats.high) == ("float32", 4, 2 * 32 * 32 + 3, 7e4)
    assert (floats.not_finite, floats.beyond_fp16) == (("nan",), ("large",))
    assert (halves.dtype, halves.low, halves.high, halves.bytes) == ("float16", -3, 2, 4)
    assert (texts.dtype, texts.low) == ("string", None)
    assert facts.marker.startswith("@pytest.mark.trt_engine('models/m.onnx', dims={'N': ")
    (tmp_path / "m.data").unlink()
    with pytest.raises(ModelError, match=r"keeps weights in 'm\.data', which is not in .*copy it beside the model"):
        inspect_model(path, "m.onnx", "fp32")


def test_a_weight_that_contradicts_its_shape_is_named(save_model: Callable[..., Path]) -> None:
    path = save_model()
    model = onnx.load(path)
    model.graph.initializer[1].dims[0] = 31
    path.write_bytes(model.SerializeToString())
    with pytest.raises(ModelError, match=r"weight 'w1' cannot be read: .*: export the model again"):
        inspect_model(path, "m.onnx", "fp32")


def test_plans_are_known_by_their_header_whatever_their_name(tmp_path: Path) -> None:
    plan, model = tmp_path / "m.bin", tmp_path / "m.engine"
    plan.write_bytes(HEADER)
    model.write_bytes(b"ONNX")
    assert is_plan(plan)
    facts = inspect_plan(plan)
    assert (facts.product, facts.version, facts.capabilities, facts.bytes) == ("TensorRT", "10.9.0.34", (), 64)
    assert is_plan(model)
    with pytest.raises(BackendError, match="is not a TensorRT plan"):
        inspect_plan(model)
    with pytest.raises(ModelError, match="cannot be read: No such file"):
        is_plan(tmp_path / "absent.onnx")
