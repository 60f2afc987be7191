"""`pytest-trt backends`: one model on every backend, and PyTorch's row."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
from samples.models import layers_model

from pytest_trt.cli import lineup_table
from pytest_trt.cli.main import main
from pytest_trt.core.records import Environment
from pytest_trt.engine.backends import cuda, pytorch
from pytest_trt.engine.tensors import Tensor
from pytest_trt.errors import BackendError
from pytest_trt.spec.declaration import Declaration, RunShape
from pytest_trt.spec.engine_spec import EngineSpec
from pytest_trt.spec.settings import Settings
from pytest_trt.trial.bench import Bench
from pytest_trt.trial.lineup import Lineup, Row

NO_TENSORRT = importlib.util.find_spec("tensorrt") is None


@pytest.fixture
def backends(save_model, tmp_path, engine_cache, monkeypatch):
    """Runs the command on the folder's model; gives its exit status."""
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


def test_every_backend_has_its_rows_and_says_what_keeps_it(backends, capfd):
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
        assert built["why"] == "built ahead of time for compute capability 8.9, and not run"
        assert built["precisions"][precision] > 0
    assert 0 == rows["ONNX Runtime fp32"]["max_abs"] < rows["ONNX Runtime fp16"]["max_abs"]
    assert rows["ONNX Runtime fp16"]["max_abs"] < rows["ONNX Runtime int8"]["max_abs"]


@pytest.mark.skipif(not NO_TENSORRT, reason="tensorrt is installed")
def test_a_backend_that_is_absent_has_one_row_with_the_remedy(backends, capfd):
    assert backends("--backends=onnxruntime,tensorrt", "--precisions=fp32,fp16") == 0
    out = capfd.readouterr().out.splitlines()
    assert out[0] == "m.onnx"
    heads = out[3].split()
    assert heads[:2] == ["backend", "status"]
    assert [line.split("  ")[0] for line in out[4:7]] == ["ONNX Runtime fp32", "ONNX Runtime fp16", "TensorRT"]
    assert "tensorrt cannot be imported (No module named 'tensorrt'): pip install 'pytest-trt[tensorrt]'" in out[-1]


@pytest.mark.skipif(cuda.reason_unusable() is None, reason="needs a machine without a GPU")
def test_rtx_without_a_gpu_and_without_a_capability_says_so_and_nothing_ran(backends, capfd):
    assert backends("--backends=tensorrt_rtx", "--precisions=fp32", "--format=md") == 1
    out = capfd.readouterr().out
    assert "| TensorRT-RTX | failed |" in out
    assert "driver" in out


def test_pytorch_that_is_absent_says_so(backends, capfd):
    if importlib.util.find_spec("torch") is not None:
        pytest.skip("torch is installed")
    assert backends("--backends=onnxruntime", "--precisions=fp32", "--torch=net:make") == 0
    assert "PyTorch fp32: torch cannot be imported" in capfd.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--backends=tensorrt_lean"], "--backends has 'tensorrt_lean': choose from onnxruntime, tensorrt"),
        (["--precisions=fp12"], "precision is 'fp12'"),
        (["--calibration=a.cache"], "--calibration is 'a.cache': write random or MODULE:FUNCTION"),
        (["--calibration=no_such:f"], "--calibration is 'no_such:f': ModuleNotFoundError"),
        (["--dims=M=4"], "'M'"),
        (["--torch=net"], "--torch is 'net': write MODULE:FUNCTION"),
        (["--dims=N"], "--dims is 'N'"),
        (["--torch-python=/no/python", "--torch=a:b", "--backends=onnxruntime"], "'/no/python': there is no such"),
    ],
)
def test_what_cannot_be_meant_is_said(backends, arguments, said, capfd):
    status = backends(*arguments, *(["--precisions=fp32"] if "fp12" not in arguments[0] else []))
    shown = capfd.readouterr()
    assert said in shown.err + shown.out
    assert status == 2


def test_a_model_that_is_not_there_or_no_model_is_usage(backends, capfd):
    assert main(["backends", "no.onnx"]) == 2
    assert main(["backends", "m.plan"]) == 2
    said = capfd.readouterr().err
    assert "there is no model 'no.onnx'" in said
    assert "m.plan is a plan, which one backend runs" in said


def test_a_model_that_the_reference_cannot_run_is_still_built(tmp_path, engine_cache):
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


def test_rows_that_were_compared_with_nothing_are_not_ok(backends, capfd):
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


ROWS = [
    Row("ONNX Runtime fp32", "fp32", built=True, ran=True, figures={"ms": 8.0}, max_abs=0.0, cosine=1.0, agrees=True),
    Row("TensorRT fp16", "fp16", built=True, ran=True, figures={"ms": 0.5, "memory_mb": 30.0}, max_abs=0.01,
        cosine=0.99, agrees=False, departs="output 'y' departs", precisions={"fp16": 0.75, "fp32": 0.25}),
    Row("TensorRT int8", "int8", why="nothing to quantise"),
]  # fmt: skip


def test_the_table_leaves_empty_columns_out_and_says_in_words_what_is_wrong():
    lines = lineup_table.plain_text(ROWS).splitlines()
    assert lines[0].split("  ")[0] == "backend"
    assert "host MB" not in lines[0]
    assert lines[2].split()[:4] == ["TensorRT", "fp16", "inaccurate", "0.500"]
    assert lines[2].split()[-1] == "16.00"
    assert lines[4:] == [
        "TensorRT fp16: output 'y' departs",
        "TensorRT fp16: its layers are 75% fp16, 25% fp32",
        "TensorRT int8: nothing to quantise",
    ]


def test_markdown_names_the_models_where_there_are_several():
    one, two = lineup_table.markdown([("", ROWS)]), lineup_table.markdown([("a", ROWS), ("b", ROWS[:1])])
    assert one.splitlines()[0].startswith("| backend | status | ms |")
    rows = [line.split(" | ") for line in two.splitlines() if line.startswith(("| a", "| b"))]
    assert [row[0] for row in rows] == ["| a", "| a", "| a", "| b"]
    assert len({line.count("|") for line in two.splitlines() if line.startswith("|")}) == 1
    assert "- a, TensorRT int8: nothing to quantise" in two


def test_a_speed_up_needs_both_latencies():
    assert ROWS[1].faster_than(ROWS[0]) == 16
    assert ROWS[2].faster_than(ROWS[0]) is ROWS[1].faster_than(ROWS[2]) is ROWS[1].faster_than(None) is None


class TestPyTorch:
    """The backend on a real torch, where that is installed."""

    @pytest.fixture
    def plan(self, tmp_path: Path) -> Path:
        (tmp_path / "net_of_test.py").write_text(
            "import torch\n"
            "def doubles():\n    class M(torch.nn.Module):\n"
            "        def forward(self, x, y): return x * 2, {'s': y}['s'] + 1\n    return M()\n"
            "def raises(): raise ValueError('no weights')\n"
            "def number(): return 3\n"
        )
        return tmp_path

    def load(self, folder: Path, name: str, outputs: tuple[str, ...] = ("a", "b"), precision: str = "fp32"):
        torch = pytest.importorskip("torch", reason="needs torch")
        inputs = (Tensor("x", "float32", (-1, 2)), Tensor("y", "int64", (-1,)))
        path = folder / "plan"
        pytorch.write_plan(
            path, f"net_of_test:{name}", folder, inputs, tuple(Tensor(n, "float32", (-1,)) for n in outputs)
        )
        assert isinstance(torch.__version__, str)
        return pytorch.open_backend("pytorch").load(path, "0", EngineSpec(precision=precision, threads=1))

    def test_a_module_runs_like_an_engine(self, plan):
        engine = self.load(plan, "doubles")
        inputs = {"x": np.ones((3, 2), np.float32), "y": np.arange(3)}
        outputs = engine.run(inputs)
        np.testing.assert_array_equal(outputs["a"], np.full((3, 2), 2, np.float32))
        np.testing.assert_array_equal(outputs["b"], [1, 2, 3])
        engine.bind_inputs(inputs)()
        engine.close()

    @pytest.mark.parametrize(
        ("name", "said"),
        [("raises", "ValueError: no weights"), ("number", "returned int"), ("nothing", "nothing")],
    )
    def test_a_function_that_gives_no_module_is_named(self, plan, name, said):
        with pytest.raises(BackendError, match=said):
            self.load(plan, name)

    def test_outputs_must_be_the_models(self, plan):
        with pytest.raises(BackendError, match="returned 2 outputs, and the model has a, b, c"):
            self.load(plan, "doubles", ("a", "b", "c")).run({"x": np.ones((1, 2), np.float32), "y": np.arange(1)})


def test_a_row_travels_as_json():
    from pytest_trt.core import codec

    row = dataclasses.replace(ROWS[1], environment=Environment("NVIDIA H200", "gpu", "tensorrt", "8.6.0"))
    assert codec.decode(Row, json.loads(json.dumps(codec.encode(row)))) == row
