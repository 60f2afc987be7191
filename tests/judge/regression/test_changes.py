"""Test the description of what changed between a baseline and a run."""

from __future__ import annotations

import dataclasses
import datetime

from samples.records import H200, digest, measurement, stored

from pytest_trt.judge.regression.changes import age, describe_changes, spec_changes


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


def test_every_fact_of_the_environment_is_named() -> None:
    changed = {
        "backend_version": "10.0", "driver": "560.1", "cuda": "13.0", "device": "NVIDIA H100", "mig_profile": "1g.18gb",
        "host_cpu": "AMD EPYC", "threads": 4, "os": "Linux 7", "measurement": 99,
    }  # fmt: skip
    run = measurement(environment=dataclasses.replace(H200, **changed))  # type: ignore[arg-type]
    (line,) = describe_changes(stored(), run)
    for part in (
        "backend (tensorrt 8.6.0 to tensorrt 10.0)",
        "driver (550.54.15 to 560.1)",
        "CUDA (12.4 to 13.0)",
        "device (NVIDIA H200 to NVIDIA H100 1g.18gb)",
        "host CPU (Intel Xeon 8480+ to AMD EPYC)",
        "threads (none to 4)",
        "OS (Linux 6.1 to Linux 7)",
        "measurement method (",
    ):
        assert part in line
    assert "the same" not in line


def test_changes_are_listed_in_english() -> None:
    run = measurement(environment=dataclasses.replace(H200, os="Linux 7", cuda="13.0"))
    (line,) = describe_changes(stored(), run, since="v1")
    assert line.startswith("changed since v1 (a1b2c3d4e5f6, ")
    assert line.endswith(": CUDA (12.4 to 13.0) and OS (Linux 6.1 to Linux 7); backend, driver and device are the same")
    no_commit = dataclasses.replace(stored().environment, commit=None)
    (line,) = describe_changes(dataclasses.replace(stored(), environment=no_commit), measurement())
    assert line.startswith("changed since the baseline (no commit, ")


def test_an_option_that_is_empty_is_none() -> None:
    then, now = {"a": "", "b": "1", "c": "x"}, {"b": "2", "c": "x", "d": "3"}
    assert spec_changes(then, now) == ("a (none to none)", "b (1 to 2)", "d (none to 3)")


def test_other_inputs_alone_do_not_make_another_model() -> None:
    spec = {**measurement().spec, "inputs": "x (8, 64)"}
    (line,) = describe_changes(stored(), measurement(spec=spec))
    assert "the model" not in line
    (line,) = describe_changes(stored(), measurement(plan="other", spec=spec))
    assert "the build alone" in line


def test_the_age_of_a_time() -> None:
    now = datetime.datetime(2026, 7, 4, 13, tzinfo=datetime.timezone.utc)
    assert age("2026-07-03T13:00:00+00:00", now) == "yesterday"
    assert age("2026-07-03T13:00:01+00:00", now) == "today"
    assert age("2026-07-02T13:00:00+00:00", now) == "2 days ago"
    assert age("2026-07-09T13:00:00+00:00", now) == "today"
    assert age("some day", now) == "some day"
    today = datetime.datetime.now(datetime.timezone.utc)
    assert age((today - datetime.timedelta(days=5, hours=1)).isoformat()) == "5 days ago"
