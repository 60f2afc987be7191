"""Test the limits of processes that build or convert."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize(("limits", "kib"), [("-Ss 8192", 98304), ("-Hs 16384; ulimit -Ss 8192", 16384)])
def test_stack_limit_of_a_build_is_raised(limits, kib):
    """TensorRT's builder recurses over layers. With 8 MiB, a chain of 5000 layers ends in SIGSEGV."""
    code = "from pytest_trt.measure.probe.process_limits import raise_stack_limit; raise_stack_limit()"
    code += "; import os; os.system('ulimit -Ss')"
    shell = ["bash", "-c", f'ulimit {limits}; exec "$0" -c "$1"', sys.executable, code]
    assert subprocess.run(shell, capture_output=True, text=True, check=True).stdout.strip() == str(kib)


@pytest.mark.parametrize(
    ("limit", "megabytes", "fits"),
    [("unlimited", 100, True), ("unlimited", 400, False), (str(2**19), 100, True), (str(2**17), 150, False)],
)
def test_memory_is_limited_beyond_what_is_used(limit, megabytes, fits):
    """The limit is 200 MiB more than the process has, unless it has a lower limit already (in KiB)."""
    code = "from pytest_trt.measure.probe.process_limits import limit_memory; kept = bytearray(2**20); "
    code += f"limit_memory(200 * 2**20); kept = bytearray({megabytes} * 2**20)"
    shell = ["bash", "-c", f'ulimit -Sd {limit}; exec "$0" -c "$1"', sys.executable, code]
    ended = subprocess.run(shell, capture_output=True, text=True)
    assert (ended.returncode, "MemoryError" in ended.stderr) == (int(not fits), not fits), ended.stderr
