"""Test lost probes, Ctrl-C and kill -9, and two runs on one device. All processes are real."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from samples import TESTS_FOLDER
from samples.forked_python import INTERPRETER
from samples.processes import accept_ctrl_c, alive, descendants, wait_until
from samples.pytest_runs import ENGINE, MEASURES

from pytest_trt.core.scratch import sweep, user_folder


@pytest.fixture
def start(project):
    """Return a function that starts pytest as a shell would. At the end, all its processes are killed.

    It starts an interpreter, whose children are in the tree of its processes, or a fork, whose children are not.
    """
    started = []

    def start(*options, forked=False):
        command = [sys.executable, "-u", "-m", "pytest", "-o", "trt_report=", *options]
        with (project.path / f"out-{len(started)}.txt").open("wb") as out:
            process = subprocess.Popen(
                command, cwd=project.path, stdout=out, stderr=out, start_new_session=True,
                **({} if forked else {"preexec_fn": accept_ctrl_c}),
            )  # fmt: skip
        started.append(process)
        return process

    yield start
    for process in started:
        for pid in (*descendants(process.pid), process.pid):
            if alive([pid]):
                os.kill(pid, signal.SIGKILL)
        process.wait()


@pytest.mark.way_past("the process that measures crashes, is killed or is stopped", "`error`")
def test_lost_probe_fails_only_its_own_test_and_is_explained(project, verdicts, monkeypatch):
    monkeypatch.setattr(subprocess, "Popen", INTERPRETER)  # the test finds its probe among its descendants
    project.makepyfile(
        test_m=f"import sys; sys.path.insert(0, {str(TESTS_FOLDER)!r})\n"
        + ENGINE
        + """
import os, signal
import numpy as np
import pytest_trt.measure.engine_probe as engine_probe
from samples.forked_python import INTERPRETER
from samples.processes import descendants

X = {"x": np.ones((4, 32), np.float32)}

@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGKILL, signal.SIGSTOP], ids=str)
def test_lost(trt_runner, number, monkeypatch):
    trt_runner(X)
    if number == signal.SIGSTOP:
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
    cache = project.path / "own"

    def children_in_phase():
        """Return the server, its probe, and the spare probe that it forks in advance, once the phase has begun."""
        begun = any(cache.glob("tmp/*")) if phase == "build" else any(cache.glob("*/meta.json"))
        children = descendants(process.pid)
        return children if begun and len(children) >= 3 else []

    children = wait_until(children_in_phase)
    assert process.poll() is None
    process.send_signal(end)
    status = process.wait(120)
    assert status == (pytest.ExitCode.INTERRUPTED if end == signal.SIGINT else -signal.SIGKILL)
    wait_until(lambda: not alive(children))
    out = (project.path / "out-0.txt").read_text()
    if end == signal.SIGINT:
        assert "KeyboardInterrupt" in out
    assert any(cache.glob("*/meta.json")) == (phase == "measurement")
    temporary = user_folder()
    if end == signal.SIGKILL:
        sweep(temporary)
    assert {path.suffix for path in temporary.iterdir()} <= {".lock"}


HOLD = """
import pathlib, time
from pytest_trt.measure import run

sample = run.sample

def sample_and_wait(*args):
    sampling = sample(*args)
    pathlib.Path("measuring").touch()
    while not pathlib.Path("go-on").exists():
        time.sleep(0.01)
    return sampling

run.sample = sample_and_wait
"""
"""A plugin that holds the device in the middle of a measurement."""

OFTEN = "from pytest_trt.plugin import progress\nprogress.EVERY_S = 0.1\n"
"""A plugin that writes a line of progress to a file not only once a minute."""


def test_second_run_waits_for_the_device_and_says_so(project, start):
    project.makepyfile(test_m=ENGINE + MEASURES, hold=HOLD, often=OFTEN)
    first = start("-p", "hold", forked=True)
    wait_until((project.path / "measuring").exists)
    second = start("-p", "often", forked=True)
    wait_until(lambda: "another run" in (project.path / "out-1.txt").read_text())
    (project.path / "go-on").touch()
    assert (first.wait(120), second.wait(120)) == (0, 0)
    out = (project.path / "out-1.txt").read_text()
    assert "trt: 0 of 1 done, test_m: waiting for " in out
    assert "another run measures or builds on it" in out
    assert "waiting for" not in (project.path / "out-0.txt").read_text()
