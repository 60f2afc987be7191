"""Test `pytest-trt backends`: one model on every backend."""

from __future__ import annotations

import importlib.util
import json

import pytest

from pytest_trt.cli.main import main
from pytest_trt.engine.backends import cuda
from pytest_trt.trial.lineup import Row

NO_TENSORRT = importlib.util.find_spec("tensorrt") is None


@pytest.fixture
def backends(save_model, tmp_path, engine_cache, monkeypatch):
    """Return a function that runs the command on the folder's model, and returns its exit status."""
    save_model()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TMPDIR", str(engine_cache.parent))

    def run(*arguments: str) -> int:
        quick = ("--max-time=0.2", f"--cache-dir={engine_cache}", "--batch=4")
        try:
            return main(["backends", "m.onnx", *quick, *arguments])
        except SystemExit as ended:
            return int(ended.code or 0)

    return run


def test_every_backend_has_its_rows_and_reasons(backends, capfd):
    assert backends("--compute-capability=89", "--format=json") == 0
    rows = {row["name"]: row for row in json.loads(capfd.readouterr().out)["rows"]}
    for precision in ("fp32", "fp16", "int8"):
        ran, built = rows[f"ONNX Runtime {precision}"], rows[f"TensorRT-RTX {precision}"]
        assert ran["ran"]
        assert ran["agrees"]
        assert ran["why"] == ""
        assert ran["figures"].keys() >= {"ms", "p99_ms", "throughput", "host_mb", "engine_mb", "build_s"}
        assert built["built"]
        assert not built["ran"]
        assert built["why"] == "built ahead of time for compute capability 8.9, but not run"
        assert built["precisions"][precision] > 0
    assert 0 == rows["ONNX Runtime fp32"]["max_abs"] < rows["ONNX Runtime fp16"]["max_abs"]
    assert rows["ONNX Runtime fp16"]["max_abs"] < rows["ONNX Runtime int8"]["max_abs"]


@pytest.mark.skipif(not NO_TENSORRT, reason="tensorrt is installed")
def test_missing_backend_has_one_row_with_the_remedy(backends, capfd):
    assert backends("--backends=onnxruntime,tensorrt", "--precisions=fp32,fp16") == 0
    out = capfd.readouterr().out.splitlines()
    assert out[0] == "m.onnx"
    titles = out[3].split()
    assert titles[:2] == ["backend", "status"]
    assert [line.split("  ")[0] for line in out[4:7]] == ["ONNX Runtime fp32", "ONNX Runtime fp16", "TensorRT"]
    assert "tensorrt cannot be imported (No module named 'tensorrt'): pip install 'pytest-trt[tensorrt]'" in out[-1]


@pytest.mark.skipif(cuda.reason_unusable() is None, reason="needs a machine without a GPU")
def test_rtx_without_a_gpu_or_a_capability_fails(backends, capfd):
    assert backends("--backends=tensorrt_rtx", "--precisions=fp32", "--format=md") == 1
    out = capfd.readouterr().out
    assert "| TensorRT-RTX | failed |" in out
    assert "driver" in out


def test_missing_pytorch_is_reported(backends, capfd):
    if importlib.util.find_spec("torch") is not None:
        pytest.skip("torch is installed")
    assert backends("--backends=onnxruntime", "--precisions=fp32", "--torch=net:make") == 0
    assert "PyTorch fp32: torch cannot be imported" in capfd.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--backends=tensorrt_lean"], "--backends has 'tensorrt_lean': choose from onnxruntime, tensorrt"),
        (["--precisions=fp12"], "--precisions has 'fp12': did you mean 'fp32'?"),
        (["--calibration=a.cache"], "--calibration is 'a.cache': write random or MODULE:FUNCTION"),
        (["--calibration=no_such:f"], "--calibration is 'no_such:f', which cannot be imported (ModuleNotFoundError"),
        (["--dims=M=4"], "'M'"),
        (["--torch=net"], "--torch is 'net': write MODULE:FUNCTION"),
        (["--dims=N"], "--dims is 'N'"),
        (["--torch-compile", "--backends=onnxruntime"], "--torch-compile needs --torch"),
        (["--python=pytorch=/no/python", "--backends=onnxruntime"], "'/no/python': there is no such"),
        (["--python=tensorflow=python3", "--backends=onnxruntime"], "'tensorflow=python3': write BACKEND=PYTHON"),
        (["--python=onnxruntime", "--backends=onnxruntime"], "'onnxruntime': write BACKEND=PYTHON"),
    ],
)
def test_invalid_arguments_exit_with_2(backends, arguments, message, capfd):
    status = backends(*arguments, *(["--precisions=fp32"] if "fp12" not in arguments[0] else []))
    shown = capfd.readouterr()
    assert message in shown.err + shown.out
    assert status == 2


def test_missing_model_and_plan_exit_with_2(backends, capfd):
    assert main(["backends", "no.onnx"]) == 2
    assert main(["backends", "m.plan"]) == 2
    error = capfd.readouterr().err
    assert "there is no model 'no.onnx'" in error
    assert "m.plan is a plan, which only one backend runs" in error


def test_unchecked_rows_are_not_ok(backends, capfd):
    from onnx import helper, load, save

    model = load("m.onnx")
    model.graph.node.append(helper.make_node("RandomNormalLike", ["y"], ["z"], "noise"))
    model.graph.output[0].name = "z"
    save(model, "m.onnx")
    assert backends("--backends=onnxruntime", "--precisions=fp32,fp16", "--format=json") == 1
    rows = json.loads(capfd.readouterr().out)["rows"]
    for row in rows:
        assert row["ran"]
        assert row["agrees"] is None
        assert row["notes"][-1].startswith("compared with nothing: m.onnx draws random numbers")
    assert Row("x", "fp16", built=True, ran=True).status == "unchecked"
