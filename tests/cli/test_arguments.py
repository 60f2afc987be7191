"""Test the arguments that describe a model's inputs."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from pytest_trt.cli.arguments import parse_calibration
from pytest_trt.cli.input_arguments import add_input_arguments, input_fields, run_shape
from pytest_trt.cli.main import main
from pytest_trt.errors import DeclarationError
from pytest_trt.spec.declaration import RunShape
from pytest_trt.spec.engine_spec import EngineSpec


def parsed(*arguments: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_input_arguments(parser)
    return parser.parse_args(arguments)


def test_shapes_and_ranges_are_parsed() -> None:
    """Names may contain any character; TensorFlow's contain colons."""
    arguments = parsed(
        "--batch=2", "--dims=S=128", "--dims=N=1,4,8", "--shapes=serving_x:0=1x3",
        "--shapes=a=b=1x4,2x4,8x4", "--input-range=ids=0,30521", "--input-range=t=-0.5,1e3",
    )  # fmt: skip
    assert run_shape(arguments) == RunShape(batch=2, dims={"S": 128})
    fields = input_fields(arguments)
    assert fields == {
        "dims": {"N": (1, 4, 8)},
        "shapes": {"serving_x:0": (1, 3), "a=b": ((1, 4), (2, 4), (8, 4))},
        "input_ranges": {"ids": (0.0, 30521.0), "t": (-0.5, 1000.0)},
    }
    assert EngineSpec(**fields).shapes["serving_x:0"] == (((1, 3), (1, 3), (1, 3)),)


def test_sizes_may_be_0_in_every_argument() -> None:
    arguments = parsed("--batch=0", "--dims=S=0", "--dims=P=0,0,16", "--shapes=x=1x0", "--dims=2*N=0")
    assert run_shape(arguments) == RunShape(batch=0, dims={"S": 0, "2*N": 0})
    assert EngineSpec(**input_fields(arguments)).dims == {"P": ((0, 0, 16),)}


@pytest.mark.parametrize(
    "argument",
    [
        *(f"--dims={text}" for text in ("N", "N=", "N=1,2", "=3", "N=a")),
        *(f"--shapes={text}" for text in ("x", "x=", "x=1x", "x=1x3,2x3", "=1x3", "x=-1x3", "x=1,x,3")),
        *(f"--input-range={text}" for text in ("x", "x=1", "=1,2", "x=1,2,3", "x=a,b", "x=0,inf", "x=nan,1")),
    ],
)
def test_invalid_shapes_and_ranges_are_named_with_their_option(argument: str) -> None:
    option, _, value = argument.partition("=")
    with pytest.raises(DeclarationError) as caught:
        run_shape(parsed(argument)), input_fields(parsed(argument))
    assert str(caught.value).startswith(f"{option} is {value!r}: write ")


@pytest.mark.parametrize(
    "twice",
    [
        ["--dims=N=2", "--dims=N=3"],
        ["--dims=N=1,2,3", "--dims=N=1,2,4"],
        ["--shapes=x=2x3", "--shapes=x=4x3"],
        ["--input-range=x=0,1", "--input-range=x=0,2"],
    ],
    ids=lambda twice: twice[0],
)
def test_contradicting_values_are_an_error(twice: list[str]) -> None:
    option, name, _ = twice[0].split("=")
    with pytest.raises(DeclarationError, match=rf"{option} sets '{name}' to both .* and .*: keep one of them"):
        run_shape(parsed(*twice)), input_fields(parsed(*twice))
    assert run_shape(parsed("--dims=N=1,2,4", "--dims=N=3")).dims == {
        "N": 3
    }  # the range that is built, and the size that is run


@pytest.fixture
def run(tmp_path: Path, engine_cache: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Return a function that runs a command on a model.

    Its input x has two dimensions without names, and its input index starts at 16000.
    """
    monkeypatch.chdir(tmp_path)
    weights = [
        numpy_helper.from_array(np.ones((4, 1), np.float32), "table"),
        numpy_helper.from_array(np.int64(16000), "first"),
    ]
    nodes = [
        helper.make_node("Sub", ["index", "first"], ["position"]),
        helper.make_node("Gather", ["table", "position"], ["row"]),
        helper.make_node("Mul", ["x", "row"], ["y"]),
    ]
    inputs = [
        helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, None]),
        helper.make_tensor_value_info("index", TensorProto.INT64, []),
    ]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)]
    graph = helper.make_graph(nodes, "g", inputs, outputs, weights)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), "m.onnx")
    return lambda command, *arguments: main([command, "m.onnx", f"--cache-dir={engine_cache}", *arguments])


COMMANDS = {
    "backends": ["--backends=onnxruntime", "--precisions=fp32", "--max-time=0.2"],
    "bisect": ["--backend=onnxruntime", "--precision=fp32"],
    "calibrate": ["--backend=onnxruntime", "--pairs=4"],
    "ab": ["--backend-a=onnxruntime", "--backend-b=onnxruntime", "--max-time=0.2", "--max-slowdown=99%"],
}


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_accepts_input_arguments(
    command: str, run: Callable[..., int], capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(command, *COMMANDS[command]) == 2
    error = capfd.readouterr().err
    assert "2 dimensions of m.onnx are dynamic, and nothing defines their sizes (dimension 0, which" in error
    assert "(for a command: --shapes=x=SIZExSIZE, or --batch=SIZE for 1 of the dimensions)" in error
    assert run(command, *COMMANDS[command], "--shapes=x=2x8", "--input-range=index=16000,16003") in (0, 125)


def test_calibration_is_random_a_function_or_a_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "calibration_of_test.py").write_text("def f():\n    yield {}\nnumber = 3\n")
    assert parse_calibration(None) is None
    assert parse_calibration("random") == "random"
    assert callable(parse_calibration("calibration_of_test:f"))
    assert callable(parse_calibration("calibration_of_test:f", "entropy"))
    assert parse_calibration("nets/a.cache", "entropy") == "nets/a.cache"
    for text, message in {
        "a.cache": "write random or MODULE:FUNCTION .only TensorRT's own calibrators read a calibration cache",
        "calibration_of_test": "write random or MODULE:FUNCTION",
        "calibration_of_test:g": "AttributeError",
        "calibration_of_test:number": "which is not a function .int.: name one that yields inputs",
    }.items():
        with pytest.raises(DeclarationError, match=f"--calibration is '{text}'.*{message}"):
            parse_calibration(text)
