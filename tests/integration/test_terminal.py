"""Test the output on a real terminal: colour, and a progress line that no other output has."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys

import pytest
from samples.pytest_runs import ENGINE, MEASURES


def on_a_terminal(project, *options):
    """Run pytest on a terminal, and return its exit status and all that it writes there."""
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm-256color"}
    environment.pop("NO_COLOR", None)
    command = [sys.executable, "-m", "pytest", *options]
    process = subprocess.Popen(command, cwd=project.path, stdin=theirs, stdout=theirs, stderr=theirs, env=environment)
    os.close(theirs)
    written = b""
    try:
        while chunk := os.read(ours, 65536):
            written += chunk
    except OSError:  # Linux reports EIO at the end of a terminal
        pass
    os.close(ours)
    return process.wait(30), written.decode()


def test_terminal_has_colour_and_a_progress_line_that_disappears(project):
    project.makepyfile(test_m=ENGINE + "@pytest.mark.trt_budget('cpu', ms=1e-6)\n" + MEASURES)
    status, written = on_a_terminal(project, "--trt-no-cache", "--trt-baseline=off")
    assert status == pytest.ExitCode.TESTS_FAILED
    assert re.search(r"\x1b\[[0-9;]*31[0-9;]*mover budget\x1b\[0m", written)
    live = re.findall(r"\r\x1b\[2K([^\r\n]*?)\x1b8", written)
    for phase in (r"building m\.onnx \(fp32\): .*, \d+ s", "measuring", "confirming", "timing the layers"):
        assert any(re.match(f"0 of 1 done, test_m: {phase}", line) for line in live), phase
    assert live[-1] == ""


@pytest.mark.parametrize("options", [("-q",), ("-n", "1")], ids=["quiet", "xdist"])
def test_quiet_run_and_worker_show_no_progress_line(project, options):
    project.makepyfile(test_m=ENGINE + MEASURES)
    status, written = on_a_terminal(project, "--trt-no-cache", *options)
    assert status == pytest.ExitCode.OK
    assert "building" not in written
