"""Test slow, lost and half-open links, hosts without space, and the end of a run. All hosts are real processes."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from samples import TESTS_FOLDER
from samples.processes import accept_ctrl_c, alive, descendants, wait_until
from samples.pytest_runs import MEASURES
from samples.ssh_server import server

from pytest_trt.spec import hosts
from pytest_trt.trial.hosts import link

PYTHON = sys.executable
ONE_TEST = """
import pathlib
import pytest
@pytest.mark.trt_engine("m.onnx")
@pytest.mark.trt_matrix(batch=[4])
@pytest.mark.trt_budget("cpu", ms=1e6)
"""
DISTURBED = (
    ONE_TEST
    + """
def test_m(trt_runner):
    inputs = trt_runner.generated_inputs()
    pathlib.Path(CONTROL).write_text(ACTION)
    trt_runner(inputs)
    trt_runner.measure()
"""
)


@pytest.fixture(autouse=True)
def _host_cache(monkeypatch: pytest.MonkeyPatch, engine_cache: Path) -> None:
    """Let all hosts of these tests share one engine cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(engine_cache.parent / "elsewhere"))


@pytest.fixture
def slow(tmp_path: Path) -> Callable[..., str]:
    """Return a function that puts a link with a delay, a rate and a control file before this host's Python."""

    def make(delay_s: float = 0.0, bytes_per_s: float = 1e12, command: str = PYTHON) -> str:
        return f"exec:{PYTHON} {TESTS_FOLDER}/samples/slow_link.py {delay_s} {bytes_per_s} {tmp_path}/control {command}"

    return make


def test_ssh_works_and_a_slow_link_only_takes_longer(project, verdicts, tmp_path, slow):
    project.makepyfile(test_m=ONE_TEST + MEASURES)
    with server(tmp_path) as config:
        address = f"ssh://perf-0?python={PYTHON}&config={config}"
        result = project.runpytest_inprocess(f"--trt-host={address}", "--trt-baseline-save")
        result.stdout.fnmatch_lines(["trt: *, ONNX Runtime * on perf-0; *"])
    result = project.runpytest_inprocess(f"--trt-host={slow(0.025, 1.25e6)}", "--trt-gate=ms=off")
    result.assert_outcomes(passed=1)
    assert verdicts() == {"test_m[b4]": ["ok", "ok"]}


@pytest.mark.way_past("a host elsewhere that is lost, again and again", "`error`")
@pytest.mark.parametrize(
    ("action", "reason"),
    [("cut", "the command ended with status 1 before *"), ("freeze", "no Python has started within 2 s")],
)
def test_a_link_that_is_lost_again_fails_the_test_and_names_the_host(
    project, verdicts, slow, tmp_path, monkeypatch, action, reason
):
    monkeypatch.setattr(link, "SILENCE_S", 2.0)
    monkeypatch.setattr(hosts, "EXEC_START_S", 2.0)
    project.makepyfile(test_m=f"CONTROL, ACTION = {str(tmp_path / 'control')!r}, {action!r}\n{DISTURBED}")
    host = slow()
    result = project.runpytest_inprocess(f"--trt-host={host}", "--trt-baseline=off")
    result.assert_outcomes(failed=1)
    assert verdicts() == {"test_m[b4]": ["error"]}
    result.stdout.fnmatch_lines([f"HostError: host {host.removeprefix('exec:')}: {reason}"])
    result.stdout.fnmatch_lines(["warning: test_m.py::test_m[[]b4]: tried once more (host *"])


def test_a_host_without_space_fails_the_test_with_one_line(project, verdicts, tmp_path, save_model):
    save_model("large.onnx", folder=project.path, width=400)
    project.makepyfile(test_m=ONE_TEST.replace("m.onnx", "large.onnx") + MEASURES)
    script = tmp_path / "small"
    script.write_text(f'#!/bin/sh\nulimit -f 400\nexec {PYTHON} "$@"\n')
    script.chmod(0o755)
    result = project.runpytest_inprocess(f"--trt-host=exec:{script}")
    result.assert_outcomes(failed=1)
    assert verdicts() == {"test_m[b4]": ["error"]}
    result.stdout.fnmatch_lines([f"CacheError: host {script}: *large.onnx: File too large: pytest-trt cache prune, *"])


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGKILL], ids=["ctrl-c", "kill -9"])
def test_no_process_on_the_host_outlives_the_run(project, end, tmp_path):
    project.makepyfile(test_m=ONE_TEST + MEASURES)
    command = [PYTHON, "-u", "-m", "pytest", "-o", "trt_report=", f"--trt-host=exec:{PYTHON}"]
    command += ["--trt-min-time=120", "--trt-max-time=120"]
    process = subprocess.Popen(command, cwd=project.path, stdout=subprocess.PIPE, preexec_fn=accept_ctrl_c)
    try:
        # The agent, its probe server, the probe and the spare one.
        children = wait_until(lambda: found if len(found := descendants(process.pid)) >= 4 else [])
        process.send_signal(end)
        process.wait(60)
        wait_until(lambda: not alive(children))
    finally:
        process.kill()
        process.communicate()
