"""Test how the results of tests and workers are collected."""

from __future__ import annotations

import pytest

from pytest_trt.core import codec
from pytest_trt.core.records import Result, Verdict
from pytest_trt.plugin.outcome import RunOutcome
from pytest_trt.spec.settings import Settings


def report(node_id: str, when: str, **more: object) -> pytest.TestReport:
    return pytest.TestReport(node_id, ("", 0, ""), {}, "passed", None, when, **more)  # type: ignore[arg-type]


def result(node_id: str, *verdicts: Verdict) -> Result:
    return Result(node_id, verdicts)


OVER, OK = Verdict("over_budget", "budget", "ms", "too slow"), Verdict("ok", "budget", "ms", "fine")


def test_last_run_of_a_rerun_test_counts() -> None:
    outcome = RunOutcome(Settings)
    for verdict in (OVER, OK):
        outcome.add_report(report("a", "setup", trt_started=True))
        outcome.add_report(report("a", "call", trt_result=codec.encode(result("a", verdict))))
    assert outcome.results == [result("a", OK)]


def test_unmeasured_test_has_no_result() -> None:
    outcome = RunOutcome(lambda: Settings(disabled=True))
    outcome.add_report(report("a", "call", trt_result=codec.encode(result("a"))))
    outcome.add_report(report("b", "call", trt_result=codec.encode(result("b", OVER))))
    assert outcome.results == [result("b", OVER)]


def test_only_our_test_is_an_error_if_its_worker_is_lost() -> None:
    outcome = RunOutcome(Settings)
    outcome.add_report(report("ours", "setup", trt_started=True))
    outcome.add_lost_test("ours")
    outcome.add_lost_test("another's")
    assert [(r.node_id, r.status) for r in outcome.results] == [("ours", "error")]


def test_problem_of_every_worker_is_shown_once() -> None:
    outcome = RunOutcome(Settings)
    for worker in ("gw0", "gw1"):
        outcome.merge_worker(worker, {"trt_problems": ["no such device"], "trt_warnings": [f"{worker} is slow"]})
    assert outcome.problems == ["no such device"]
    assert outcome.warnings == ["gw0 is slow", "gw1 is slow"]
