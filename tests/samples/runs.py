"""Baselines and saved runs in the working folder, for the tests of commands."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

from pytest_trt.core.records import Measurement, Result, Verdict
from pytest_trt.judge.baselines import BaselineFolder, device_slug, open_baselines
from pytest_trt.report import result_json
from samples.records import H200

OTHER = "tests/test_models.py::test_encoder"
DEVICE = device_slug(H200)
Run = Callable[..., tuple[int, str, str]]


def folder(name: str = "main") -> BaselineFolder:
    return open_baselines(".trt-baselines", name, revision=None, rootdir=Path())


def write_run(path: str, *measured: Measurement, verdicts: Sequence[Verdict] = ()) -> Path:
    results = [Result(one.node_id, tuple(verdicts), one) for one in measured]
    file = Path(path)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(result_json.render(results))
    return file


def git(*words: str) -> None:
    subprocess.run(["git", "-c", "user.name=A", "-c", "user.email=a@b.c", *words], check=True, capture_output=True)
