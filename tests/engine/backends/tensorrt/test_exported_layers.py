"""Test the files of trtexec's --exportLayerInfo and --exportProfile, as others and as this plugin write them."""

from __future__ import annotations

import json

import pytest
from samples.inspector import CONV_86

from pytest_trt.core.records import Layer, LayerProfile
from pytest_trt.engine.backends.tensorrt import exported_layers
from pytest_trt.engine.backends.tensorrt.exported_layers import (
    LayerSizes,
    layer_sizes,
    operations,
    read_exported,
    with_times,
)
from pytest_trt.errors import RecordError
from pytest_trt.report.trtexec_json import export_layer_info, export_profile


@pytest.fixture
def write(tmp_path):
    def save(content: object, name: str = "a.json"):
        path = tmp_path / name
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return path

    return save


def test_layers_and_times_of_trtexec(write):
    text = json.dumps({"Layers": [CONV_86, "pool"], "Bindings": ["x", "y"]}).replace("\\u001e", "\x1e")
    profile = read_exported(write(text))
    assert [layer.nodes for layer in profile.layers] == [("Conv_0", "Relu_1"), ()]
    rows = [{"count": 9}, {"name": "pool", "averageMs": 2.0}, {"name": "pool", "averageMs": 3.0},
            {"name": CONV_86["Name"], "averageMs": 5.0, "medianMs": 4.0}]  # fmt: skip
    timed, others = with_times(profile, write(rows, "b.json"))
    assert [(layer.name, layer.ms) for layer in timed.layers] == [("Conv_0 + Relu_1", 4.0), ("pool", 2.0), ("pool", 3)]
    assert (timed.runs, others) == (9, 1)
    assert read_exported(write(rows, "b.json")).total_ms == 9.0


def test_the_files_of_this_plugin_are_read_back(write):
    layers = (Layer("a", 0.5, "Conv", "kernel", "fp16", "", ("n1", "n2")), Layer("b", 0.25, "Pool"))
    profile = read_exported(write(export_layer_info(LayerProfile(layers, 3))))
    assert with_times(profile, write(export_profile(LayerProfile(layers, 3)), "b.json"))[0].layers == layers


def test_sizes_follow_from_dimensions_and_types():
    weights = {"Weights": {"Type": "Half", "Count": 500_000}, "Bias": {"Type": "Float", "Count": 250_000}}
    unknown = {"Name": "u", "Inputs": [{"Dimensions": [-1, 3], "Datatype": "FP32"}], "Outputs": []}
    sizes = layer_sizes({"Layers": [{**CONV_86, **weights}, unknown, "named"]})
    read, written = 4 * 224 * 224 * 2 / 1e6, 64 * 112 * 112 * 2 / 1e6
    assert sizes == {"Conv_0 + Relu_1": LayerSizes(read, written, 2.0), "u": LayerSizes()}


def test_fused_layer_has_the_weights_of_its_parts():
    fused = {"Name": "c", "ConvWeights": {"Type": "Int8", "Count": 9408}, "ConvBias": {"Type": "Float", "Count": 64}}
    assert layer_sizes({"Layers": [fused]}) == {"c": LayerSizes(weights_mb=(9408 + 4 * 64) / 1e6)}


def test_tensors_between_layers_are_reported():
    plain = {"Name": "u", "Inputs": [{"Name": "x"}, {}], "Outputs": None}
    found = list(operations({"Layers": [CONV_86, plain, "named"]}))
    assert [operation.name for operation in found] == [CONV_86["Name"], "u"]
    assert found[0].inputs == tuple(tensor["Name"] for tensor in CONV_86["Inputs"])
    assert (found[1].inputs, found[1].outputs) == (("x",), ())


DEEP = "[" * 100 + "]" * 100


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is not JSON"),
        ("[" * 100_000, "is not JSON"),
        ("3", "it has no Layers"),
        ('{"Layers": 3}', "it has no Layers"),
        ('{"results": []}', "is the JSON of a run"),
        ('{"Layers": [3]}', r"Layers\[0\] is 3: it must be a name or an object"),
        ('{"Layers": [{"Inputs": 3}]}', r"Layers\[0\].Inputs is 3"),
        ('{"Layers": [{"Outputs": [3]}]}', r"Layers\[0\].Outputs is \[3\]"),
        (f'{{"Layers": [{{"x": {DEEP}}}]}}', r"Layers\[0\] is nested"),
        ("[]", "has no times of layers"),
        ("[3]", r"\[0\] is 3: it must be an object"),
        ('[{"name": "a"}]', r"\[0\] must be of type float, not None"),
        ('[{"name": "a", "averageMs": NaN}]', r"\[0\] must be of type float, not 'NaN'"),
        ('[{"name": "a", "averageMs": 1e999}]', r"\[0\] is inf: it must be a finite number"),
        ('[{"name": "a", "averageMs": -1}]', r"\[0\] has a time of -1 ms"),
        ('[{"count": "a"}]', r"\[0\] must be of type int"),
    ],
)
def test_other_files_are_refused(write, content, message):
    with pytest.raises(RecordError, match=message):
        read_exported(write(content))


@pytest.mark.parametrize("hostile", [{"Dimensions": [2**40]}, {"Dimensions": "x"}, {"Dimensions": [1, None]}, {}])
def test_sizes_of_hostile_tensors_are_unknown(hostile):
    tensor = {"Format/Datatype": "FP32", **hostile}
    layer = {"Name": "a", "Inputs": [tensor], "Weights": {"Type": "Half", "Count": -5}, "Bias": 3}
    assert layer_sizes({"Layers": [layer]}) == {"a": LayerSizes()}


def test_large_and_missing_files_are_refused(write, tmp_path, monkeypatch):
    monkeypatch.setattr(exported_layers, "MOST_LAYERS", 2)
    with pytest.raises(RecordError, match="has 3 layers: the limit is 2"):
        read_exported(write({"Layers": ["a"] * 3}))
    with pytest.raises(RecordError, match="cannot be read: No such file"):
        read_exported(tmp_path / "no.json")
    with pytest.raises(RecordError, match="it must be a list"):
        with_times(LayerProfile(()), write({"Layers": []}))
