"""Test which layers hand a tensor to one another, across fusions."""

from __future__ import annotations

import pytest

from pytest_trt.core.engine_map import Edge, Operation
from pytest_trt.core.records import Layer
from pytest_trt.trial.layer_graph import connect

BLOCK = [
    Operation("conv0", ("x", "w0"), ("a",)),
    Operation("relu0", ("a",), ("b",)),
    Operation("conv1", ("b", "w1"), ("c",)),
    Operation("add", ("c", "x0"), ("d",)),
    Operation("out", ("d",), ("y",)),
]
"""A residual block, which reads the tensor `x0` of an operation before it."""


def pairs(layers: list[Layer], operations: list[Operation]) -> list[tuple[int, int]]:
    return [(edge.source, edge.target) for edge in connect(layers, operations)]


def test_layers_of_trtexec_are_connected_by_their_tensors() -> None:
    operations = [Operation("a", ("x",), ("t",)), Operation("b", ("t", "x"), ("y",))]
    assert connect([Layer("a"), Layer("b")], operations) == (Edge(0, 1, "t"),)


def test_fused_layer_stands_for_all_of_its_nodes() -> None:
    layers = [
        Layer("stem"),
        Layer("conv0 + relu0", nodes=("conv0", "relu0")),
        Layer("conv1 + add", nodes=("conv1", "add")),
    ]
    stem = Operation("stem", ("input",), ("x", "x0"))
    assert pairs([*layers, Layer("out")], [stem, *BLOCK]) == [(0, 1), (0, 2), (1, 2), (2, 3)]


def test_node_that_no_layer_names_is_a_part_of_the_last_layer_before_it() -> None:
    layers = [Layer("stem"), Layer("conv0"), Layer("conv1"), Layer("out")]
    stem = Operation("stem", ("input",), ("x", "x0"))
    assert pairs(layers, [stem, *BLOCK]) == [(0, 1), (0, 2), (1, 2), (2, 3)]


@pytest.mark.parametrize("name", ["b_nchwc", "relu0/MatMulScaleFusion/", "relu0/GemmFusion"])
def test_layers_of_onnx_runtime_have_the_names_of_fusions_and_outputs(name: str) -> None:
    assert pairs([Layer(name), Layer("conv1")], BLOCK) == [(0, 1)]


def test_layers_of_one_name_are_taken_in_turn() -> None:
    operations = [Operation("a", ("x",), ("t",)), Operation("a", ("t",), ("u",)), Operation("b", ("u",), ())]
    assert pairs([Layer("a"), Layer("a"), Layer("b")], operations) == [(0, 1), (1, 2)]
