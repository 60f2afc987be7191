"""Test how the results of tests and workers are collected."""

from __future__ import annotations

import dataclasses
import gc
import json
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from samples.records import H200, measurement, stored

from pytest_trt.core.records import Result, Samples, Verdict
from pytest_trt.judge.regression.question import RegressionQuestion
from pytest_trt.judge.regression.stored import judge_stored
from pytest_trt.plugin.outcome import RunOutcome
from pytest_trt.report.result_json import RunFile
from pytest_trt.report.result_line import render as line_of
from pytest_trt.spec.settings import Settings

Make = Callable[..., RunOutcome]


@pytest.fixture
def make(pytester: pytest.Pytester) -> Iterator[Make]:
    """Return a function that makes the outcome of a run in a folder of its own."""
    made = []

    def make(settings: Settings | None = None, *arguments: str) -> RunOutcome:
        config: Any = pytester.parseconfigure("-p", "no:pytest-retry", *arguments)
        made.append(RunOutcome(config, lambda: settings or Settings()))
        return made[-1]

    yield make
    for outcome in made:
        outcome.close()


def report(node_id: str, when: str, **more: object) -> pytest.TestReport:
    return pytest.TestReport(node_id, ("", 0, ""), {}, "passed", None, when, **more)  # type: ignore[arg-type]


def result(node_id: str, *verdicts: Verdict) -> Result:
    return Result(node_id, verdicts)


OVER, OK = Verdict("over_budget", "budget", "ms", "too slow"), Verdict("ok", "budget", "ms", "fine")


def test_only_summaries_of_results_stay_in_memory(make: Make) -> None:
    """Neither the recorder nor the reports, all of which pytest keeps, hold samples."""
    outcome = make()
    live: list[weakref.ref[Samples]] = []
    for number in range(20):
        made = Result(f"t[{number}]", (OK,), measurement(node_id=f"t[{number}]", day=1 + number))
        assert made.measurement is not None
        live += map(weakref.ref, made.measurement.samples)
        carrier = report(made.node_id, "teardown", trt_result=outcome.line_of(made))
        outcome.add_report(carrier)
        assert not hasattr(carrier, "trt_result")
    del made, carrier
    gc.collect()
    assert len(outcome.results) == 20
    assert [ref for ref in live if ref() is not None] == []
    stored = [one.measurement for one in outcome.results]
    assert all(one is not None and one.samples and one.profile for one in stored)


def unfinished(outcome: RunOutcome) -> list[Path]:
    """Return the files of runs that have not ended, or were killed."""
    return sorted((outcome._config.rootpath / ".pytest_cache" / "d" / "trt").glob("*.unfinished"))


def test_results_are_on_disk_before_the_run_ends(make: Make) -> None:
    outcome = make()
    outcome.add_report(report("a", "teardown", trt_result=line_of(result("a", OK))))
    outcome.add_report(report("b", "teardown", trt_result=line_of(result("b", OVER))))
    (file,) = unfinished(outcome)
    run = RunFile(file)
    assert list(run) == [result("a", OK), result("b", OVER)]
    assert run.head is None or run.head.duration_s is None
    file.write_bytes(file.read_bytes()[:-20])  # as if the run was killed while it wrote
    assert list(run) == [result("a", OK)]


def test_results_of_a_killed_run_are_kept_until_the_next_one_is_killed(make: Make) -> None:
    killed = make()
    killed.add_report(report("a", "teardown", trt_result=line_of(result("a", OK))))
    (left,) = unfinished(killed)
    going = make()
    going.add_report(report("b", "teardown", trt_result=line_of(result("b", OK))))
    assert left in unfinished(going), "a run that goes on is left alone"
    killed.close()  # the lock ends with the process that held it
    after = make()
    after.add_report(report("c", "teardown", trt_result=line_of(result("c", OK))))
    kept = left.with_name("killed-run.json.unfinished")
    assert [str(kept) in warning for warning in after.warnings] == [True]
    assert list(RunFile(kept)) == [result("a", OK)]
    assert left not in unfinished(after)


def test_full_disk_keeps_every_verdict(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    outcome = make()
    outcome.add_report(report("a", "teardown", trt_result=line_of(result("a", OK))))

    def full(raw: bytes) -> int:
        raise OSError(28, "No space left on device")

    results = outcome._recorder.results
    monkeypatch.setattr(results, "_file", type("File", (), {"seek": results._file.seek, "write": staticmethod(full)}))
    outcome.add_report(report("b", "teardown", trt_result=line_of(result("b", OVER))))
    monkeypatch.undo()
    assert str(results.error) == "[Errno 28] No space left on device"
    assert list(outcome.results) == [result("a", OK), result("b", OVER)]


def test_run_without_a_cache_leaves_no_file(make: Make) -> None:
    outcome = make(None, "-p", "no:cacheprovider")
    outcome.add_report(report("a", "teardown", trt_result=line_of(result("a", OK))))
    assert list(outcome.results) == [result("a", OK)]
    assert not (outcome._config.rootpath / ".pytest_cache").exists()


def test_saved_is_in_the_stored_result(make: Make) -> None:
    outcome = make()
    outcome.add_report(report("a", "teardown", trt_result=line_of(result("a", OK))))
    outcome.add_saved("a", "baseline created")
    assert [one.saved for one in outcome.results] == ["baseline created"]
    assert json.loads(next(outcome._recorder.results.lines()))["saved"] == "baseline created"


def test_last_run_of_a_rerun_test_counts(make: Make) -> None:
    outcome = make()
    for verdict in (OVER, OK):
        outcome.add_report(report("a", "setup", trt_started=True))
        outcome.add_report(report("a", "call", trt_result=line_of(result("a", verdict))))
    assert list(outcome.results) == [result("a", OK)]


def test_unmeasured_test_has_no_result(make: Make) -> None:
    outcome = make(Settings(disabled=True))
    outcome.add_report(report("a", "call", trt_result=line_of(result("a"))))
    outcome.add_report(report("b", "call", trt_result=line_of(result("b", OVER))))
    assert list(outcome.results) == [result("b", OVER)]


def test_only_our_test_is_an_error_if_its_worker_is_lost(make: Make) -> None:
    outcome = make()
    outcome.add_report(report("ours", "setup", trt_started=True))
    outcome.add_lost_test("ours")
    outcome.add_lost_test("another's")
    assert [(r.node_id, r.status) for r in outcome.results] == [("ours", "error")]


def test_problem_of_every_worker_is_shown_once(make: Make) -> None:
    outcome = make()
    for worker in ("gw0", "gw1"):
        outcome.merge_worker(worker, {"trt_problems": ["no such device"], "trt_warnings": [f"{worker} is slow"]})
    assert outcome.problems == ["no such device"]
    assert outcome.warnings == ["gw0 is slow", "gw1 is slow"]


def on_another_card(node_id: str, ratio: float) -> Result:
    """Return the result of a test on a card that the baseline does not know."""
    environment = dataclasses.replace(H200, device_uuid="GPU-other")
    run = measurement(0.272 * ratio, node_id, environment=environment, samples=(), profile=None)
    verdict = judge_stored(RegressionQuestion(tolerance=0.02), run.figures["ms"], stored(), environment.card)
    return Result(node_id, (verdict,), run)


def reported(outcome: RunOutcome, ratios: dict[str, float]) -> list[pytest.TestReport]:
    for node_id, ratio in ratios.items():
        outcome.add_report(report(node_id, "teardown", trt_result=line_of(on_another_card(node_id, ratio))))
    return outcome.settle()


def test_test_that_fails_only_beside_all_others_is_reported_at_the_end(make: Make) -> None:
    outcome = make()
    late = reported(outcome, {**{f"test_{n}": 1.03 + n / 1e4 for n in range(10)}, "test_slow": 1.1})
    assert [(one.nodeid, one.outcome, one.when) for one in late] == [("test_slow", "failed", "teardown")]
    assert "latency regressed" in late[0].longreprtext
    assert [one.status for one in outcome.results] == ["ok"] * 10 + ["regressed"]


def test_strict_test_that_stays_inconclusive_is_reported_at_the_end(make: Make) -> None:
    late = reported(make(Settings(fail_on=frozenset(("inconclusive",)))), {"test_a": 1.01})
    assert [one.nodeid for one in late] == ["test_a"]
    assert "first run on GPU-other" in late[0].longreprtext


def test_run_in_which_no_verdict_waits_reports_nothing_more(make: Make) -> None:
    outcome = make()
    outcome.add_report(report("a", "teardown", trt_result=line_of(result("a", OVER))))
    assert outcome.settle() == []
