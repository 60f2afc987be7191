"""Test baselines on disk: complete files, no access outside the folder, and errors for invalid content."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import functools
import gzip
import json
import os
import resource
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from samples.records import H200, TEST, blocks, measurement

from pytest_trt.core import codec
from pytest_trt.core.records import Environment, Samples
from pytest_trt.errors import BaselineError
from pytest_trt.judge.baselines import BaselineFolder, device_slug, open_baselines
from pytest_trt.judge.baselines.baseline import Baseline, Run, baseline_of, data_of
from pytest_trt.judge.baselines.file_format import MOST_BYTES, MOST_READ, parse, render
from pytest_trt.judge.baselines.known_tests import KnownTests
from pytest_trt.judge.baselines.updating import Judged

DEVICE = device_slug(H200)


pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")


def fork(work: Callable[..., object], *arguments: object) -> int:
    """Return the id of a process that calls `work` and exits with its result, or with 1 if it raises."""
    child = os.fork()
    if child:
        return child
    status: object = 1
    try:
        status = work(*arguments) or 0
    finally:
        os._exit(int(str(status)))


def status_of(child: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def opened(folder: Path, name: str = "main") -> BaselineFolder:
    return open_baselines(".trt-baselines", name, revision=None, rootdir=folder)


def only_file(folder: Path) -> Path:
    (file,) = folder.rglob("*.json")
    return file


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """Save a baseline, and return its file."""
    opened(tmp_path).save(measurement(), "missing")
    return only_file(tmp_path)


def test_saved_baseline_is_loaded(tmp_path: Path, saved: Path) -> None:
    loaded = opened(tmp_path).load(TEST, DEVICE)
    assert loaded is not None
    assert loaded.figures.keys() == measurement().figures.keys()
    assert loaded.figures["ms"].value == 0.272
    assert loaded.environment == H200
    assert loaded.spec_digest == measurement().spec_digest
    assert opened(tmp_path).load("tests/test_models.py::other", DEVICE) is None
    assert opened(tmp_path).load(TEST, "nvidia-h100") is None


def test_read_only_file_system_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On such a file system, even removing a file that does not exist is an error."""

    def refuse(path: str | Path, *_: object, **__: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))

    monkeypatch.setattr("pytest_trt.judge.baselines.storage.local._write", refuse)
    monkeypatch.setattr(Path, "unlink", refuse)
    with pytest.raises(BaselineError, match="cannot be saved: Read-only file system: check its permissions"):
        opened(tmp_path).save(measurement(), "missing")


def test_path_is_readable(tmp_path: Path, saved: Path) -> None:
    below = saved.relative_to(tmp_path / ".trt-baselines").as_posix()
    folder, _, file = below.rpartition("/")
    assert folder == "main/nvidia-h200/tests-test_models.py"
    assert file.startswith("test_resnet18-fp16-b8-")


def test_file_has_sorted_keys_and_one_figure_per_line(saved: Path) -> None:
    lines = saved.read_text().splitlines()
    assert json.loads(saved.read_text())["node_id"] == TEST
    keys = [line.split('"')[1] for line in lines if line.startswith(' "')]
    assert keys == sorted(keys)
    assert sum('"ms": {' in line for line in lines) == 1
    assert saved.stat().st_size < MOST_BYTES


def test_empty_fields_are_omitted_but_accepted(saved: Path) -> None:
    baseline = parse(saved.read_bytes(), "x")
    assert baseline.environment.threads is None
    assert b'"threads"' not in saved.read_bytes()
    assert parse(json.dumps(codec.encode(baseline)).encode(), "x") == baseline


def test_many_baselines_are_saved_and_read_together(tmp_path: Path) -> None:
    runs = [
        measurement(node_id=f"tests/test_{n % 3}.py::test[{n}]") for n in range(100)
    ]  # enough for one sync of all files
    opened(tmp_path).save_all([Judged(run, "new") for run in runs])
    assert not list(tmp_path.rglob(".writing-*"))
    folder = opened(tmp_path)
    folder.prefetch([run.node_id for run in runs], DEVICE)
    assert all(folder.load(run.node_id, DEVICE) for run in runs)


def test_additional_run_adds_one_line(tmp_path: Path, saved: Path) -> None:
    before = saved.read_text().splitlines()
    opened(tmp_path).save(measurement(day=2), "ok")
    after = saved.read_text().splitlines()
    assert len(after) == len(before) + 1
    assert len(set(after) - set(before)) == 2  # the new line, and the line before it with a comma


def test_appended_run_equals_a_complete_rewrite(tmp_path: Path, saved: Path) -> None:
    for day in range(2, 15):
        opened(tmp_path).save(measurement(0.272 + day / 1e5, day=day), "ok")
        found = parse(saved.read_bytes(), "")
        assert saved.read_bytes() == render(found)
        assert [run.time[8:10] for run in found.history] == [f"{n:02}" for n in range(max(1, day - 9), day + 1)]


EDITED: dict[str, Callable[[str], str]] = {
    "on one line": lambda text: json.dumps(json.loads(text)),
    "indented": lambda text: json.dumps(json.loads(text), indent=2),
    "windows": lambda text: text.replace("\n", "\r\n"),
    "two runs on a line": lambda text: text.replace('},\n  {"commit', '}, {"commit'),
    "a run on two lines": lambda text: text.replace('"engine_mb": 23.4, ', "\n  "),
    "two histories": lambda text: text.replace('\n "history": [\n', '\n "history": [\n {}],\n "history": [\n', 1),
    "no history": lambda text: json.dumps({k: v for k, v in json.loads(text).items() if k != "history"}),
}


@pytest.mark.parametrize("name", EDITED)
def test_run_is_appended_to_a_file_of_another_form(tmp_path: Path, saved: Path, name: str) -> None:
    """A file that a person or another tool wrote is valid, and no run in it may be lost."""
    for day in (2, 3, 4):
        opened(tmp_path).save(measurement(day=day), "ok")
    saved.write_bytes(EDITED[name](saved.read_text()).encode())
    before = parse(saved.read_bytes(), "")
    opened(tmp_path).save(measurement(day=5), "ok")
    after = parse(saved.read_bytes(), "")
    assert after.history[:-1] == before.history
    assert after.history[-1].time == "2026-07-05T12:00:00+00:00"
    assert dataclasses.replace(after, history=()) == dataclasses.replace(before, history=())


def test_samples_and_layers_are_stored_beside_the_baseline(tmp_path: Path, saved: Path) -> None:
    folder = opened(tmp_path)
    baseline = folder.load(TEST, DEVICE)
    assert baseline is not None
    data = folder.data(baseline)
    assert data is not None
    assert data.samples == data_of(measurement()).samples
    assert data.profile == measurement().profile
    opened(tmp_path).save(measurement(0.273, day=2), "ok")
    kept = folder.data(baseline)
    assert kept is not None
    assert kept.time == baseline.time


def test_baseline_without_its_data_is_valid(tmp_path: Path, saved: Path) -> None:
    (file,) = tmp_path.rglob("*.json.gz")
    file.unlink()
    baseline = opened(tmp_path).load(TEST, DEVICE)
    assert baseline is not None
    assert opened(tmp_path).data(baseline) is None


def test_data_of_another_reference_is_ignored(tmp_path: Path, saved: Path) -> None:
    baseline = opened(tmp_path).load(TEST, DEVICE)
    assert baseline is not None
    assert opened(tmp_path).data(dataclasses.replace(baseline, time="2026-01-01T00:00:00")) is None


def test_too_long_history_drops_the_oldest_runs() -> None:
    baseline = baseline_of(measurement())
    history = tuple(
        Run(f"2026-07-{day:02}T12:00:00", None, {"ms": 1.0}, reason="because " * 100) for day in range(1, 11)
    )
    text = render(dataclasses.replace(baseline, history=history))
    assert len(text) <= MOST_BYTES
    kept = parse(text, "x").history
    assert 0 < len(kept) < 10
    assert kept[-1].time == "2026-07-10T12:00:00"


def test_unprintable_characters_are_removed_when_saving(tmp_path: Path) -> None:
    """Every saved file can be read again, whatever the reason contains."""
    folder = opened(tmp_path)
    folder.accept([Judged(measurement(spec={"path": "a\x1b[2Jb"}))], reason="one\ntwo \u202e three")
    baseline = opened(tmp_path).load(TEST, DEVICE)
    assert baseline is not None
    assert baseline.history[0].reason == "one two   three"
    assert baseline.spec["path"] == "a [2Jb"
    with pytest.raises(BaselineError, match="cannot be shown"):
        folder.save(measurement(node_id="t.py::t[\x1b]"), "new")


def test_too_long_node_id_or_reason_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(BaselineError, match="shorter ids"):
        render(baseline_of(measurement(node_id="t.py::t[" + "x" * 9000 + "]")))
    with pytest.raises(BaselineError, match="shorten the reason"):
        opened(tmp_path).accept([Judged(measurement())], reason="since " * 1500)


def test_baselines_of_several_names_and_devices(tmp_path: Path) -> None:
    cpu = Environment("Intel Xeon, 2 CPUs", "cpu", "onnxruntime", "1.20")
    mig = dataclasses.replace(H200, mig_profile="1g.18gb")
    for environment in (H200, cpu, mig):
        opened(tmp_path).save(measurement(environment=environment), "missing")
    opened(tmp_path, "release").save(measurement(0.3), "missing")
    slugs = {device_slug(environment) for environment in (H200, cpu, mig)}
    assert slugs == {"nvidia-h200", "intel-xeon-2-cpus", "nvidia-h200-mig-1g.18gb"}
    found = {entry.path.split("/")[1] for entry in opened(tmp_path).list()}
    assert found == slugs
    assert len(list(opened(tmp_path, "release").list())) == 1


@pytest.mark.parametrize("name", ["", "..", "a/b", ".hidden", "_data", "a b", "x" * 200])
def test_names_that_leave_the_folder_are_errors(tmp_path: Path, name: str) -> None:
    with pytest.raises(BaselineError, match="baseline name"):
        opened(tmp_path, name)


def test_saving_does_not_change_whether_a_device_has_baselines(tmp_path: Path) -> None:
    folder = opened(tmp_path)
    assert not folder.has_any(DEVICE)
    folder.save(measurement(), "missing")
    assert not folder.has_any(DEVICE)
    assert opened(tmp_path).has_any(DEVICE)


def test_prefetched_baseline_is_loaded(tmp_path: Path, saved: Path) -> None:
    folder = opened(tmp_path)
    folder.prefetch([TEST, "tests/test_models.py::other"], DEVICE)
    saved.unlink()
    assert folder.load(TEST, DEVICE) is not None
    assert folder.load("tests/test_models.py::other", DEVICE) is None


def test_prune_lists_before_it_removes(tmp_path: Path, saved: Path) -> None:
    folder = opened(tmp_path)
    folder.save(measurement(node_id="tests/test_old.py::test_gone"), "new")
    (gone,) = folder.prune(lambda test: test != TEST)
    assert "test_gone" in gone
    assert len(list(tmp_path.rglob("*.json"))) == 2
    assert folder.prune(lambda test: test != TEST, dry_run=False) == [gone]
    assert only_file(tmp_path) == saved
    assert len(list(tmp_path.rglob("*.json.gz"))) == 1
    assert not (tmp_path / ".trt-baselines/main/nvidia-h200/tests-test_old.py").exists()


def test_renamed_test_is_recognised_and_keeps_its_baseline(tmp_path: Path, saved: Path) -> None:
    new = "tests/test_models.py::test_resnet[fp16-b8]"
    folder = opened(tmp_path)
    assert folder.tests_of_spec(measurement().spec_digest, DEVICE) == [TEST]
    assert folder.tests_of_spec("0" * 64, DEVICE) == ()
    assert folder.node_ids_except([new]) == {TEST}
    assert folder.node_ids_except([new, TEST]) == set()
    folder.rename(TEST, new)
    assert folder.tests_of_spec(measurement().spec_digest, DEVICE) == [new]
    assert folder.load(TEST, DEVICE) is None
    moved = folder.load(new, DEVICE)
    assert moved is not None
    assert moved.node_id == new
    assert folder.data(moved) is not None


def test_rename_overwrites_nothing(tmp_path: Path, saved: Path) -> None:
    folder = opened(tmp_path)
    folder.save(measurement(0.3, node_id="t.py::new"), "new")
    with pytest.raises(BaselineError, match="of its own"):
        folder.rename(TEST, "t.py::new")
    with pytest.raises(BaselineError, match="has no baseline"):
        folder.rename("t.py::nothing", "t.py::other")


def test_test_with_an_id_of_an_earlier_version_keeps_its_baseline(tmp_path: Path) -> None:
    old, new = "tests/test_m.py::test_m[fp16-S=128]", "tests/test_m.py::test_m[fp16-S128]"
    opened(tmp_path).save(measurement(node_id=old), "new")
    folder = opened(tmp_path)
    assert folder.has_test(new)
    found = folder.load(new, DEVICE)
    assert found is not None
    assert folder.data(found) is not None
    assert KnownTests(frozenset((new,)), frozenset(), tmp_path).is_gone(old) is False
    folder.save(measurement(node_id=new, day=2), "ok")
    [entry] = opened(tmp_path).list()
    assert isinstance(entry.content, Baseline)
    assert (entry.content.node_id, len(entry.content.history)) == (new, 2)
    assert opened(tmp_path).data(entry.content) is not None


def edit(file: Path, **changes: Any) -> None:
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


def figures(**changes: Any) -> Callable[[Path], None]:
    return lambda file: edit(file, figures={"ms": {"value": 1.0, "low": 1.0, "high": 1.0, **changes}})


BAD: dict[str, tuple[Callable[[Path], object], str]] = {
    "half a file": (lambda file: file.write_text(file.read_text()[:900]), "not JSON"),
    "empty": (lambda file: file.write_text(""), "not JSON"),
    "a merge conflict": (
        lambda file: file.write_text(f"{{\n<<<<<<< HEAD\n{file.read_text()}=======\n}}\n>>>>>>> other\n"),
        "holds a merge conflict: take either side whole .*, or delete it and save it again",
    ),
    "not text": (lambda file: file.write_bytes(bytes(range(256))), "not JSON"),
    "a list": (lambda file: file.write_text("[]"), "must be an object"),
    "NaN": (figures(value=float("nan")), "figures.ms.value is nan"),
    "infinite": (figures(high=float("inf")), "figures.ms.high is inf"),
    "negative": (figures(value=-1.0, low=-2.0), "figures.ms is -1"),
    "outside its interval": (figures(value=3.0), "figures.ms is 3"),
    "text for a number": (figures(value="fast"), "figures.ms.value"),
    "true for a number": (figures(value=True), "figures.ms.value"),
    "a huge integer": (figures(samples=10**30), "figures.ms.samples"),
    "an integer too long for Python": (
        lambda file: file.write_text(file.read_text().replace('"schema": 1', f'"schema": {"9" * 5000}')),
        "not JSON",
    ),
    "an unknown figure": (lambda file: edit(file, figures={"speed": {"value": 1, "low": 1, "high": 1}}), "'speed'"),
    "no figures": (lambda file: edit(file, figures={}), "figures is empty"),
    "an unknown field": (lambda file: edit(file, surprise=1), "unknown field 'surprise'"),
    "a missing field": (lambda file: file.write_text('{"schema": 1}'), "lacks the field"),
    "another test's id": (lambda file: edit(file, node_id="other.py::test"), "another test's: .* delete it and save"),
    "a path for an id": (lambda file: edit(file, node_id="../../../etc/passwd"), "another test's"),
    "a path for a digest": (lambda file: edit(file, engine_digest="../../../etc"), "engine_digest"),
    "a path for a plan": (lambda file: edit(file, plan_sha256="../x"), "plan_sha256"),
    "a path for a time": (lambda file: edit(file, time="../x"), "time is '../x'"),
    "a path for a commit": (
        lambda file: edit(file, environment={**json.loads(file.read_text())["environment"], "commit": "../x"}),
        "environment.commit",
    ),
    "another device": (
        lambda file: edit(file, environment={**json.loads(file.read_text())["environment"], "device": "../H200"}),
        "another device's: .* delete it and save",
    ),
    "a terminal's escape as it is": (
        lambda file: file.write_text(file.read_text().replace("models/", "\u202emodels/")),
        "cannot be shown",
    ),
    "a line end": (lambda file: edit(file, spec={"a": "b\nc"}), "cannot be shown"),
    "a terminal's escape": (lambda file: edit(file, spec={"a": "\x1b[2J"}), "cannot be shown"),
    "a run of the past that cannot be": (
        lambda file: edit(file, history=[{"time": "2026-07-01T12:00:00", "commit": None, "figures": {"ms": -1}}]),
        "history[0]",
    ),
    "deep nesting": (lambda file: file.write_text("[" * 30000 + "]" * 30000), "nested|not JSON|recursion"),
    "too long": (lambda file: file.write_text(" " * (MOST_READ + 1)), "at most 65536 are read"),
    "a newer schema": (lambda file: edit(file, schema=99), "schema 99.*upgrade"),
    "a schema of no number": (lambda file: edit(file, schema="1"), "schema"),
}


@pytest.mark.parametrize("name", BAD)
def test_broken_baseline_is_an_error(tmp_path: Path, saved: Path, name: str) -> None:
    """The error names file and field. Baselines of other tests are not affected."""
    opened(tmp_path).save(measurement(node_id="tests/test_models.py::other"), "new")
    damage, message = BAD[name]
    damage(saved)
    folder = opened(tmp_path)
    folder.prefetch([TEST, "tests/test_models.py::other"], DEVICE)
    with pytest.raises(BaselineError, match=message.replace("[0]", r"\[0\]")) as caught:
        folder.load(TEST, DEVICE)
    assert saved.name in str(caught.value)
    assert folder.load("tests/test_models.py::other", DEVICE) is not None
    assert sum(isinstance(entry.content, BaselineError) for entry in folder.list()) == (name not in _OTHER_TEST)


_OTHER_TEST = ("another test's id", "a path for an id", "another device")
"""Valid baselines in the wrong file: an error only when that test loads its baseline."""


def paths_in(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the keys that lead to every value in a document."""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in inside:
        yield (*at, key)
        yield from paths_in(item, (*at, key))


def test_path_in_any_field_is_never_followed(tmp_path: Path, saved: Path) -> None:
    """The path is an error or mere text: nothing is read or written outside the folder."""
    original = saved.read_text()
    for *above, last in paths_in(json.loads(original)):
        document = json.loads(original)
        functools.reduce(lambda value, key: value[key], above, document)[last] = "../../../escaped"
        saved.write_text(json.dumps(document))
        folder = opened(tmp_path)
        with contextlib.suppress(BaselineError):
            baseline = folder.load(TEST, DEVICE)
            assert baseline is not None
            folder.data(baseline)
            folder.save(measurement(day=2), "ok")
            folder.prune(lambda test: test != TEST, dry_run=False)
        saved.write_text(original)
    assert [path.name for path in tmp_path.iterdir()] == [".trt-baselines"]
    assert {path.parent.name for path in tmp_path.rglob("*") if path.is_file()} == {"tests-test_models.py", "_data"}


def test_broken_baseline_is_replaced_only_with_force(tmp_path: Path, saved: Path) -> None:
    saved.write_text("{")
    with pytest.raises(BaselineError):
        opened(tmp_path).save(measurement(), "ok")
    opened(tmp_path).save(measurement(), "ok", force=True)
    assert opened(tmp_path).load(TEST, DEVICE) is not None


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"not gzip", "not gzip"),
        (gzip.compress(b"{}", mtime=0), "lacks the field"),
        (gzip.compress(b"x", mtime=0), "not JSON"),
        (gzip.compress(b" " * (65 * 1024 * 1024), mtime=0), "unpacks to more"),
        (gzip.compress(b'{"node_id": "a", "time": ""}', mtime=0)[:-6], "not gzip"),
        (gzip.compress(b'{"node_id": "a", "time": ""}', mtime=0), "another test's"),
    ],
)
def test_broken_data_is_an_error(tmp_path: Path, saved: Path, content: bytes, message: str) -> None:
    (file,) = tmp_path.rglob("*.json.gz")
    file.write_bytes(content)
    folder = opened(tmp_path)
    baseline = folder.load(TEST, DEVICE)
    assert baseline is not None
    with pytest.raises(BaselineError, match=message):
        folder.data(baseline)


def test_folder_instead_of_a_file_is_an_error(tmp_path: Path, saved: Path) -> None:
    saved.unlink()
    saved.mkdir()
    with pytest.raises(BaselineError, match="is a folder"):
        opened(tmp_path).load(TEST, DEVICE)


def test_pipe_instead_of_a_file_is_an_error(tmp_path: Path, saved: Path) -> None:
    saved.unlink()
    os.mkfifo(saved)
    with pytest.raises(BaselineError, match="not a regular file"):
        opened(tmp_path).load(TEST, DEVICE)


def test_link_instead_of_a_file_is_an_error(tmp_path: Path, saved: Path) -> None:
    moved = tmp_path / "elsewhere.json"
    saved.rename(moved)
    saved.symlink_to(moved)
    with pytest.raises(BaselineError, match="symbolic link"):
        opened(tmp_path).load(TEST, DEVICE)


def test_link_out_of_the_folder_is_an_error(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (tmp_path / ".trt-baselines").mkdir()
    (tmp_path / ".trt-baselines" / "main").symlink_to(outside)
    with pytest.raises(BaselineError, match="leads out of"):
        opened(tmp_path).load(TEST, DEVICE)
    with pytest.raises(BaselineError, match="leads out of"):
        opened(tmp_path).save(measurement(), "missing", force=True)
    assert list(outside.iterdir()) == []


def test_folder_itself_may_be_a_link(tmp_path: Path) -> None:
    (tmp_path / "shared").mkdir()
    (tmp_path / ".trt-baselines").symlink_to(tmp_path / "shared")
    opened(tmp_path).save(measurement(), "missing")
    assert opened(tmp_path).load(TEST, DEVICE) is not None


def test_unwritable_folder_is_an_error() -> None:
    with pytest.raises(BaselineError, match="--trt-baseline-dir"):
        open_baselines("/proc/baselines", "main", revision=None, rootdir=Path()).save(measurement(), "missing")


def _save_within(folder: Path, limit: int) -> int:
    """Save with a limit on the size of files. Return 7 if the error names the full disk."""
    sys.dont_write_bytecode = True  # the limit would truncate bytecode, too
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    try:
        opened(folder).save(measurement(0.1, day=2), "improved", improved=("ms",))
    except BaselineError as error:
        return 7 if "make space" in str(error) else 8
    return 9


def test_full_disk_keeps_the_old_baseline(tmp_path: Path, saved: Path) -> None:
    before = saved.read_bytes()
    assert status_of(fork(_save_within, tmp_path, 1000)) == 7
    assert saved.read_bytes() == before
    assert not list(tmp_path.rglob(".writing-*"))


def _save_many(folder: Path, worker: int, count: int) -> None:
    for number in range(count):
        opened(folder).save(measurement(node_id=f"tests/test_{worker}.py::test_{number}"), "missing")


def test_concurrent_workers_lose_nothing(tmp_path: Path) -> None:
    workers = [fork(_save_many, tmp_path, worker, 5) for worker in range(8)]
    assert [status_of(worker) for worker in workers] == [0] * 8
    found = [entry.content for entry in opened(tmp_path).list()]
    assert all(isinstance(one, Baseline) for one in found)
    assert len(found) == 40


def _save_for_ever(folder: Path) -> None:
    day = 0
    while True:
        day = day % 28 + 1
        opened(folder).save(measurement(0.272 + day / 1000, day=day), "improved", force=True)


def test_process_killed_while_saving(tmp_path: Path) -> None:
    """A process that is killed at any moment leaves the old or the new baseline, and no other entry."""
    opened(tmp_path).save(measurement(), "missing")
    for delay in (0.0, 0.003, 0.007):
        before = only_file(tmp_path).stat().st_mtime_ns
        child = fork(_save_for_ever, tmp_path)
        while only_file(tmp_path).stat().st_mtime_ns == before:
            assert os.waitpid(child, os.WNOHANG) == (0, 0)
            time.sleep(0.001)
        time.sleep(delay)
        os.kill(child, signal.SIGKILL)
        assert status_of(child) == -signal.SIGKILL
        baseline = opened(tmp_path).load(TEST, DEVICE)
        assert baseline is not None
        opened(tmp_path).data(baseline)
        assert len(list(opened(tmp_path).list())) == 1


def test_leftovers_of_a_killed_process_are_removed(tmp_path: Path, saved: Path) -> None:
    leftover = saved.parent / ".writing-123-abc"
    leftover.write_text("half")
    assert len(list(opened(tmp_path).list())) == 1
    assert leftover.exists()
    os.utime(leftover, (0, 0))
    assert len(list(opened(tmp_path).list())) == 1
    assert not leftover.exists()


def test_many_samples_keep_their_nanoseconds(tmp_path: Path) -> None:
    long = measurement(samples=(Samples(blocks(0.272, count=30, size=100)),))
    opened(tmp_path).save(long, "missing")
    baseline = opened(tmp_path).load(TEST, DEVICE)
    assert baseline is not None
    data = opened(tmp_path).data(baseline)
    assert data is not None
    stored, original = (np.asarray([b.times["ms"] for b in s.blocks]) for s in (*data.samples, *long.samples))
    np.testing.assert_allclose(stored, original, rtol=0, atol=0.51e-6)
