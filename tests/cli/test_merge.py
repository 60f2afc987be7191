"""Test `pytest-trt merge`: what is put together, and what is refused."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable
from pathlib import Path

import pytest
from samples.records import H200, TEST, measurement
from samples.reports import HEAD, HEADER, text
from samples.runs import OTHER, Run, folder, write_run

from pytest_trt.core.records import Result, Verdict
from pytest_trt.judge.baselines import device_slug
from pytest_trt.report.header import RunHead
from pytest_trt.report.result_json import RunFile

L4 = dataclasses.replace(H200, device="NVIDIA L4", device_uuid="GPU-77aa")
LOST = Verdict("error", "run", "", "the probe was lost")


def write(path: str, results: Iterable[Result], head: RunHead | None = HEAD) -> Path:
    """Write the JSON of a run with this head."""
    Path(path).write_text(text("json", tuple(results), dataclasses.replace(HEADER, run=head)))
    return Path(path)


def test_shards_are_one_run(run: Run) -> None:
    one, two = write_run("a.json", measurement()), write_run("b.json", measurement(node_id=OTHER))
    status, out, _ = run("merge", one, two, "-o", "out/all.json")
    assert (status, out) == (0, "out/all.json: 2 results of 2 runs\n")
    assert list(RunFile(Path("out/all.json"))) == [*RunFile(one), *RunFile(two)]
    assert run("compare", "out/all.json", "out/all.json")[0] == 0
    status, out, _ = run("baseline", "accept", "*", "--from=out/all.json", "--reason=new")
    assert (status, len(out.splitlines())) == (0, 2)


def test_devices_of_a_matrix_are_kept_apart(run: Run) -> None:
    one = write_run("h200.json", measurement())
    two = write_run("l4.json", measurement(0.5, environment=L4))
    assert run("merge", one, two, "-o", "all.json", "--report=md:all.md")[0] == 0
    table = Path("all.md").read_text()
    assert "H200" in table
    assert "L4" in table
    status, out, _ = run("baseline", "accept", TEST, "--from=all.json", "--reason=new")
    assert status == 0
    assert sorted(line.partition(": ")[0] for line in out.splitlines()) == [
        f"{TEST} on NVIDIA {n}" for n in ("H200", "L4")
    ]
    for environment, ms in ((H200, 0.272), (L4, 0.5)):
        stored = folder().load(TEST, device_slug(environment))
        assert stored is not None
        assert stored.figures["ms"].value == ms


def test_two_results_of_one_test_on_one_device_are_refused(run: Run) -> None:
    one, two = write_run("a.json", measurement()), write_run("b.json", measurement(0.3), measurement(node_id=OTHER))
    status, _, error = run("merge", one, two, "-o", "all.json")
    assert status == 2
    assert f"{TEST} on {device_slug(H200)}: in a.json and in b.json" in error
    assert not Path("all.json").exists()
    status, _, error = run("merge", two, two, "-o", "all.json")
    assert f"{OTHER} on {device_slug(H200)}: in b.json and in b.json" in error
    assert status == 2


def test_failed_test_belongs_to_the_device_of_its_run(run: Run) -> None:
    failed = Result(OTHER, (LOST,))
    one = write("a.json", [Result(TEST, (), measurement()), failed])
    two = write("b.json", [Result(TEST, (), measurement(environment=L4)), failed])
    assert run("merge", one, two, "-o", "all.json")[0] == 0
    same = write("c.json", [failed, Result("t.py::t", (), measurement(node_id="t.py::t"))])
    status, _, error = run("merge", one, same, "-o", "all.json")
    assert status == 2
    assert f"{OTHER} on {device_slug(H200)}: in a.json and in c.json" in error


def test_results_without_any_device_are_refused_twice(run: Run) -> None:
    one, two = (write(name, [Result(OTHER, (LOST,))]) for name in ("a.json", "b.json"))
    status, _, error = run("merge", one, two, "-o", "all.json")
    assert status == 2
    assert f"{OTHER} without a measurement: in a.json and in b.json" in error


def test_head_of_a_merged_run_spans_its_parts(run: Run) -> None:
    later = dataclasses.replace(HEAD, host="ci-8", start="2026-07-01T12:01:00+00:00", duration_s=120.0)
    one = write("a.json", [Result(TEST, (), measurement())], later)
    two = write("b.json", [Result(OTHER, (), measurement(node_id=OTHER))])
    old = write("c.json", [Result("t.py::t", (LOST,))], None)
    assert run("merge", one, two, old, "-o", "all.json")[0] == 0
    head = json.loads(Path("all.json").read_text())["head"]
    assert (head["start"], head["duration_s"], head["commit"], head["host"]) == (HEAD.start, 180.0, HEAD.commit, "")
    assert [part["host"] for part in head["parts"]] == ["ci-8", "ci-7"]


def test_killed_run_becomes_a_whole_file(run: Run) -> None:
    """The last line of a test that was run again counts, and the line that was being written is left out."""
    tries = [Result(TEST, (), measurement(ms)) for ms in (0.3, 0.272)]
    whole = write("run.json", [*tries, Result(OTHER, (), measurement(node_id=OTHER))]).read_text()
    Path("run-1.json.unfinished").write_text(whole[:-50])
    assert run("merge", "run-1.json.unfinished", "-o", "all.json")[0] == 0
    assert list(RunFile(Path("all.json"))) == list(RunFile(Path("run.json")))[1:2]
    Path("cut.json").write_text(whole[:-50])
    status, _, error = run("merge", "cut.json", "-o", "all.json")
    assert status == 2
    assert "cut.json is not JSON (it ends too early)" in error


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("none.json", "-o", "all.json"), "none.json cannot be read"),
        (("a.json", "-o", "a.json/all.json"), "the merged run cannot be written"),
        (("a.json", "-o", "all.json", "--report=pdf:x"), "--report is 'pdf:x': give a format"),
    ],
)
def test_merge_usage_errors(run: Run, arguments: tuple[str, ...], message: str) -> None:
    write_run("a.json", measurement())
    status, _, error = run("merge", *arguments)
    assert status == 2
    assert message in error
