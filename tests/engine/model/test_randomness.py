"""Test models that draw random numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper, save

from pytest_trt.engine.model.model import read_model
from pytest_trt.engine.model.randomness import reason_not_comparable

X = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 4])
Y = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)


def why(folder: Path, *nodes: Any, functions: Any = (), **weights: np.ndarray) -> str:
    """Return why a model of these nodes cannot be compared."""
    stored = [numpy_helper.from_array(array, name) for name, array in weights.items()]
    graph = helper.make_graph(list(nodes), "g", [X], [Y], stored)
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    save(helper.make_model(graph, opset_imports=opsets, ir_version=8, functions=functions), str(folder / "m.onnx"))
    return reason_not_comparable(read_model(folder / "m.onnx"))


node = helper.make_node
NOISE = node("RandomNormalLike", ["x"], ["n"], "noise", seed=1.0)
ADD = node("Add", ["x", "n"], ["y"])


def test_random_operator_and_its_node_are_named(tmp_path: Path) -> None:
    assert why(tmp_path, NOISE, ADD) == (
        "m.onnx draws random numbers (RandomNormalLike 'noise'), so its outputs differ in every run and cannot be "
        "compared: export it without that operator"
    )
    assert "(RandomUniform 'n')" in why(tmp_path, node("RandomUniform", [], ["n"], shape=[1, 4]), ADD)
    assert "(Bernoulli 'n')" in why(tmp_path, node("Bernoulli", ["x"], ["n"]), ADD)


def test_unused_random_numbers_and_custom_operators_are_ignored(tmp_path: Path) -> None:
    assert not why(tmp_path, NOISE, node("Relu", ["x"], ["y"]))
    assert not why(tmp_path, node("Bernoulli", ["x"], ["n"], domain="own"), ADD)


@pytest.mark.parametrize(("training", "draws"), [(True, True), (False, False), (None, False)])
def test_dropout_is_random_only_in_training(training: bool | None, draws: bool, tmp_path: Path) -> None:
    """The mode may be an initialiser or a Constant. A mode that is computed counts as training."""
    mode = {} if training is None else {"mode": np.array(training)}
    inputs = ["x", "", *mode]
    assert bool(why(tmp_path, node("Dropout", inputs, ["y"]), **mode)) is draws
    if mode:
        constant = node("Constant", [], ["mode"], value=numpy_helper.from_array(mode["mode"]))
        assert bool(why(tmp_path, constant, node("Dropout", inputs, ["y"]))) is draws
        cast = node("Cast", ["flag"], ["mode"], to=TensorProto.BOOL)
        assert why(tmp_path, cast, node("Dropout", inputs, ["y"]), flag=np.array(1))


def test_random_operators_in_branches_and_functions_are_found(tmp_path: Path) -> None:
    out = helper.make_tensor_value_info("n", TensorProto.FLOAT, None)
    branches = [helper.make_graph([node(op, ["x"], ["n"])], op, [], [out]) for op in ("RandomUniformLike", "Relu")]
    both = dict(zip(("then_branch", "else_branch"), branches, strict=True))
    choice = node("If", ["c"], ["n"], **both)
    assert "RandomUniformLike 'n'" in why(tmp_path, choice, ADD, c=np.array(False))
    noisy = helper.make_function("own", "Noisy", ["x"], ["n"], [NOISE], [helper.make_opsetid("", 17)])
    assert "'noise'" in why(tmp_path, node("Noisy", ["x"], ["n"], domain="own"), ADD, functions=[noisy])
