"""Test the source of the test files that `pytest-trt init` writes."""

from __future__ import annotations

import ast
from pathlib import PurePath

import pytest

from pytest_trt.report.test_file import NewTest, function_names, literal, render

HOSTILE = 'a\'b"c\\d\n#e\x00\u2028\u202e\udcff\r${{ x }}"""é'


def test_hostile_names_stay_literals_and_comments():
    test = NewTest("test_a", HOSTILE, {"dims": {HOSTILE: (1, 2, 3)}}, HOSTILE, {"ms": 1.5}, (HOSTILE,))
    source = render([test, test], [HOSTILE])
    source.encode()
    tree = ast.parse(source)
    assert [type(node) for node in tree.body] == [ast.Expr, ast.Import, ast.FunctionDef, ast.FunctionDef]
    function = tree.body[2]
    assert isinstance(function, ast.FunctionDef)
    engine, budget = function.decorator_list
    assert isinstance(engine, ast.Call)
    assert isinstance(budget, ast.Call)
    assert [ast.literal_eval(node) for node in (engine.args[0], budget.args[0])] == [HOSTILE, HOSTILE]
    assert ast.literal_eval(engine.keywords[0].value) == {HOSTILE: (1, 2, 3)}


@pytest.mark.parametrize("value", ["a", "a'", 'a"', "\\", (1,), (1, 2.5), {"x": ((1, 3), (2, 3), (4, 3))}, {}, True])
def test_literals_are_read_back(value):
    assert ast.literal_eval(literal(value)) == value


def test_long_decorators_have_a_line_for_each_argument():
    long = render([NewTest("test_a", "m" * 120, {"dims": {"N": 1}}, "cpu", {"ms": 1})], [])
    assert '(\n    "' + "m" * 120 + '",\n    dims={"N": 1},\n)\n' in long


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        (["m/a.onnx", "b.onnx"], ["test_a", "test_b"]),
        (["bert/model.onnx", "vit/model.onnx", "x.onnx"], ["test_bert_model", "test_vit_model", "test_x"]),
        (["a b.onnx", "a-b.onnx", "a_b_2.onnx"], ["test_a_b", "test_a_b_2", "test_a_b_2_2"]),
        (["é.onnx", "ü.onnx", "class.onnx"], ["test_model", "test_model_2", "test_class"]),
    ],
)
def test_each_model_has_a_function_of_its_own(paths, names):
    assert function_names([PurePath(path) for path in paths]) == names
