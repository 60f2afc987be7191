"""Test --trt-host=ray: Ray chooses the node, and another one when a node is lost."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from samples import TESTS_FOLDER
from samples.ray_cluster import QUIET, cluster

LOSES_ITS_NODE = """
import os, pathlib, signal
import pytest
from samples.processes import alive, wait_until

def raylet_of(pid):
    "Return the process of the node that a process descends from."
    while pathlib.Path(f"/proc/{pid}/comm").read_text() != "raylet\\n":
        pid = int(pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    return pid

@pytest.mark.trt_engine("m.onnx")
@pytest.mark.trt_matrix(batch=[1, 4])
@pytest.mark.trt_budget("cpu", ms=1e6)
def test_m(trt_runner, request):
    inputs = trt_runner.generated_inputs()
    if "b1" in request.node.name:
        pid = trt_runner._probe.pid
        os.kill(raylet_of(pid), signal.SIGKILL)
        wait_until(lambda: not alive([pid]))
    trt_runner(inputs)
    assert trt_runner.measure().environment.host_name == "ray"
"""


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """The address of a cluster."""
    with cluster() as found:
        yield found


@pytest.fixture(autouse=True)
def _cluster(address: str, monkeypatch: pytest.MonkeyPatch, engine_cache: Path) -> None:
    for name, value in {**QUIET, "RAY_ADDRESS": address, "XDG_CACHE_HOME": str(engine_cache.parent / "ray")}.items():
        monkeypatch.setenv(name, value)


def test_a_test_that_loses_its_node_runs_on_another(project, verdicts):
    project.makepyfile(test_m=f"import sys; sys.path.insert(0, {str(TESTS_FOLDER)!r})\n{LOSES_ITS_NODE}")
    result = project.runpytest_inprocess("--trt-host=ray", "--trt-baseline=off")
    result.assert_outcomes(passed=2)
    assert verdicts() == {"test_m[b1]": ["ok"], "test_m[b4]": ["ok"]}
    result.stdout.fnmatch_lines(["trt: *, ONNX Runtime * on ray; *", "*test_m[[]b1]: tried once more (host ray: *"])


def test_a_cluster_that_is_not_there_is_a_usage_error(project, monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS")
    project.makepyfile(test_m=f"import sys; sys.path.insert(0, {str(TESTS_FOLDER)!r})\n{LOSES_ITS_NODE}")
    result = project.runpytest_inprocess("--trt-host=ray://127.0.0.1:1")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: host ray://127.0.0.1:1: the command ended with status 1 before Python had *"])
    assert len([line for line in result.errlines if line]) == 1
