"""Test what the layers of an engine cost, and two engines side by side."""

from __future__ import annotations

import pytest
from samples.inspector import CONV_86

from pytest_trt.core.records import Layer, LayerProfile
from pytest_trt.trial.exploration import NO_NODE, compare_engines, map_engine

CONV = Layer("Conv_0 + Relu_1", 3.0, "Convolution", precision="fp16", nodes=("Conv_0", "Relu_1"))
REFORMAT = Layer("Reformatting CopyNode for Input Tensor 0 to Conv_0 + Relu_1", 1.0, "Reformat")
POOL = Layer("pool", None, "Pooling", precision="fp32", nodes=("Pool_2",))


def test_costs_by_type_precision_and_nodes():
    engine = map_engine("e", LayerProfile((REFORMAT, CONV, POOL), inspected={"Layers": [CONV_86]}))
    assert [(s.name, s.layers, s.ms, s.share) for s in engine.by_type] == [
        ("Convolution", 1, 3.0, 0.75), ("Reformat", 1, 1.0, 0.25), ("Pooling", 1, None, None)
    ]  # fmt: skip
    assert [share.name for share in engine.by_nodes] == ["Conv_0 + Relu_1", NO_NODE, "Pool_2"]
    assert [share.name for share in engine.by_precision] == ["fp16", "", "fp32"]
    assert (engine.reformats.layers, engine.reformats.ms, engine.reformats.share) == (1, 1.0, 0.25)
    assert (engine.total.layers, engine.total.ms) == (3, 4.0)
    assert engine.total.moved_mb == pytest.approx((4 * 224 * 224 + 64 * 112 * 112) * 2 / 1e6)


def test_layers_without_times():
    engine = map_engine("e", LayerProfile((POOL,)))
    assert (engine.total.ms, engine.total.share, engine.reformats.layers) == (None, None, 0)
    assert map_engine("e", LayerProfile(())).by_type == ()


def test_nodes_are_matched_across_fusions():
    split = (Layer("Conv_0", 2.0, "Convolution", precision="fp16", nodes=("Conv_0",)),
             Layer("Relu_1", 2.5, "PointWise", precision="fp16", nodes=("Relu_1",)))  # fmt: skip
    first, *rest = compare_engines(LayerProfile((CONV, POOL)), LayerProfile((*split, POOL)))
    assert (first.nodes, first.old, first.new) == (("Conv_0", "Relu_1"), ("Conv_0 + Relu_1",), ("Conv_0", "Relu_1"))
    assert (first.old_ms, first.new_ms, first.delta_ms, first.kind) == (3.0, 4.5, 1.5, "fusion lost")
    assert [(pair.nodes, pair.kind) for pair in rest] == [(("Pool_2",), "kernels unchanged")]
