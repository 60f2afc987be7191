"""Test --trt-host: engines are built and measured on a host that a command starts Python on."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from samples.pytest_runs import ENGINE, MEASURES

HERE = f"exec:{sys.executable}"

USES_EVERYTHING = """
import numpy as np
import pytest
pytestmark = [
    pytest.mark.trt_engine("m.onnx", dims={"N": (1, 4, 8)}),
    pytest.mark.trt_matrix(batch=[4], precision=["fp32", "fp16"]),
    pytest.mark.trt_accuracy(reference="onnxruntime", rtol=0.1, atol=0.1),
]
def test_m(trt_runner, capfd):
    inputs = trt_runner.generated_inputs()
    expected = trt_runner(inputs)["y"]
    for outputs in trt_runner.stream([inputs] * 5):
        np.testing.assert_allclose(outputs["y"], expected, rtol=1e-2, atol=1e-2)
    def filled():
        for _, arrays in zip(range(12), trt_runner.inputs(2)):
            arrays["x"] = inputs["x"]
            yield arrays
    for outputs in trt_runner.stream(filled()):
        np.testing.assert_allclose(outputs["y"], expected, rtol=1e-2, atol=1e-2)
    trt_runner.measure()
"""


@pytest.fixture
def host_cache(project: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, engine_cache: Path) -> Path:
    """The engine cache of the host, which all tests of this process share."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(engine_cache.parent / "elsewhere"))
    return engine_cache.parent / "elsewhere/pytest-trt"


def test_a_host_builds_keeps_runs_and_measures(project, verdicts, host_cache):
    project.makepyfile(test_m=USES_EVERYTHING)
    result = project.runpytest_inprocess(f"--trt-host={HERE}", "--trt-cache-dir=here", "--trt-baseline-save")
    result.assert_outcomes(passed=2)
    assert not list(project.path.glob("here/*/plan")), "engines are kept there"
    assert list(host_cache.glob("*/plan"))
    assert len(list(host_cache.glob("models/*/m.onnx"))) == 1, "the model goes over once; what is made of it does not"
    result = project.runpytest_inprocess(f"--trt-host={HERE}", "--trt-cache-dir=here", "--trt-gate=ms=off")
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines([f"trt: *, ONNX Runtime * on {sys.executable}; *", "2 engines from the cache. 2 ok."])
    (first, _) = json.loads((project.path / "out.json").read_text())["results"]
    assert first["measurement"]["environment"]["host_name"] == HERE.removeprefix("exec:")


@pytest.mark.way_past("a host elsewhere that cannot be reached", "exit status 4")
@pytest.mark.parametrize("xdist", [(), ("-n", "2")], ids=["alone", "xdist"])
def test_a_host_that_cannot_be_reached_is_a_usage_error(project, xdist):
    project.makepyfile(test_m=ENGINE + MEASURES)
    command = "sh -c 'echo Permission denied >&2; exit 255'"
    result = project.runpytest_subprocess(f"--trt-host=exec:{command}", *xdist)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    reason = "the command ended with status 255 before Python had started: Permission denied"
    result.stderr.fnmatch_lines([f"ERROR: host {command}: {reason}"])
    assert "passed" not in result.stdout.str()


@pytest.fixture
def fragile(tmp_path: Path) -> str:
    """A host whose agent a test can kill: its process id is in the environment variable FRAGILE's file."""
    script = tmp_path / "fragile"
    script.write_text(f'#!/bin/sh\necho $$ >> {tmp_path}/pids\nexec {sys.executable} "$@"\n')
    script.chmod(0o755)
    return f"exec:{script}"


LOSES_ITS_HOST = """
import os, pathlib, signal
import pytest
@pytest.mark.trt_engine("m.onnx")
@pytest.mark.trt_matrix(batch=[1, 4])
@pytest.mark.trt_budget("cpu", ms=1e6)
def test_m(trt_runner, request):
    inputs = trt_runner.generated_inputs()
    if "b1" in request.node.name:
        os.kill(int(pathlib.Path(PIDS).read_text().split()[-1]), signal.SIGKILL)
    trt_runner(inputs)
    trt_runner.measure()
    print("measured on", trt_runner.environment.host_name)
"""


@pytest.mark.parametrize("others", [[], [HERE]], ids=["again on the same host", "on another host"])
def test_a_test_that_loses_its_host_is_tried_once_more(project, host_cache, fragile, tmp_path, verdicts, others):
    project.makepyfile(test_m=f"PIDS = {str(tmp_path / 'pids')!r}\n{LOSES_ITS_HOST}")
    hosts = [f"--trt-host={host}" for host in (fragile, *others)]
    result = project.runpytest_inprocess(*hosts, "-rP", "--trt-baseline=off")
    result.assert_outcomes(passed=2)
    assert verdicts() == {"test_m[b1]": ["ok"], "test_m[b4]": ["ok"]}
    on = others[-1].removeprefix("exec:") if others else fragile.removeprefix("exec:")
    assert result.outlines.count(f"measured on {on}") == 2
    why = f"host {fragile.removeprefix('exec:')}: the link to it is lost (*)"
    result.stdout.fnmatch_lines([f"*test_m.py::test_m[[]b1]: tried once more ({why})"])


DIES = """
import os, signal
import pytest
@pytest.mark.trt_engine("m.onnx")
@pytest.mark.trt_matrix(batch=[1, 4])
@pytest.mark.trt_budget("cpu", ms=1e6)
def test_m(trt_runner, request):
    inputs = trt_runner.generated_inputs()
    if "b1" in request.node.name:
        os.kill(trt_runner._probe.pid, signal.SIGKILL)
    trt_runner(inputs)
    trt_runner.measure()
"""


def test_a_probe_that_is_killed_on_a_host_is_tried_once_more(project, host_cache, verdicts):
    project.makepyfile(test_m=DIES)
    result = project.runpytest_inprocess(f"--trt-host={HERE}", "--trt-baseline=off")
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["*test_m.py::test_m[[]b1]: tried once more (the probe was killed by SIGKILL *"])


COUNTED = """
import pytest
@pytest.mark.parametrize("number", range(6))
@pytest.mark.trt_engine("m.onnx")
@pytest.mark.trt_matrix(batch=[4])
@pytest.mark.trt_budget("cpu", ms=1e6)
def test_m(trt_runner, number):
    trt_runner.measure()
"""


def test_workers_spread_over_hosts_and_each_reaches_only_its_own(project, host_cache, tmp_path, verdicts):
    project.makepyfile(test_m=COUNTED)
    hosts = []
    for name in ("a", "b"):
        script = tmp_path / name
        script.write_text(f'#!/bin/sh\necho $$ >> {tmp_path}/{name}-starts\nexec {sys.executable} "$@"\n')
        script.chmod(0o755)
        hosts.append(f"--trt-host=exec:{script}")
    result = project.runpytest_subprocess("-n", "2", *hosts, "--trt-baseline=off")
    result.assert_outcomes(passed=6)
    assert {tuple(statuses) for statuses in verdicts().values()} == {("ok",)}
    results = json.loads((project.path / "out.json").read_text())["results"]
    used = {result["measurement"]["environment"]["host_name"] for result in results}
    assert used == {str(tmp_path / name) for name in ("a", "b")}
    result.stdout.fnmatch_lines([f"trt: 2 x *, ONNX Runtime * on {tmp_path}/a, {tmp_path}/b"])
    starts = [len((tmp_path / f"{name}-starts").read_text().split()) for name in ("a", "b")]
    assert starts == [2, 2], "once by the controller, and once by one worker"


def test_each_host_builds_first_what_its_tests_need(project, tmp_path, verdicts):
    project.makepyfile(test_m=COUNTED)
    hosts = []
    for name in ("a", "b"):
        script = tmp_path / name
        own = f"export TMPDIR={tmp_path}/{name}-tmp XDG_CACHE_HOME={tmp_path}/{name}-cache; mkdir -p $TMPDIR"
        script.write_text(f'#!/bin/sh\n{own}\nexec {sys.executable} "$@"\n')
        script.chmod(0o755)
        hosts.append(f"--trt-host=exec:{script}")
    result = project.runpytest_inprocess(*hosts, "--trt-prebuild", "--trt-build-only")
    result.assert_outcomes(passed=6)
    result.stdout.fnmatch_lines(["trt: built 2 engines on 2 devices in *"])
    assert [len(list(tmp_path.glob(f"{name}-cache/pytest-trt/*/plan"))) for name in ("a", "b")] == [1, 1]
