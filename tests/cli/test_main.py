"""Test the command itself: help, version, and a closed pipe."""

from __future__ import annotations

import argparse
import dataclasses
import io
import subprocess
import sys
from pathlib import Path

import pytest
from samples.records import measurement

from pytest_trt.cli import doctor
from pytest_trt.cli.exit_status import CRASHED
from pytest_trt.cli.main import main
from pytest_trt.cli.terminal import show, show_json, show_progress, show_report
from pytest_trt.judge.baselines import open_baselines
from pytest_trt.judge.baselines.updating import Judged


def test_help_and_version(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (["--help"], ["compare", "--help"], ["baseline", "accept", "--help"], ["--version"]):
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        assert ended.value.code == 0
    assert "pytest-trt 0." in capsys.readouterr().out


@pytest.mark.parametrize("error", [ValueError("two\nlines"), MemoryError(), OSError(28, "No space left on device")])
def test_unexpected_exception_has_no_exit_status_of_a_verdict(
    error: Exception, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def crash(_args: argparse.Namespace) -> int:
        raise error

    monkeypatch.setattr(doctor, "_run", crash)
    assert main(["doctor"]) == CRASHED == 70
    written = capsys.readouterr().err
    assert written.startswith(f"pytest-trt: internal error: {type(error).__name__}: ")
    assert "(test_main.py, line " in written
    assert written.endswith("nothing was decided; please report this as a bug\n")
    assert written.count("\n") == 1


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252"])
def test_every_text_is_printed_in_a_small_encoding(encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """`show` is the only function that prints, so a character that the terminal lacks ends no command."""
    printed = {}
    for name in ("stdout", "stderr"):
        stream = printed[name] = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
        monkeypatch.setattr(stream.buffer, "isatty", lambda: True, raising=False)
        monkeypatch.setattr(sys, name, stream)
    text = "1\u202f000 \u2500 \u4e00 \udcff"
    show(text)
    show(text, error=True)
    show_report(text)
    show_json(text)
    show_progress(text)
    for stream in printed.values():
        stream.flush()
        assert b"000 " in stream.buffer.getvalue()


def test_closed_pipe_is_no_error(tmp_path: Path) -> None:
    """If `head` closes the pipe, there is no traceback, and no error at exit."""
    stored = open_baselines(str(tmp_path), "main", revision=None, rootdir=Path())
    small = measurement(samples=(), profile=None)
    names = (f"tests/test_{'x' * 60}.py::test_{number}" for number in range(900))
    stored.save_all([Judged(dataclasses.replace(small, node_id=name), "new") for name in names])
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
