"""Fixtures of integration tests: the verdicts of a run, and saved baselines."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture
def verdicts(project: pytest.Pytester) -> Callable[[], dict[str, list[str]]]:
    """The statuses of each test's verdicts in the last run, by the test's name."""

    def read() -> dict[str, list[str]]:
        results = json.loads((project.path / "out.json").read_text())["results"]
        return {r["node_id"].partition("::")[2]: [v["status"] for v in r["verdicts"]] for r in results}

    return read


@pytest.fixture(scope="session")
def saved_baselines(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the baselines that `save_baselines` has saved."""
    return tmp_path_factory.mktemp("baselines")


@pytest.fixture
def save_baselines(project: pytest.Pytester, saved_baselines: Path) -> Callable[[], None]:
    """Return a function that saves a baseline of each test in the project, or copies those of an equal project."""

    def save() -> None:
        tests = {path.name: path.read_text() for path in sorted(project.path.glob("*.py"))}
        saved = saved_baselines / hashlib.sha256(json.dumps(tests).encode()).hexdigest()[:16]
        if not saved.exists():
            assert project.runpytest_subprocess("--trt-baseline-save").ret == 0
            shutil.copytree(project.path / ".trt-baselines", saved)
        else:
            shutil.copytree(saved, project.path / ".trt-baselines")

    return save
