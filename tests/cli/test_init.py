"""Test `pytest-trt init`: tests for the models of a folder."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import yaml

from pytest_trt.cli.main import main

HOSTILE = "a 'b'\n\"c\".onnx"


@pytest.fixture
def init(tmp_path, engine_cache, monkeypatch, capfd, forked_children):
    """Return a function that runs the command on a folder, and returns its status, output and errors."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TMPDIR", str(engine_cache.parent))

    def run(*arguments: str) -> tuple[int, str, str]:
        status = main(["init", "--max-time=0.05", "--headroom=5000%", f"--cache-dir={engine_cache}", *arguments])
        return (status, *capfd.readouterr())

    return run


def test_what_it_writes_passes_and_is_never_overwritten(project, init, save_model, engine_cache, monkeypatch):
    folder = project.path
    monkeypatch.chdir(folder)
    (folder / "tox.ini").unlink()  # the settings of the fixture
    (folder / "m.onnx").rename(folder / HOSTILE)
    (folder / "models").mkdir()
    save_model("fixed.onnx", folder / "models", batch=3)
    (folder / "models/broken.onnx").write_text("no model")
    shutil.copytree(folder / "models", folder / ".venv")

    status, out, err = init(str(folder), "--dims=N=2", "--workflow", "--backend=onnxruntime")
    assert status == 1
    assert "models/broken.onnx: not measured:\n" in out
    assert out.endswith("next: pytest tests/test_trt_models.py\n")
    written = (folder / "tests/test_trt_models.py").read_text()
    assert written.count("def test_") == 2
    assert "# models/broken.onnx has no test" in written
    assert str(folder) not in written
    assert (folder / "pytest.ini").read_text().endswith("[pytest]\ntrt_baseline_dir = baselines\n")
    assert yaml.safe_load((folder / ".github/workflows/performance.yml").read_text())["jobs"]

    result = project.runpytest_inprocess(
        "-p", "no:cacheprovider", "--trt-max-time=0.05", "--trt-report=json:out.json", f"--trt-cache-dir={engine_cache}"
    )
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["*2 engines from the cache*"])

    status, _, err = init(str(folder))
    assert status == 2
    assert "tests/test_trt_models.py exists, and is not overwritten" in err
    (folder / "models/broken.onnx").unlink()
    status, out, _ = init(str(folder / "models"), "--test-file=test_x.py", "--backend=onnxruntime")
    assert status == 0
    assert f"no settings were written: {folder} has those of pytest" in out
    assert 'trt_engine("models/fixed.onnx", backend="onnxruntime")' in (folder / "models/test_x.py").read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["no"], "no does not exist: name the folder of the project"),
        (["m.onnx"], "m.onnx is no folder"),
        (["empty"], "empty has no .onnx model"),
        ([".", "--headroom=-1"], "--headroom is '-1'"),
        ([".", "--headroom=x"], "--headroom is 'x'"),
        ([".", "--test-file=a.txt"], "--test-file is 'a.txt': name a Python file"),
        ([".", "--test-file=link.py"], "link.py exists, and is not overwritten"),
        ([".", "--dims=K=3"], "--dims names 'K', which no model has"),
        ([".", "--precision=fp12"], "did you mean 'fp32'?"),
        ([".", "--backend=cuda"], "--backend"),
    ],
)
def test_invalid_arguments_exit_with_2(init, save_model, arguments, message):
    save_model()
    Path("empty").mkdir()
    Path("link.py").symlink_to("nowhere")
    status, _, err = init(*arguments)
    assert message in err
    assert status == 2
    assert not Path("tests").exists()


def test_nothing_is_written_if_no_model_can_be_measured(init):
    Path("a.onnx").write_text("no model")
    status, out, err = init(".")
    assert status == 1
    assert "a.onnx: not measured" in out
    assert "nothing was written" in err
    assert [path.name for path in Path().iterdir()] == ["a.onnx"]
