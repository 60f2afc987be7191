"""Test `pytest-trt history`."""

from __future__ import annotations

from samples.records import TEST, measurement
from samples.runs import Run, folder, git


def test_history_from_the_baseline_and_from_git(run: Run) -> None:
    levels = [0.272] * 8 + [0.306] * 8
    git("init", "-q", "-b", "main")
    for day, ms in enumerate(levels, 1):
        folder().save(measurement(ms + day / 1e5, day=day, plan=f"plan {ms}"), "ok")
        git("add", "-A")
        git("commit", "-q", "-m", "run")
    status, out, _ = run("history", TEST)
    assert status == 0
    assert "16 runs" in out
    assert "1: a1b2c3d4e5, 2026-07-09" in out
    assert "+12." in out
    assert "(another plan)" in out
    assert "10 runs" in run("history", TEST, "--no-git")[1]
    assert run("history", "test_nothing")[0] == 2


def test_history_tells_the_machine_from_the_commit(run: Run) -> None:
    for day, ms in enumerate([0.272] * 4 + [0.306] * 4, 1):
        folder().save(measurement(ms + day / 1e5, day=day), "ok")
    assert "M: a1b2c3d4e5, 2026-07-05" in (out := run("history", TEST)[1])
    assert "(same plan: the machine, not the commit)" in out
