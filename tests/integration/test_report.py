"""--trt-report, in each form, and what CI is shown."""

from __future__ import annotations

import json

import pytest
from samples.pytest_runs import ENGINE, MEASURES

FORMS = ("html", "md", "json", "benchmark-json")


@pytest.mark.parametrize("xdist", [(), ("-n", "2")], ids=["alone", "xdist"])
def test_every_form_is_written_whole(project, monkeypatch, xdist):
    project.makepyfile(test_m=ENGINE + MEASURES + MEASURES.replace("test_m", "test_n"))
    summary = project.path / "summary.md"
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    result = project.runpytest_subprocess(*xdist, *(f"--trt-report={form}:reports/trt.{form}" for form in FORMS))
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines([f"{form} report: {project.path}/reports/trt.{form}" for form in FORMS])
    text = {form: (project.path / "reports" / f"trt.{form}").read_text() for form in FORMS}
    assert len(list((project.path / "reports").iterdir())) == 4
    assert not (project.path / "out.json").exists()  # the command line replaces the ini setting
    assert all("test_m" in text[form] and "test_n" in text[form] for form in FORMS)
    assert text["html"].rstrip().endswith("</html>")
    assert len(json.loads(text["json"])["results"]) == 2
    assert all(0 < b["stats"]["median"] < 1 for b in json.loads(text["benchmark-json"])["benchmarks"])
    assert "test_m" in summary.read_text()


def test_a_report_that_cannot_be_written_ends_the_run_with_4_after_everything_ran(project):
    project.makepyfile(test_m=ENGINE + MEASURES)
    (project.path / "file").write_text("")
    result = project.runpytest_subprocess("--trt-report=html:file/trt.html")
    result.assert_outcomes(passed=1)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stdout.fnmatch_lines(["ERROR: a report cannot be written: *file*"])


@pytest.mark.parametrize("xdist", [(), ("-n", "1")], ids=["alone", "xdist"])
def test_reports_that_cannot_be_written_cost_no_other(project, monkeypatch, xdist):
    project.makepyfile(test_m=ENGINE + MEASURES)
    (project.path / "file").write_text("")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(project.path / "file" / "summary.md"))
    asked = ("html:file/trt.html", "json:r.json", "md:file/trt.md", "html:r.html")
    result = project.runpytest_subprocess(*xdist, *(f"--trt-report={report}" for report in asked))
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stdout.fnmatch_lines(["json report: *r.json", "html report: *r.html"])
    errors = [line for line in result.outlines if line.startswith("ERROR: a report cannot be written: ")]
    assert ["file/trt.html" in errors[0] or "/file" in errors[0], len(errors)] == [True, 3]
    assert json.loads((project.path / "r.json").read_text())["results"]
    assert (project.path / "r.html").exists()


@pytest.mark.parametrize("value", ["html", "htm:x.html", ":x", "json:"])
def test_a_form_that_is_not_known_is_refused(project, value):
    result = project.runpytest_subprocess(f"--trt-report={value}")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    wanted = "(html|md|json|benchmark-json|trtexec), a colon and a path"
    result.stderr.fnmatch_lines([f"ERROR: --trt-report is *give a format {wanted}*"])


def test_trtexecs_exports_have_the_layers_of_every_test(project):
    """Asking for them is enough for layers to be timed."""
    project.makepyfile(test_m=ENGINE + MEASURES)
    result = project.runpytest_subprocess("--trt-report=trtexec:exports")
    result.assert_outcomes(passed=1)
    written = {file.name.partition(".py-test-m.")[2]: file for file in (project.path / "exports").iterdir()}
    assert sorted(written) == ["layers.json", "profile.json", "times.json", "txt"]
    count, *rows = json.loads(written["profile.json"].read_text())
    assert list(count) == ["count"]
    assert all(list(row) == ["name", "timeMs", "averageMs", "medianMs", "percentage"] for row in rows)
    assert sum(row["percentage"] for row in rows) == pytest.approx(100)
    told = json.loads(written["layers.json"].read_text())
    assert told["Bindings"] == ["x", "y"]
    assert [layer["Name"] for layer in told["Layers"]] == [row["name"] for row in rows]


def test_a_run_that_cannot_be_kept_for_accepting_is_a_warning(project):
    project.makepyfile(test_m=ENGINE + MEASURES)
    (project.path / "kept" / "d" / "trt" / "last-run.json").mkdir(parents=True)
    result = project.runpytest_subprocess("-o", "addopts=", "-o", "cache_dir=kept")
    assert result.ret == pytest.ExitCode.OK
    result.stdout.fnmatch_lines(["warning: the last run is not stored, so that *accept needs --from: *last-run.json*"])
