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
"""The node id of another test than TEST."""

DEVICE = device_slug(H200)

Run = Callable[..., tuple[int, str, str]]
"""The type of the fixture `run`: from arguments to the exit status, the output and the errors."""


def folder(name: str = "main") -> BaselineFolder:
    """Return the baselines of that name in the working folder."""
    return open_baselines(".trt-baselines", name, revision=None, rootdir=Path())


def write_run(path: str, *measured: Measurement, verdicts: Sequence[Verdict] = ()) -> Path:
    """Write the JSON of a run with these measurements, each with the same verdicts."""
    results = [Result(one.node_id, tuple(verdicts), one) for one in measured]
    file = Path(path)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(result_json.render(results)))
    return file


def git(*words: str) -> None:
    """Run git in the working folder."""
    subprocess.run(["git", "-c", "user.name=A", "-c", "user.email=a@b.c", *words], check=True, capture_output=True)
