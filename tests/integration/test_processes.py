"""Test lost probes, Ctrl-C and kill -9, and two runs on one device. All processes are real."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from samples import TESTS_FOLDER
from samples.processes import alive, descendants
from samples.pytest_runs import ENGINE, MEASURES


def wait_until(condition, seconds=30.0):
    """Wait until the condition returns something true, and return that.

    Raises:
        AssertionError: The time is over.
    """
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, f"the condition did not hold within {seconds} s"
        time.sleep(0.02)
    return found


@pytest.fixture
def start(project):
    """Return a function that starts pytest as a shell would. At the end, all its processes are killed."""
    started = []

    def start(*options):
        command = [sys.executable, "-m", "pytest", "-o", "trt_report=", *options]
        with (project.path / f"out-{len(started)}.txt").open("wb") as out:
            started.append(subprocess.Popen(command, cwd=project.path, stdout=out, stderr=out, start_new_session=True))
        return started[-1]

    yield start
    for process in started:
        for pid in (*descendants(process.pid), process.pid):
            if alive([pid]):
                os.kill(pid, signal.SIGKILL)
        process.wait()


def test_lost_probe_fails_only_its_own_test_and_is_explained(project, verdicts):
    project.makepyfile(
        test_m=f"import sys; sys.path.insert(0, {str(TESTS_FOLDER)!r})\n"
        + ENGINE
        + """
import os, signal
import numpy as np
import pytest_trt.measure.engine_probe as engine_probe
from samples.processes import descendants

X = {"x": np.ones((4, 32), np.float32)}

@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGKILL, signal.SIGSTOP], ids=str)
def test_lost(trt_runner, number, monkeypatch):
    trt_runner(X)
    monkeypatch.setattr(engine_probe, "BLOCK_TIMEOUT_S", 0.5)
    os.kill(descendants(os.getpid())[-2], number)  # the last one is the spare
    trt_runner(X)
"""
        + MEASURES
    )
    result = project.runpytest_subprocess()
    result.assert_outcomes(failed=3, passed=1)
    result.stdout.fnmatch_lines(
        [
            "ProbeError: the probe was killed by SIGSEGV in 'infer'; its log is empty",
            "ProbeError: the probe was killed by SIGKILL (out of host memory?) in 'infer'*",
            "ProbeError: the probe did not answer 'infer' within 0.5 s and was killed*",
        ]
    )
    assert list(verdicts().values()) == [["error"], ["error"], ["error"], ["missing"]]
    assert "pytest_trt/" not in result.stdout.str()


def slow_to_build(path: Path, width: int = 1024, factors: int = 60) -> None:
    """Write a model with a product of constants, which ONNX Runtime computes when it loads the model."""
    weights = numpy_helper.from_array(np.eye(width, dtype=np.float32), "w")
    nodes = [
        helper.make_node("MatMul", ["w" if i == 0 else f"p{i}", "w"], [f"p{i + 1}"], name=f"MatMul_{i}")
        for i in range(factors)
    ]
    nodes.append(helper.make_node("MatMul", ["x", f"p{factors}"], ["y"], name="last"))
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, width]) for name in "xy")
    graph = helper.make_graph(nodes, "slow", [x], [y], [weights])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(path))


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGKILL], ids=["ctrl-c", "kill -9"])
@pytest.mark.parametrize("phase", ["measurement", "build"])
def test_no_process_outlives_the_run(project, start, phase, end):
    if phase == "build":
        slow_to_build(project.path / "slow.onnx")
        project.makepyfile("import pytest\n@pytest.mark.trt_engine('slow.onnx')\n" + MEASURES)
    else:
        project.makepyfile(ENGINE + MEASURES)
    process = start("--trt-min-time=120", "--trt-max-time=120", "--trt-cache-dir=own")
    # the server and the probe; an earlier probe only reads the environment
    wait_until(lambda: (project.path / "own").is_dir() and len(descendants(process.pid)) >= 2)
    time.sleep(0.3)
    assert process.poll() is None
    children = descendants(process.pid)
    assert len(children) >= 2
    process.send_signal(end)
    status = process.wait(10)
    assert status == (pytest.ExitCode.INTERRUPTED if end == signal.SIGINT else -signal.SIGKILL)
    wait_until(lambda: not alive(children))
    out = (project.path / "out-0.txt").read_text()
    if end == signal.SIGINT:
        assert "KeyboardInterrupt" in out
    assert not [entry for entry in (project.path / "own").iterdir() if len(entry.name) == 64] or phase != "build"


def test_second_run_waits_for_the_device_and_says_so(project, start, save_model):
    save_model(folder=project.path, layers=16, width=512)
    project.makepyfile(test_m=ENGINE + MEASURES)
    first = start("--trt-min-time=6", "--trt-max-time=6")
    wait_until(lambda: len(descendants(first.pid)) >= 2)
    time.sleep(1)
    second = start("--trt-min-time=0")
    assert (first.wait(60), second.wait(60)) == (0, 0)
    out = (project.path / "out-1.txt").read_text()
    assert "trt: waiting for " in out
    assert "another run measures or builds on it" in out
    assert "waiting for" not in (project.path / "out-0.txt").read_text()
