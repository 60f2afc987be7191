"""Test `pytest-trt ab`: two interpreters take turns on one model."""

from __future__ import annotations

import json
import subprocess
import sys
import venv
from pathlib import Path

import pytest
from samples.energy import ClockMeter, short_windows
from samples.forked_python import INTERPRETER

from pytest_trt.cli.main import main
from pytest_trt.trial import energy


@pytest.fixture
def ab(save_model, tmp_path, engine_cache, monkeypatch):
    """Return a function that runs the command on the folder's model, and returns its exit status."""
    save_model()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TMPDIR", str(engine_cache.parent))

    def run(*arguments: str) -> int:
        quick = ("--max-time=60", "--max-slowdown=90%", f"--cache-dir={engine_cache}", "--batch=4")
        try:
            return main(["ab", "m.onnx", "--backend-a=onnxruntime", "--backend-b=onnxruntime", *quick, *arguments])
        except SystemExit as ended:
            return int(ended.code or 0)

    return run


@pytest.fixture
def slow_python(tmp_path: Path) -> str:
    """An interpreter whose ONNX Runtime is 2 ms slower for every inference."""
    folder = tmp_path / "slow"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(
        "import time, onnxruntime\n"
        "run = onnxruntime.InferenceSession.run_with_iobinding\n"
        "def slow(*args, **kwargs):\n"
        "    time.sleep(0.002)\n"
        "    return run(*args, **kwargs)\n"
        "onnxruntime.InferenceSession.run_with_iobinding = slow\n"
    )
    script = folder / "python"
    script.write_text(f'#!/bin/sh\nPYTHONPATH={folder} exec {sys.executable} "$@"\n')
    script.chmod(0o755)
    return str(script)


def test_identical_sides_are_ok(ab, capfd):
    assert ab() == 0
    out = capfd.readouterr().out.splitlines()
    assert out[0].startswith("m.onnx on ")
    assert out[1].startswith("  A  ONNX Runtime ")
    assert out[2].startswith("  B  ONNX Runtime ")
    assert sys.executable in out[1]
    assert out[3] == "  both ran the same plan"
    assert out[4].startswith("latency ok: ")
    assert "judged engine against engine" in out[5]


def test_energy_is_compared_on_request(ab, capfd, monkeypatch):
    short_windows(monkeypatch)
    monkeypatch.setattr(energy, "RaplMeter", lambda: ClockMeter(50.0))
    assert ab("--energy", "--gate=power_w=500%", "--json") == 0
    found = json.loads(capfd.readouterr().out)
    assert {"energy_mj", "power_w", "idle_w"} <= set(found["a"]["figures"]) & set(found["b"]["figures"])
    (power,) = [v for v in found["verdicts"] if v["figure"] == "power_w"]
    assert power["status"] == "ok"
    assert power["details"][0] == "judged engine against engine: 4 windows each, in turns"


def test_slower_side_regresses_and_json_has_both_sides(ab, slow_python, capfd, monkeypatch):
    monkeypatch.setattr(subprocess, "Popen", INTERPRETER)  # a fork would need more host memory than the other side
    assert ab(f"--b-python={slow_python}", "--json") == 1
    found = json.loads(capfd.readouterr().out)
    assert found["status"] == "regressed"
    assert found["b"]["figures"]["ms"]["value"] > found["a"]["figures"]["ms"]["value"] + 1
    assert found["a"]["environment"]["backend"] == "onnxruntime"
    assert {v["figure"]: v["status"] for v in found["verdicts"]} == {
        "ms": "regressed", "host_mb": "ok", "engine_mb": "ok"
    }  # fmt: skip
    assert ab(f"--a-python={slow_python}", "--plan-from=a") == 0
    assert "latency improved: " in capfd.readouterr().out


def test_side_that_needs_more_host_memory_regresses(ab, tmp_path, capfd):
    (tmp_path / "sitecustomize.py").write_text(
        "import numpy, onnxruntime\n"
        "class Session(onnxruntime.InferenceSession):\n"
        "    def __init__(self, *args, **kwargs):\n"
        "        super().__init__(*args, **kwargs)\n"
        "        self.kept = numpy.ones(25_000_000)\n"
        "onnxruntime.InferenceSession = Session\n"
    )
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nPYTHONPATH={tmp_path} exec {sys.executable} "$@"\n')
    python.chmod(0o755)
    assert ab(f"--b-python={python}") == 1
    assert "host memory regressed: " in capfd.readouterr().out
    assert ab(f"--b-python={python}", "--gate=host_mb=off") == 0
    assert ab(f"--b-python={python}", "--gate=hostmb=off") == 2
    assert "--gate: hostmb: there is no figure 'hostmb': did you mean 'host_mb'?" in capfd.readouterr().err


def test_inconclusive_comparison_exits_with_125(ab):
    assert ab("--max-slowdown=0.1%", "--max-time=0.1") == 125


def test_other_interpreter_uses_only_its_own_packages(ab, tmp_path, monkeypatch, capfd):
    venv.create(tmp_path / "bare")
    python = tmp_path / "bare" / "bin" / "python"
    monkeypatch.setenv("PYTHONPATH", ":".join(sys.path))
    assert ab(f"--b-python={python}") == 2
    assert f"B ({python}): onnxruntime cannot be imported" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--b-python=/no/python"], "--b-python is '/no/python': there is no such interpreter"),
        (["--backend-b=onnxruntim"], "--backend-b is 'onnxruntim': did you mean 'onnxruntime'?"),
        (["--dims=N"], "--dims is 'N': write a dimension's name and its size or min,opt,max"),
        (["--dims=M=3"], "'M'"),
        (["--precision=fp61"], "--precision is 'fp61': did you mean 'fp16'?"),
        (["--max-slowdown=5"], "--max-slowdown is '5': did you mean '5%'?"),
        (["--b-python=/bin/true"], "B (/bin/true): "),
    ],
)
def test_invalid_arguments_exit_with_2(ab, arguments, message, capfd):
    assert ab(*arguments) == 2
    assert message in capfd.readouterr().err
