"""Test the rows of one model on several backends."""

from __future__ import annotations

import dataclasses
import json

from samples.lineup_rows import ROWS
from samples.models import layers_model

from pytest_trt.core.records import Environment
from pytest_trt.spec.declaration import Declaration, RunShape
from pytest_trt.spec.engine_spec import EngineSpec
from pytest_trt.spec.settings import Settings
from pytest_trt.trial.bench import Bench
from pytest_trt.trial.lineup import Lineup, Row


def test_model_that_the_reference_cannot_run_is_still_built(tmp_path, engine_cache):
    from onnx import helper, save

    model = layers_model()
    model.graph.node.append(helper.make_node("Odd", ["y"], ["z"], domain="no.such"))
    model.opset_import.append(helper.make_opsetid("no.such", 1))
    save(model, str(tmp_path / "odd.onnx"))
    declaration = Declaration(spec=EngineSpec(path="odd.onnx"), run=RunShape(batch=2))
    with Bench(Settings(cache_dir=str(engine_cache))) as bench:
        row = Lineup(declaration, bench, [tmp_path]).row("x", EngineSpec(path="odd.onnx", backend="onnxruntime"))
    assert row.status == "failed"
    assert "Odd" in row.why


def test_speed_up_needs_both_latencies():
    assert ROWS[1].faster_than(ROWS[0]) == 16
    assert ROWS[2].faster_than(ROWS[0]) is ROWS[1].faster_than(ROWS[2]) is ROWS[1].faster_than(None) is None


def test_row_survives_json():
    from pytest_trt.core import codec

    row = dataclasses.replace(ROWS[1], environment=Environment("NVIDIA H200", "gpu", "tensorrt", "8.6.0"))
    assert codec.decode(Row, json.loads(json.dumps(codec.encode(row)))) == row
