"""Fixtures: the probe servers of all tests of commands are forks, and a command runs in a project of its own."""

from __future__ import annotations

from pathlib import Path

import pytest
from samples.runs import Run

from pytest_trt.cli.main import main


@pytest.fixture(autouse=True)
def _probe_servers_are_forks(forked_children: None) -> None: ...


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Return a function that runs a command in a project of its own, and returns its status, output and errors."""
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    def command(*arguments: object) -> tuple[int, str, str]:
        status = main([str(argument) for argument in arguments])
        return (status, *capsys.readouterr())

    return command
