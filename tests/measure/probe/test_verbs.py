"""Test the stack limit of a process that builds."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize(("limits", "kib"), [("-Ss 8192", 98304), ("-Hs 16384; ulimit -Ss 8192", 16384)])
def test_stack_limit_of_a_build_is_raised(limits, kib):
    """TensorRT's builder recurses over layers. With 8 MiB, a chain of 5000 layers ends in SIGSEGV."""
    code = "from pytest_trt.measure.probe import verbs; verbs.raise_stack_limit(); import os; os.system('ulimit -Ss')"
    shell = ["bash", "-c", f'ulimit {limits}; exec "$0" -c "$1"', sys.executable, code]
    assert subprocess.run(shell, capture_output=True, text=True, check=True).stdout.strip() == str(kib)
