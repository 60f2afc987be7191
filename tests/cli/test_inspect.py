"""Test `pytest-trt inspect`."""

from __future__ import annotations

import json
from pathlib import Path

import onnx
from onnx import TensorProto, helper
from samples.models import layers_model
from samples.runs import Run


def test_inspect_a_model_with_the_parser_of_a_backend(run: Run, tmp_path: Path) -> None:
    model = layers_model()
    onnx.save(model, str(tmp_path / "m.onnx"))
    status, out, _ = run("inspect", "m.onnx", "--backend=onnxruntime")
    assert status == 0
    assert "fp16: 0 of 4 nodes stay in fp32" in out
    assert "ONNX Runtime" in out
    assert "takes it" in out
    assert "@pytest.mark.trt_engine('m.onnx', dims={'N': (1, 8, 32)})" in out
    status, out, _ = run("inspect", "m.onnx", "--precision=best", "--backend=onnxruntime")
    assert (status, "precision='best' leaves the choice to the builder" in " ".join(out.split())) == (1, True)
    model.graph.node[1].op_type, model.graph.node[1].domain = "Vendor\x1b[31m", "vendor"
    model.opset_import.append(helper.make_opsetid("vendor", 1))
    onnx.save(model, str(tmp_path / "vendor.onnx"))
    status, out, _ = run("inspect", "vendor.onnx", "--precision=fp32", "--backend=tensorrt_rtx")
    assert (status, "\x1b" in out) == (1, False)
    assert "TensorRT-RTX 1." in out
    assert "refuses it" in out
    assert "Relu_0 (Vendor" in out
    status, out, _ = run("inspect", "m.onnx", "--precision=fp8", "--json")
    found = json.loads(out)
    assert (status, found["inputs"][0]["dims"], found["backend"]) == (1, ["N", "32"], None)
    assert "no Q/DQ in fp8" in found["precision"]["refusal"]


def test_inspect_the_header_of_a_plan(run: Run, tmp_path: Path) -> None:
    (tmp_path / "m.plan").write_bytes(b"ftrt" + bytes(20) + bytes((10, 9, 0, 34)) + bytes(36))
    status, out, _ = run("inspect", "m.plan", "--backend=onnxruntime")
    assert status == 1
    assert "m.plan: a plan of TensorRT 10.9.0.34, 64 B" in out
    assert "ONNX Runtime runs no plans" in out
    assert run("inspect", "m.plan")[0] == 0


def test_inspect_reports_a_file_that_is_no_model(run: Run, tmp_path: Path) -> None:
    (tmp_path / "broken.onnx").write_bytes(layers_model().SerializeToString()[:-9])
    (tmp_path / "empty.onnx").touch()
    for name, message in (
        ("absent.onnx", "there is no model 'absent.onnx'"),
        (".", "is a folder"),
        ("broken.onnx", "is no ONNX model, or was cut short"),
        ("empty.onnx", "is empty"),
    ):
        status, _, err = run("inspect", name)
        assert (status, message in err) == (2, True), err
    assert "choose from" in run("inspect", "empty.onnx", "--backend=trt")[2]
    assert "--python is 'nopython'" in run("inspect", "empty.onnx", "--python=nopython")[2]


def test_precision_that_nobody_named_refuses_nothing(run):
    value = helper.make_tensor_value_info("x", TensorProto.INT64, [2])
    output = helper.make_tensor_value_info("y", TensorProto.INT64, [2])
    graph = helper.make_graph([helper.make_node("Add", ["x", "x"], ["y"])], "g", [value], [output])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), "whole.onnx")
    status, out, _ = run("inspect", "whole.onnx")
    assert (status, "fp16: refused" in out) == (0, True)
    assert run("inspect", "whole.onnx", "--precision=fp16")[0] == 1
