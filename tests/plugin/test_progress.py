"""Test the progress of a run: a live line on a terminal, and one line a minute in a file."""

from __future__ import annotations

import re
from types import SimpleNamespace
from typing import Any

import pytest

from pytest_trt.plugin.progress import ProgressLine


class Run:
    """A run whose output and clock the test controls."""

    def __init__(self, *, isatty: bool, verbosity: int = 0) -> None:
        self.written: list[str] = []
        self.now = 0.0
        reporter = SimpleNamespace(
            isatty=isatty, verbosity=verbosity, _tw=SimpleNamespace(fullwidth=80), write=self._write
        )
        plugins = SimpleNamespace(get_plugin={"terminalreporter": reporter}.get)
        config: Any = SimpleNamespace(pluginmanager=plugins)
        self.line = ProgressLine(config, lambda: self.now)

    def _write(self, text: str, *, flush: bool) -> None:
        self.written.append(text)

    def show(self, phase: str, at: float) -> None:
        self.now = at
        self.line(phase)

    @property
    def shown(self) -> list[str]:
        """The texts without the codes that move the cursor."""
        return [re.sub(r"\x1b(\[\d*[A-Z]|\w)", "", text).strip() for text in self.written]


def test_terminal_shows_test_phase_count_and_what_is_left() -> None:
    run = Run(isatty=True)
    run.line.total = 3
    run.line.begin_test("test_a[fp16]")
    run.show("measuring", 0.5)
    run.show("measuring", 4.5)
    run.show("", 10)
    run.line.end_test()
    run.line.begin_test("test_b")
    run.show("building m.onnx (fp16): working, 2 s", 12)
    run.show("building m.onnx (fp16): working, 3 s", 13)
    assert run.shown == [
        "0 of 3 done, test_a[fp16]: measuring",
        "0 of 3 done, test_a[fp16]: measuring, 4 s",
        "",
        "1 of 3 done, test_b: building m.onnx (fp16): working, 2 s; about 18 s left",
        "1 of 3 done, test_b: building m.onnx (fp16): working, 3 s; about 17 s left",
    ]
    assert all("\n" not in text for text in run.written)


def test_file_gets_one_line_a_minute() -> None:
    run = Run(isatty=False)
    run.line.total = 2
    run.line.begin_test("test_a")
    for second in range(150):
        run.show("measuring", second)
    run.show("", 150)
    assert run.shown == [
        "trt: 0 of 2 done, test_a: measuring, 60 s", "trt: 0 of 2 done, test_a: measuring, 120 s",
    ]  # fmt: skip


@pytest.mark.parametrize("isatty", [True, False])
def test_quiet_run_shows_nothing(isatty: bool) -> None:
    run = Run(isatty=isatty, verbosity=-1)
    run.show("measuring", 0)
    run.show("measuring", 100)
    run.show("", 101)
    assert run.written == []


def test_name_of_a_test_controls_no_terminal() -> None:
    run = Run(isatty=True)
    run.line.begin_test("test_a[\x1b[2J]")
    run.show("measuring", 0)
    assert r"test_a[\x1b[2J]: measuring" in run.written[0]
