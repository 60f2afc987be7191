"""Test --trt-report in each format, and GitHub's step summary."""

from __future__ import annotations

import json

import pytest
from samples.pytest_runs import ENGINE, MEASURES

from pytest_trt.report.result_json import RunFile

FORMATS = ("html", "md", "json", "json-all", "benchmark-json")


@pytest.mark.parametrize("xdist", [(), ("-n", "2")], ids=["alone", "xdist"])
def test_every_report_format_is_complete(project, monkeypatch, xdist):
    project.makepyfile(test_m=ENGINE + MEASURES + MEASURES.replace("test_m", "test_n"))
    summary = project.path / "summary.md"
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    result = project.runpytest_subprocess(
        *xdist, *(f"--trt-report={format_}:reports/trt.{format_}" for format_ in FORMATS)
    )
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines([f"{format_} report: {project.path}/reports/trt.{format_}" for format_ in FORMATS])
    text = {format_: (project.path / "reports" / f"trt.{format_}").read_text() for format_ in FORMATS}
    assert len(list((project.path / "reports").iterdir())) == len(FORMATS)
    assert not (project.path / "out.json").exists()  # the command line replaces the ini setting
    assert all("test_m" in text[format_] and "test_n" in text[format_] for format_ in FORMATS)
    assert text["html"].rstrip().endswith("</html>")
    assert len(json.loads(text["json"])["results"]) == 2
    assert all(0 < b["stats"]["median"] < 1 for b in json.loads(text["benchmark-json"])["benchmarks"])
    assert "test_m" in summary.read_text()


def test_unwritable_report_is_a_usage_error_after_all_tests_ran(project):
    project.makepyfile(test_m=ENGINE + MEASURES)
    (project.path / "file").write_text("")
    result = project.runpytest_subprocess("--trt-report=html:file/trt.html")
    result.assert_outcomes(passed=1)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stdout.fnmatch_lines(["ERROR: a report cannot be written: *file*"])


@pytest.mark.parametrize("xdist", [(), ("-n", "1")], ids=["alone", "xdist"])
def test_unwritable_reports_do_not_stop_other_reports(project, monkeypatch, xdist):
    project.makepyfile(test_m=ENGINE + MEASURES)
    (project.path / "file").write_text("")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(project.path / "file" / "summary.md"))
    requested = ("html:file/trt.html", "json:r.json", "md:file/trt.md", "html:r.html")
    result = project.runpytest_subprocess(*xdist, *(f"--trt-report={report}" for report in requested))
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stdout.fnmatch_lines(["json report: *r.json", "html report: *r.html"])
    errors = [line for line in result.outlines if line.startswith("ERROR: a report cannot be written: ")]
    assert ["file/trt.html" in errors[0] or "/file" in errors[0], len(errors)] == [True, 3]
    assert json.loads((project.path / "r.json").read_text())["results"]
    assert (project.path / "r.html").exists()


@pytest.mark.parametrize("value", ["html", "htm:x.html", ":x", "json:"])
def test_unknown_report_format_is_a_usage_error(project, value):
    result = project.runpytest_inprocess(f"--trt-report={value}")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    formats = "(html|md|json|json-all|benchmark-json|trtexec), a colon and a path"
    result.stderr.fnmatch_lines([f"ERROR: --trt-report is *give a format {formats}*"])


def test_trtexec_exports_contain_the_layers_of_every_test(project):
    """The exports alone are a reason to time layers."""
    project.makepyfile(test_m=ENGINE + MEASURES)
    result = project.runpytest_subprocess("--trt-report=trtexec:exports")
    result.assert_outcomes(passed=1)
    written = {file.name.partition(".py-test-m.")[2]: file for file in (project.path / "exports").iterdir()}
    assert sorted(written) == ["layers.json", "profile.json", "times.json", "txt"]
    count, *rows = json.loads(written["profile.json"].read_text())
    assert list(count) == ["count"]
    assert all(list(row) == ["name", "timeMs", "averageMs", "medianMs", "percentage"] for row in rows)
    assert sum(row["percentage"] for row in rows) == pytest.approx(100)
    layers = json.loads(written["layers.json"].read_text())
    assert layers["Bindings"] == ["x", "y"]
    assert [layer["Name"] for layer in layers["Layers"]] == [row["name"] for row in rows]


def test_run_that_cannot_be_stored_for_accept_is_a_warning(project):
    project.makepyfile(test_m=ENGINE + MEASURES)
    (project.path / "cache" / "d" / "trt" / "last-run.json").mkdir(parents=True)
    result = project.runpytest_subprocess("-o", "addopts=", "-o", "cache_dir=cache")
    assert result.ret == pytest.ExitCode.OK
    result.stdout.fnmatch_lines(["warning: the last run is not stored, so that *accept needs --from: *last-run.json*"])


@pytest.mark.parametrize("xdist", [(), ("-n", "1")], ids=["alone", "xdist"])
def test_killed_run_leaves_the_results_of_the_tests_that_ended(project, xdist):
    """pytest is killed as a whole; a worker that is killed alone is in test_xdist."""
    cached = ("-o", "addopts=", "-o", "cache_dir=cache", *xdist)
    project.makepyfile(test_m=ENGINE + MEASURES)
    project.makeconftest(
        """
        import os, pathlib, signal
        def pytest_runtest_logfinish(nodeid):
            if "PYTEST_XDIST_WORKER" not in os.environ and pathlib.Path("kill").exists():
                os.kill(os.getpid(), signal.SIGKILL)
        """
    )
    (project.path / "kill").touch()
    assert project.runpytest_subprocess(*cached).ret == -9
    folder = project.path / "cache" / "d" / "trt"
    (left,) = folder.iterdir()
    run = RunFile(left)
    assert [result.node_id for result in run] == ["test_m.py::test_m"]
    (project.path / "kill").unlink()
    result = project.runpytest_subprocess(*cached)
    assert result.ret == 0
    result.stdout.fnmatch_lines(
        ["warning: an earlier run ended before its report: *killed-run.json.unfinished, which*"]
    )
    assert sorted(path.name for path in folder.iterdir()) == ["killed-run.json.unfinished", "last-run.json"]
    assert [one.node_id for one in RunFile(folder / "last-run.json")] == ["test_m.py::test_m"]
