"""Test reading the runs of tests from files without their samples."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from samples.records import measurement
from samples.reports import HEAD, HEADER, compared, paired_result, result, text, unmeasured

from pytest_trt.core.records import Verdict
from pytest_trt.errors import TrtError
from pytest_trt.judge.baselines.run import run_of
from pytest_trt.trial.run_files import OtherFile, read_runs

BUDGET = Verdict("ok", "budget", "ms", "", limit=0.5)
RUN = [
    dataclasses.replace(result("test_a", compared("ok", 1.01), BUDGET), baseline_time="2026-06-01T12:00:00"),
    dataclasses.replace(paired_result(), node_id="t.py::test_paired"),
    unmeasured("test_lost"),
]


def write(path: Path, content: str | None = None) -> Path:
    path.write_text(content if content is not None else text("json", RUN, dataclasses.replace(HEADER, run=HEAD)))
    return path


@pytest.mark.parametrize("layout", ["lines", "indented"])
def test_runs_are_those_that_a_baseline_would_keep(tmp_path: Path, layout: str) -> None:
    file = write(tmp_path / "run.json")
    if layout == "indented":
        write(file, json.dumps(json.loads(file.read_text()), indent=1))
    first, second = read_runs(file, None)
    assert RUN[0].measurement is not None
    assert RUN[1].measurement is not None
    assert first.run == run_of(RUN[0].measurement, False, "", RUN[0].verdicts)
    assert (first.device, first.status, first.reference_time) == ("NVIDIA H200", "ok", "2026-06-01T12:00:00")
    assert second.run == run_of(RUN[1].measurement, False, "", RUN[1].verdicts)
    assert second.status == "regressed"


def test_text_that_looks_like_the_end_of_a_list_is_no_end(tmp_path: Path) -> None:
    evil = measurement(notes=('"samples":[{"blocks":[],"profile":',), spec={'"layers":[{"name":': '],"runs":'})
    made = dataclasses.replace(result("test_a"), measurement=evil)
    (found,) = read_runs(write(tmp_path / "run.json", text("json", [made])), None)
    assert found.run == run_of(evil, False, "")


def test_results_of_several_environments_keep_their_own(tmp_path: Path) -> None:
    made = []
    for device in ("NVIDIA H200", "NVIDIA L4", "NVIDIA H200"):
        one = measurement(0.3)
        environment = dataclasses.replace(one.environment, device=device)
        made.append(
            dataclasses.replace(result("test_a"), measurement=dataclasses.replace(one, environment=environment))
        )
    found = read_runs(write(tmp_path / "run.json", text("json", made)), None)
    assert [run.device for run in found] == ["NVIDIA H200", "NVIDIA L4", "NVIDIA H200"]


def test_runs_of_another_branch_are_left_out(tmp_path: Path) -> None:
    file = write(tmp_path / "run.json")
    assert len(read_runs(file, "main")) == 2
    assert read_runs(file, "feature") == []


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("node_id",), 1),
        (("verdicts",), None),
        (("verdicts", 0, "status"), "fine"),
        (("verdicts", 0, "ratio"), {"value": "x"}),
        (("measurement",), []),
        (("measurement", "time"), "yesterday"),
        (("measurement", "plan_sha256"), "X" * 16),
        (("measurement", "environment"), {}),
        (("measurement", "environment"), 7),
        (("measurement", "figures", "ms"), {}),
        (("measurement", "figures", "ms", "value"), -1.0),
    ],
)
def test_wrong_field_is_an_error_that_names_the_file(tmp_path: Path, place: tuple[Any, ...], value: object) -> None:
    file = write(tmp_path / "run.json")
    content = json.loads(file.read_text())
    target = content["results"][0]
    for step in place[:-1]:
        target = target[step]
    target[place[-1]] = value
    write(file, json.dumps(content))
    with pytest.raises(TrtError, match=r"run\.json.*results\[0\]"):
        read_runs(file, None)


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "{}", '{"schema": 99, "results": []}', '{"schema": 1, "results": [1]}']
)
def test_other_file_is_an_error(tmp_path: Path, content: str) -> None:
    with pytest.raises(TrtError, match=r"run\.json"):
        read_runs(write(tmp_path / "run.json", content), None)


@pytest.mark.parametrize(
    ("content", "other"),
    [
        ("[1, 2]", True),
        ('{"name": "x"}', True),
        ('{"schema": 1}', True),
        ('{"results": [{"a": 1}]}', True),
        ('{"schema": 99, "results": []}', False),
        ('{"schema": 1, "results": [{"a": 1}]}', False),
        ('{"schema": 1, "results": [', False),
        ("", False),
    ],
)
def test_json_of_another_kind_is_told_from_a_damaged_run(tmp_path: Path, content: str, other: bool) -> None:
    with pytest.raises(TrtError) as caught:
        read_runs(write(tmp_path / "run.json", content), None)
    assert isinstance(caught.value, OtherFile) is other
