"""Test `pytest-trt explore`: the layers of a model, of trtexec's files and of a test."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
from samples.records import measurement
from samples.runs import Run, write_run

from pytest_trt.core.records import Layer, LayerProfile
from pytest_trt.report.trtexec_json import export_layer_info, export_profile

LAYERS = LayerProfile((Layer("conv", 0.5, "Conv", "kernel", "fp16", "", ("Conv_0",)), Layer("copy", 0.1, "Reformat")))


def test_a_model_in_two_precisions(run: Run, save_model, engine_cache):
    save_model()
    options = ("--batch=2", "--backend=onnxruntime", f"--cache-dir={engine_cache}")
    status, out, _ = run("explore", "m.onnx", "m.onnx", "--other-precision=fp16", "--json", *options)
    found = json.loads(out)
    assert status == 0
    assert len(found["engines"]) == 2
    assert any("MatMul_0" in pair["nodes"] for pair in found["pairs"])
    assert all(engine["edges"] for engine in found["engines"])
    assert all(layer["layer"]["ms"] is not None for engine in found["engines"] for layer in engine["layers"])


def test_files_of_trtexec_find_their_times(run: Run):
    Path("a.layers.json").write_text(export_layer_info(LAYERS))
    status, out, _ = run("explore", "a.layers.json")
    assert status == 0
    assert "a.layers.json: 2 layers, not timed" in out
    Path("a.profile.json").write_text(export_profile(LAYERS))
    status, out, _ = run("explore", "a.layers.json", "a.profile.json")
    assert status == 0
    assert out.count("2 layers, 0.600 ms") == 2
    assert "1 reformat, 0.100 ms (16.7 %)" in out
    assert "the times are those in a.profile.json" in out
    for old, new in (("a.layers.json", "b.graph.json"), ("a.profile.json", "b.profile.json")):  # as TREX names them
        Path(old).rename(new)
    assert "the times are those in b.profile.json" in run("explore", "b.graph.json")[1]


def test_a_page_is_written(run: Run):
    Path("a.layers.json").write_text(export_layer_info(LAYERS))
    status, out, _ = run("explore", "a.layers.json", "--html=page.html")
    assert (status, out) == (0, "wrote page.html\n")
    assert "<h1>a.layers.json</h1>" in Path("page.html").read_text()
    status, _, err = run("explore", "a.layers.json", "--html=no/page.html")
    assert "--html: no/page.html cannot be written" in err
    assert status == 2


def test_a_test_of_a_run(run: Run):
    measured = dataclasses.replace(measurement(), profile=LAYERS)
    write_run("run.json", measured, dataclasses.replace(measured, node_id="t.py::other", profile=None))
    status, out, _ = run("explore", measured.node_id, "--from=run.json")
    assert status == 0
    assert f"{measured.node_id}: 2 layers, 0.600 ms" in out
    assert "from its run on NVIDIA H200" in out
    status, _, err = run("explore", "other", "--from=run.json")
    assert status == 2
    assert "the layers of t.py::other were not timed" in err
    status, _, err = run("explore", "*", "--from=run.json")
    assert status == 2
    assert "'*' names 2 tests" in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["no.json"], "there is no file 'no.json'"),
        (["nothing"], "there is no file and no test 'nothing'"),
        (["a.json"], "a.json is not JSON"),
        (["m.onnx", "--profile=a.json"], "belong to a file of --exportLayerInfo, not to 'm.onnx'"),
        (["a.json", "--other-profile=a.json"], "need a second engine"),
        (["m.onnx", "--dims=K=3"], "'K'"),
        (["m.onnx", "--other-precision=fp16"], "need a second engine"),
        (["junk.plan"], "plan"),
    ],
)
def test_invalid_arguments_exit_with_2(run: Run, save_model, arguments, message):
    save_model()
    Path("a.json").write_text("{")
    Path("junk.plan").write_text("junk")
    status, _, err = run("explore", *arguments)
    assert message in err
    assert status == 2
