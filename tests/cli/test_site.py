"""Test `pytest-trt site`: where it reads runs, and what it says about files that cannot be read."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from samples.records import TEST, measurement
from samples.runs import OTHER, Run, folder, git, write_run

from pytest_trt.core.records import Estimate, Verdict
from pytest_trt.report.html.site import page_name


def judged(ratio: float) -> list[Verdict]:
    return [
        Verdict("ok", "baseline", "ms", "", ratio=Estimate.exact(ratio)),
        Verdict("ok", "budget", "ms", "", limit=0.4),
    ]


def save(day: int, ms: float, plan: str, ratio: float = 0.0, **options: object) -> None:
    """Save a run to its baseline, and commit it."""
    folder().save(measurement(ms, day=day, plan=plan), "ok", verdicts=judged(ratio) if ratio else (), **options)  # type: ignore[arg-type]
    git("add", "-A")
    git("commit", "-q", "-m", "run")


def test_baselines_with_their_versions_in_git(run: Run) -> None:
    git("init", "-q", "-b", "main")
    save(1, 0.306, "old")
    save(2, 0.248, "new", 1.56, force=True)
    status, out, _ = run("site", "out")
    assert (status, out) == (0, "wrote out/index.html, with 1 test\n")
    accepted = Path("out/accepted.html").read_text()
    assert '<td class="text">A</td>' in accepted
    assert "+56.0 %" in accepted
    assert "Nothing got worse" not in Path("out/index.html").read_text()
    assert "the baselines main and their versions in git" in Path("out/index.html").read_text()
    assert (Path("out/tests") / page_name(TEST)).exists()


def test_files_of_runs_are_merged_with_baselines(run: Run) -> None:
    folder().save(measurement(day=1), "missing")
    write_run("runs/a/1.json", measurement(0.3, day=2), verdicts=judged(1.1))
    write_run("runs/b/2.json", measurement(0.3, node_id=OTHER, day=2))
    assert run("site", "out", "--from=runs")[1] == "wrote out/index.html, with 2 tests\n"
    page = (Path("out/tests") / page_name(TEST)).read_text()
    assert '"value":[0.272,0.3]' in page
    assert '"level":[0.272,0.2992]' in page
    assert run("site", "out", "--from=runs/b", "--no-baselines")[1] == "wrote out/index.html, with 1 test\n"
    assert not (Path("out/tests") / page_name(TEST)).exists()


def test_reference_of_later_runs_is_known_by_its_time(run: Run) -> None:
    """Without baselines, only the results of later runs say which run became the reference."""
    plans = [("a", 1.0, 1), ("b", 1.5, 1), ("c", 1.02, 2)]
    for day, (plan, ratio, reference) in enumerate(plans, 1):
        file = write_run(f"runs/{day}.json", measurement(0.2, day=day, plan=plan), verdicts=judged(ratio))
        time = f"2026-07-{reference:02}T12:00:00+00:00"
        file.write_text(file.read_text().replace('"baseline_time":null', f'"baseline_time":"{time}"'))
    run("site", "out", "--from=runs", "--no-baselines")
    assert '"level":[0.2,0.3,0.306]' in (Path("out/tests") / page_name(TEST)).read_text()


def test_file_that_cannot_be_read_is_reported_and_the_others_are_shown(run: Run) -> None:
    write_run("runs/1.json", measurement())
    Path("runs/2.json").write_text("{")
    status, out, error = run("site", "out", "--from=runs")
    assert status == 1
    assert "with 1 test" in out
    assert "ERROR: runs/2.json is not JSON" in error


def test_json_of_another_kind_is_skipped_in_a_folder_and_an_error_by_name(run: Run) -> None:
    write_run("runs/1.json", measurement())
    Path("runs/package.json").write_text('{"name": "models"}')
    status, _, error = run("site", "out", "--from=runs", "--no-baselines")
    assert (status, "ERROR" in error) == (0, False)
    status, _, error = run("site", "out", "--from=runs", "--from=runs/package.json", "--no-baselines")
    assert status == 1
    assert "ERROR: runs/package.json is not the JSON of a run" in error


def test_nothing_to_show_is_a_usage_error(run: Run) -> None:
    for arguments, message in (
        ([], "there is no run to show in the baselines main"),
        (["--no-baselines"], "--no-baselines leaves nothing to show"),
        (["--branch=main"], "--branch chooses among the files in --from"),
        (["--from=none.json"], "--from: there is no 'none.json'"),
    ):
        status, _, error = run("site", "out", *arguments)
        assert status == 2
        assert message in error
    assert not Path("out").exists()


def test_ids_of_earlier_versions_are_the_same_test(run: Run) -> None:
    for day, name in enumerate(("t.py::test[S=8]", "t.py::test[S8]"), 1):
        write_run(f"{day}.json", dataclasses.replace(measurement(day=day), node_id=name))
    assert "with 1 test" in run("site", "out", "--from=1.json", "--from=2.json")[1]
