"""Test the description of what changed between a baseline and a run."""

from __future__ import annotations

import dataclasses
import datetime

from samples.records import H200, digest, measurement, stored

from pytest_trt.judge.regression.changes import age, describe_changes


def test_changed_and_unchanged_parts_are_named() -> None:
    now = datetime.datetime(2026, 7, 4, 13, tzinfo=datetime.timezone.utc)
    run = measurement(plan="other", engine_digest=digest("other"))
    assert describe_changes(stored(), run, now) == (
        "changed since the baseline (a1b2c3d4e5f6, 3 days ago): the model; backend, driver and device are the same",
    )


def test_model_with_other_inputs_is_another_model() -> None:
    spec = {**measurement().spec, "inputs": "x (8, 64)"}
    (line,) = describe_changes(stored(), measurement(plan="other", engine_digest=digest("other"), spec=spec))
    assert "inputs (" in line
    assert " and the model; " in line


def test_upgrade_is_named() -> None:
    environment = dataclasses.replace(H200, backend_version="10.16.0", driver="560.1")
    (line,) = describe_changes(stored(), measurement(plan="other", engine_digest=digest("o"), environment=environment))
    assert "backend (tensorrt 8.6.0 to tensorrt 10.16.0)" in line
    assert "driver (550.54.15 to 560.1)" in line
    assert "the model" not in line
    assert line.endswith("device is the same")


def test_changed_option_and_rebuild_are_distinguished() -> None:
    spec = {**measurement().spec, "precision": "fp32"}
    (line,) = describe_changes(stored(), measurement(plan="other", engine_digest=digest("o"), spec=spec))
    assert "precision (fp16 to fp32)" in line
    (line,) = describe_changes(stored(), measurement(plan="other"))
    assert "the build alone" in line
    (line,) = describe_changes(stored(), measurement())
    assert "nothing that is recorded" in line
    (line,) = describe_changes(stored(), measurement(spec={**measurement().spec, "contexts": "4"}))
    assert "contexts (none to 4)" in line
    assert "the build alone" not in line


def test_ages() -> None:
    now = datetime.datetime(2026, 7, 4, 13, tzinfo=datetime.timezone.utc)
    assert age("2026-07-04T12:00:00+00:00", now) == "today"
    assert age("2026-07-03T12:00:00Z", now) == "yesterday"
    assert age("2026-06-04T12:00:00", now) == "30 days ago"
