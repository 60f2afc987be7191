"""A project with every example of the documentation, which runs once for all tests."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import onnx
import pytest
from decoders import Cache, decoder, recurrent
from filelock import FileLock
from samples.documented_models import detector, encoder, resnet18
from samples.forked_python import Forkserver, Popen
from samples.pages import PAGES, ROOT, Block, blocks, page_id

INI = """
[pytest]
addopts = --strict-markers
trt_backend = onnxruntime
trt_cache_dir = engines
trt_min_time = 0
trt_max_time = 0.1
trt_resolution = 50%
"""


def python_blocks() -> list[Block]:
    return [block for page in PAGES for block in blocks(page, "python")]


def file_name(block: Block) -> str:
    """Return the file in which a block is run. The README's test is the one that commands name."""
    if block.page == ROOT / "README.md":
        return "tests/test_models.py"
    number = blocks(block.page, "python").index(block)
    return f"tests/test_{page_id(block.page).replace('/', '_').replace('-', '_').removesuffix('.md')}_{number}.py"


def make_project(folder: Path) -> None:
    """Write the models that the examples name, and each example that has tests and needs no GPU."""
    (folder / "models").mkdir(parents=True)
    for model in (resnet18(), encoder(), detector()):
        onnx.save(model, str(folder / "models" / f"{model.graph.name}.onnx"))
    onnx.save(recurrent(), str(folder / "models" / "recurrent.onnx"))
    caches: dict[str, Cache] = {"decoder": "growing", "static_decoder": "fixed", "prefill": "none"}
    for name, cache in caches.items():
        onnx.save(decoder(cache=cache), str(folder / "models" / f"{name}.onnx"))
    (folder / "pytest.ini").write_text(INI.lstrip())
    for name in ("tests", "tmp"):
        (folder / name).mkdir()
    for block in python_blocks():
        if "def test_" in block.code and not block.requires:
            (folder / file_name(block)).write_text(block.code)


def run(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """Run a command in the project, outside the xdist that this test may run under.

    The device's lock is in the project: no figure here needs the device alone.
    """
    outer = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    environment = {**outer, "TMPDIR": str(folder / "tmp")}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)


@pytest.fixture(scope="session")
def documented_project(tmp_path_factory: pytest.TempPathFactory, forkserver: Forkserver) -> Path:
    """The project after a run of all its tests, with a baseline and a report. All xdist workers share it."""
    base = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        base = base.parent
    folder = base / "documented_project"
    with FileLock(base / "documented_project.lock"):
        if not folder.exists():
            make_project(folder)
            options = (
                "--trt-baseline-save",
                "--trt-baseline-force",
                "--trt-report=json:run.json",
                "--junitxml=run.xml",
            )
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(subprocess, "Popen", Popen)
                ran = run(folder, sys.executable, "-m", "pytest", "-q", *options)
            (folder / "run.txt").write_text(ran.stdout + ran.stderr)
    return folder
