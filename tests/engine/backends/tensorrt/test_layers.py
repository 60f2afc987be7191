"""Test the inspector's JSON, as TensorRT 8.6 wrote it on an H200, and in the form of TensorRT 11."""

from __future__ import annotations

import dataclasses
import json

import pytest
from samples.inspector import CONV_86

from pytest_trt.core.precision import UNREPORTED
from pytest_trt.core.records import Layer
from pytest_trt.engine.backends.base import BuildReport
from pytest_trt.engine.backends.tensorrt.layers import parse_layers, precision_shares, read_inspector_json
from pytest_trt.engine.backends.tensorrt.precision import (
    missing_precision,
    unreported_precision_notes,
    with_precision_preferred,
)
from pytest_trt.spec.engine_spec import EngineSpec


def test_layer_of_tensorrt_8_6() -> None:
    text = json.dumps({"Layers": [CONV_86], "Bindings": ["x", "y"]}).replace(
        "\\u001e", "\x1e"
    )  # 8.6 does not escape it
    (layer,) = parse_layers(read_inspector_json(text))
    assert layer.name == "Conv_0 + Relu_1"
    assert layer.kind == "Convolution"
    assert layer.tactic.startswith("sm80_xmma_fprop")
    assert layer.precision == "fp16"
    assert layer.formats == (
        "Channel major FP16 format where channel % 4 == 0 -> Channel major FP16 format where channel % 8 == 0"
    )
    assert layer.nodes == ("Conv_0", "Relu_1")


def test_layer_of_tensorrt_11_has_separate_format_and_type() -> None:
    tensor = {"Name": "y", "Format": "Row major linear", "Datatype": "BFloat16"}
    layer = {"Name": "mm", "LayerType": "gemm", "Inputs": [tensor], "Outputs": [tensor], "TacticName": "t"}
    (found,) = parse_layers({"Layers": [layer], "I/O Tensors": []})
    assert (found.kind, found.precision) == ("gemm", "bf16")
    assert found.formats == "Row major linear BFloat16 -> Row major linear BFloat16"


def test_precision_comes_from_the_kernel_if_formats_lack_it() -> None:
    unknown = [{"Name": "y", "Format/Datatype": "N/A due to dynamic shapes"}]
    (layer,) = parse_layers({"Layers": [{**CONV_86, "Inputs": unknown, "Outputs": unknown}]})
    assert layer.precision == "fp16"


def test_nan_and_infinity_become_text() -> None:
    found = read_inspector_json('{"Layers": [{"Name": "scale", "Shift": NaN, "Power": -Infinity}], "Bindings": []}')
    assert found["Layers"] == [{"Name": "scale", "Shift": "NaN", "Power": "-Infinity"}]
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_layers_may_be_names_only() -> None:
    assert parse_layers({"Layers": ["a", "b"]}) == (Layer("a"), Layer("b"))
    assert parse_layers(read_inspector_json("")) == ()


@pytest.mark.parametrize(
    ("text", "precision"),
    [
        ("Row major linear FP32", "fp32"),
        ("Thirty-two wide channel vectorized row major Int8 format", "int8"),
        ("Row major linear BFloat16 format", "bf16"),
        ("Row major linear FP8 format", "fp8"),
        ("Row major Int32 format", ""),
    ],
)
def test_precisions_are_read_from_formats(text: str, precision: str) -> None:
    layer = {"Name": "l", "Inputs": [], "Outputs": [{"Format/Datatype": text}]}
    assert parse_layers({"Layers": [layer]})[0].precision == precision


def test_shares_count_the_layers_that_compute() -> None:
    layers = [Layer("a", precision="fp16"), Layer("b", precision="fp16"), Layer("c", precision="fp32"), Layer("d")]
    assert precision_shares(layers) == pytest.approx({"fp16": 2 / 3, "fp32": 1 / 3})
    assert precision_shares([Layer("d")]) == {}


def foreign(kind: str) -> dict[str, object]:
    """Return what the inspector reports of a fused part of the network: its name, its inputs and its outputs."""
    tensors = [{"Name": "tokens", "Dimensions": [1, 32, 128], "Format/Datatype": f"Row major linear {kind} format"}]
    return {"Name": "{ForeignNode[w1...layer1.Add_3]}", "LayerType": "Myelin", "Inputs": tensors, "Outputs": tensors}


def test_fused_layer_reports_only_the_precision_of_its_outputs() -> None:
    plain, half = parse_layers({"Layers": [foreign("FP32"), foreign("FP16")]})
    assert (plain.precision, half.precision) == (UNREPORTED, "fp16")
    assert precision_shares([plain, half, Layer("a", precision="fp32"), Layer("b")]) == {
        "fp16": pytest.approx(1 / 3), "fp32": pytest.approx(1 / 3), UNREPORTED: pytest.approx(1 / 3)
    }  # fmt: skip


def report(*layers: Layer, proved_by: str = "inspector") -> BuildReport:
    return BuildReport(1.0, 100, precision_shares(layers), proved_by, layers)


def test_missing_precision_is_an_error_but_unreported_is_a_note() -> None:
    single, fused = Layer("a", precision="fp32"), Layer("{ForeignNode[a...b]}", precision=UNREPORTED)
    half = EngineSpec(precision="fp16")
    assert missing_precision(half, report(single)).endswith("or force fp16 with layer_precisions={'*': 'fp16'}")
    assert missing_precision(half, report(single, proved_by="model")).endswith(
        "(there is 100% fp32): convert the model"
    )
    assert missing_precision(half, report(single, fused)) == ""
    (note,) = unreported_precision_notes(half, report(single, fused))
    assert note == (
        "whether the engine computes in fp16 is unknown: a fused layer holds a whole part of the network and does not "
        "report its precision"
    )
    assert unreported_precision_notes(half, report(Layer("a", precision="fp16"), fused)) == ()
    assert unreported_precision_notes(EngineSpec(), report(fused)) == ()


HALF, CALIBRATED = EngineSpec(precision="fp16"), EngineSpec(precision="int8", calibrator="entropy")
FLOAT = report(Layer("a", precision="fp32"))


@pytest.mark.parametrize("spec", [HALF, EngineSpec(precision="bf16"), CALIBRATED])
def test_requested_precision_is_preferred_in_every_layer(spec: EngineSpec) -> None:
    found = with_precision_preferred(spec, FLOAT)
    assert found is not None
    assert (found.layer_precisions, found.precision_constraints) == ({"*": spec.precision}, "prefer")
    assert dataclasses.replace(found, layer_precisions={}, precision_constraints="obey") == spec
    assert "no layer can compute in it, even if it is preferred" in missing_precision(found, FLOAT)


def test_own_preference_for_a_layer_is_kept() -> None:
    own = dataclasses.replace(HALF, layer_precisions={"head": "fp32"}, precision_constraints="prefer")
    found = with_precision_preferred(own, FLOAT)
    assert found is not None
    assert list(found.layer_precisions.items()) == [("*", "fp16"), ("head", "fp32")]  # the later entry overrides


@pytest.mark.parametrize(
    ("spec", "built", "remedy"),
    [
        (HALF, report(Layer("a", precision="fp32"), proved_by="model"), "convert the model"),
        (dataclasses.replace(HALF, timing_cache_mode="error_on_miss"), FLOAT, "layer_precisions={'*': 'fp16'}"),
        (dataclasses.replace(HALF, layer_precisions={"*": "fp32"}), FLOAT, "for layers in layer_precisions, too"),
        (dataclasses.replace(HALF, layer_output_types={"*": ("fp32",)}), FLOAT, "for layers in layer_precisions, too"),
        (EngineSpec(precision="int8"), FLOAT, "was faster in every layer: request it"),
        (EngineSpec(precision="fp8"), FLOAT, "was faster in every layer: request it"),
    ],
)
def test_precision_that_cannot_be_preferred_is_an_error_with_a_remedy(
    spec: EngineSpec, built: BuildReport, remedy: str
) -> None:
    assert with_precision_preferred(spec, built) is None
    assert missing_precision(spec, built).endswith(remedy)
