"""Test `pytest-trt bisect`: the first layer that departs."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from samples.models import clipped_model, layers_model

from pytest_trt.cli.main import main


@pytest.fixture
def bisect(tmp_path: Path, engine_cache: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Return a function that runs the command on clipped.onnx, and returns its exit status."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TMPDIR", str(engine_cache.parent))
    onnx.save(clipped_model(), "clipped.onnx")
    onnx.save(layers_model(width=16), "accurate.onnx")

    def run(*arguments: str, model: str = "clipped.onnx") -> int:
        options = ("--backend=onnxruntime", f"--cache-dir={engine_cache}", "--batch=2")
        return main(["bisect", model, *options, *arguments])

    return run


def test_departing_layer_is_named_and_exits_with_1(bisect, capsys):
    assert bisect() == 1
    out = capsys.readouterr().out.splitlines()
    assert out[0].startswith("first to depart: scale_down (Mul): output 'down' departs from onnxruntime: ")
    assert any("it reads 't13', which agrees" in line for line in out)
    assert out[-1].startswith("  seen again with nothing else marked (")


def test_accurate_model_has_no_departing_layer(bisect, capsys):
    assert bisect(model="accurate.onnx") == 0
    assert capsys.readouterr().out == "every output agrees with ONNX Runtime's in fp32, element by element\n"


def test_too_few_builds_exit_with_125(bisect, capsys):
    assert bisect("--at-once=2", "--max-builds=1") == 125
    assert "not certain: " in capsys.readouterr().out
    assert bisect("--at-once=0") == 2
    assert "--at-once is 0: it must be at least 1" in capsys.readouterr().err


def test_json_has_the_layer_and_its_inputs(bisect, capsys):
    assert bisect("--json") == 1
    found = json.loads(capsys.readouterr().out)
    assert (found["first"]["node"], found["first"]["op"], found["confirmed"]) == ("scale_down", "Mul", True)
    assert found["reading"]["verdict"]["status"] == "inaccurate"
    assert found["sources"]["t13"]["verdict"]["status"] == "ok"


def test_inputs_come_from_a_file(bisect, capsys):
    np.savez("zeros.npz", x=np.zeros((2, 16), np.float32))
    assert bisect("--inputs=zeros.npz") == 0
    assert bisect("--inputs=none.npz") == 2
    assert "there is no file none.npz" in capsys.readouterr().err


def test_int8_needs_a_calibration(bisect, capsys):
    assert bisect("--precision=int8", model="accurate.onnx") == 2
    assert "int8 needs a model with Q/DQ, or inputs to calibrate on" in capsys.readouterr().err
    assert bisect("--precision=int8", "--calibration=random", model="accurate.onnx") == 0


def test_int8_is_calibrated_on_the_inputs_of_a_function(bisect, capsys):
    """`backends` accepts the same argument, so that its rows can be bisected."""
    Path("calibrating.py").write_text(
        "import numpy as np\n\n\ndef small():\n    yield {'x': np.full((2, 16), 1e-3, np.float32)}\n"
    )
    assert bisect("--precision=int8", "--calibration=calibrating:small", model="accurate.onnx") == 1
    assert "first to depart: " in capsys.readouterr().out
