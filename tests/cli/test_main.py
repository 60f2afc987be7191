"""Test the command itself: help, version, and a closed pipe."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest
from samples.records import measurement

from pytest_trt.cli.main import main
from pytest_trt.judge.baselines import open_baselines


def test_help_and_version(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (["--help"], ["compare", "--help"], ["baseline", "accept", "--help"], ["--version"]):
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        assert ended.value.code == 0
    assert "pytest-trt 0." in capsys.readouterr().out


def test_closed_pipe_is_no_error(tmp_path: Path) -> None:
    """If `head` closes the pipe, there is no traceback, and no error at exit."""
    stored = open_baselines(str(tmp_path), "main", revision=None, rootdir=Path())
    small = measurement(samples=(), profile=None)
    names = (f"tests/test_{'x' * 60}.py::test_{number}" for number in range(900))
    stored.save_all([(dataclasses.replace(small, node_id=name), "new") for name in names])
    command = [sys.executable, "-c", "import sys; from pytest_trt.cli.main import main; sys.exit(main())"]
    with subprocess.Popen(
        [*command, "baseline", "list", "--baseline-dir", str(tmp_path)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline().startswith("test ")
        process.stdout.close()
        assert process.stderr.read() == ""
