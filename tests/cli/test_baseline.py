"""Test `pytest-trt baseline`: list, show, accept, rename and prune."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from samples.records import TEST, measurement
from samples.runs import DEVICE, OTHER, Run, folder, write_run

from pytest_trt.cli.project import LAST_RUN
from pytest_trt.core.records import Estimate, Verdict
from pytest_trt.judge.baselines import open_baselines
from pytest_trt.judge.baselines.storage.local import LocalStorage


def test_list(run: Run) -> None:
    assert "no baseline is stored" in run("baseline", "list")[1]
    folder().save(measurement(), "missing")
    folder().save(measurement(node_id=OTHER), "new")
    status, out, _ = run("baseline", "list")
    assert status == 0
    assert TEST in out
    assert OTHER in out
    assert "a1b2c3d4e5f6" in out
    assert OTHER not in run("baseline", "list", TEST)[1]


def test_list_continues_after_a_broken_baseline(run: Run) -> None:
    folder().save(measurement(), "missing")
    folder().save(measurement(node_id=OTHER), "new")
    next(Path().rglob("test_encoder*.json")).write_text("{")
    status, out, error = run("baseline", "list")
    assert status == 1
    assert TEST in out
    assert "not JSON" in error


def test_show(run: Run) -> None:
    folder().save(measurement(), "missing")
    verdict = Verdict("ok", "baseline", "ms", "", ratio=Estimate.exact(1.0125))
    folder().save(measurement(0.273, day=2), "ok", verdicts=[verdict])
    status, out, _ = run("baseline", "show", TEST)
    assert status == 0
    for word in (
        "NVIDIA H200",
        "TensorRT 8.6.0",
        "0.272 ms",
        "2026-07-02",
        "precision=fp16",
        "device memory",
        "judged +1.2 %",
    ):
        assert word in out
    status, _, error = run("baseline", "show", TEST.replace("18", "50"))
    assert status == 2
    assert f"did you mean '{TEST}'" in error


def test_accept_uses_the_last_run(run: Run) -> None:
    folder().save(measurement(), "missing")
    status, _, error = run("baseline", "accept", TEST, "--reason", "deeper network")
    assert status == 2
    assert "there is no last run" in error
    write_run(f".pytest_cache/d/trt/{LAST_RUN}", measurement(0.3, day=2), measurement(node_id=OTHER))
    status, out, _ = run("baseline", "accept", TEST, "--reason", "deeper network")
    assert status == 0
    assert "baseline moved (deeper network)" in out
    baseline = folder().load(TEST, DEVICE)
    assert baseline is not None
    assert baseline.figures["ms"].value == 0.3
    assert baseline.history[-1].reason == "deeper network"
    assert folder().load(OTHER, DEVICE) is None
    assert "deeper network" in run("baseline", "show", TEST)[1]


def test_accept_uses_the_run_of_a_ci_job(run: Run) -> None:
    file = write_run("ci/run.json", measurement(0.3), measurement(node_id=OTHER))
    status, out, _ = run("baseline", "accept", "*", "--reason", "new GPU", "--from", file)
    assert status == 0
    assert out.count("baseline created") == 2


def test_accept_refuses_invalid_and_unknown_tests(run: Run) -> None:
    file = write_run("run.json", measurement(), verdicts=[Verdict("invalid", "run", "", "the GPU was busy")])
    status, _, error = run("baseline", "accept", TEST, "--reason", "x", "--from", file)
    assert status == 1
    assert "it is invalid" in error
    assert folder().load(TEST, DEVICE) is None
    status, _, error = run("baseline", "accept", "test_nothing", "--reason", "x", "--from", file)
    assert status == 2
    assert f"the run has no test 'test_nothing': it has {TEST}; name another run with --from" in error


def test_accept_needs_a_reason(run: Run) -> None:
    with pytest.raises(SystemExit) as ended:
        run("baseline", "accept", TEST)
    assert ended.value.code == 2
    status, _, error = run("baseline", "accept", TEST, "--reason", " ")
    assert status == 2
    assert "--reason is empty" in error


def test_rename(run: Run) -> None:
    folder().save(measurement(), "missing")
    status, out, _ = run("baseline", "rename", TEST, OTHER)
    assert status == 0
    assert OTHER in out
    assert folder().load(OTHER, DEVICE) is not None
    assert run("baseline", "rename", TEST, OTHER)[0] == 2


def test_prune_removes_baselines_of_tests_that_pytest_does_not_collect(run: Run) -> None:
    engine = "import pytest\npytestmark = pytest.mark.trt_engine('m.onnx')\n"
    Path("test_existing.py").write_text(engine + "def test_one(trt_runner): pass\ndef test_two(): pass\n")
    for name in ("one", "two", "gone"):  # the second exists, but no longer measures anything
        node_id = f"test_existing.py::test_{name}"
        folder().save(measurement(node_id=node_id), "new")
    status, out, _ = run("baseline", "prune")
    assert status == 0
    assert "would be removed: main/nvidia-h200/test_existing.py/test_gone" in out
    assert "2 in all" in out
    assert len(list(folder().list())) == 3
    status, out, _ = run("baseline", "prune", "--yes")
    assert folder().load("test_existing.py::test_one", DEVICE) is not None
    assert folder().load("test_existing.py::test_gone", DEVICE) is None
    assert "nothing to remove" in run("baseline", "prune", "--yes")[1]


HIDDEN = {
    "importorskip": ("import pytest\npytest.importorskip('nothing_of_this_name')\n", "", []),
    "collect_ignore": ("", "collect_ignore = ['test_hidden.py']\n", []),
    "another path": ("", "", ["--", "test_existing.py"]),
    "a test of the file": ("", "", ["--", "test_existing.py", "test_hidden.py::test_other"]),
    "--ignore": ("", "", ["--", "--ignore=test_hidden.py"]),
}


@pytest.mark.parametrize("how", HIDDEN)
def test_prune_keeps_the_baselines_of_a_file_that_was_not_collected_in_full(run: Run, how: str) -> None:
    head, conftest, arguments = HIDDEN[how]
    engine = "import pytest\npytestmark = pytest.mark.trt_engine('m.onnx')\n"
    Path("test_existing.py").write_text(engine + "def test_one(trt_runner): pass\n")
    tests = "def test_hidden(trt_runner): pass\ndef test_other(trt_runner): pass\n"
    Path("test_hidden.py").write_text(head + engine + tests)
    Path("conftest.py").write_text(conftest)
    for node_id in ("test_existing.py::test_one", "test_hidden.py::test_hidden", "test_removed.py::test_gone"):
        folder().save(measurement(node_id=node_id), "new")
    assert run("baseline", "prune", "--yes", *arguments)[0] == 0
    assert folder().load("test_hidden.py::test_hidden", DEVICE) is not None
    assert folder().load("test_removed.py::test_gone", DEVICE) is None


@pytest.mark.parametrize("removed", [0, 1], ids=["nothing removed", "the data removed"])
def test_an_interrupted_rename_can_be_redone(run: Run, monkeypatch: pytest.MonkeyPatch, removed: int) -> None:
    folder().save(measurement(), "new")
    remove = LocalStorage.remove

    def interrupt(storage: LocalStorage, paths: Sequence[str]) -> None:
        remove(storage, list(paths)[:removed])
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(LocalStorage, "remove", interrupt)
        with pytest.raises(KeyboardInterrupt):
            folder().rename(TEST, OTHER)
    folder().rename(TEST, OTHER)
    assert folder().load(TEST, DEVICE) is None
    assert folder().load(OTHER, DEVICE) is not None
    assert len([path for path in Path(".trt-baselines").rglob("*") if path.is_file()]) == 2


def test_prune_removes_nothing_if_collection_fails(run: Run) -> None:
    Path("test_existing.py").write_text("import nothing_like_this\n")
    folder().save(measurement(), "missing")
    status, _, error = run("baseline", "prune", "--yes")
    assert status == 2
    assert "nothing_like_this" in error
    assert folder().load(TEST, DEVICE) is not None


def test_baseline_options_and_ini(run: Run) -> None:
    Path("pytest.ini").write_text("[pytest]\ntrt_baseline_dir = stored\ntrt_baseline = release\n")
    open_baselines("stored", "release", revision=None, rootdir=Path()).save(measurement(), "missing")
    folder().save(measurement(node_id=OTHER), "missing")
    assert TEST in run("baseline", "list")[1]
    assert OTHER in run("baseline", "list", "--baseline-dir", ".trt-baselines", "--baseline", "main")[1]
    status, _, error = run("baseline", "list", "--baseline", "../x")
    assert status == 2
    assert "--baseline is '../x'" in error
