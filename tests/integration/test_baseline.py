"""Test --trt-baseline, --trt-baseline-dir and --trt-baseline-ref: what a run is compared with."""

from __future__ import annotations

import subprocess
import sys

import pytest
from samples.pytest_runs import ENGINE, MEASURES

RENAME = ["baseline", "rename", "test_m.py::test_other[b2]", "test_m.py::test_another[b2]"]


def git(project, *arguments):
    subprocess.run(["git", "-c", "user.name=t", "-c", "user.email=t@t", *arguments], cwd=project.path, check=True)


@pytest.mark.way_past("a slower model, with baselines in a folder, at a revision or at a URL", "`regressed`")
def test_regression_fails_for_every_source_of_baselines_except_off(project, save_model, verdicts):
    git(project, "init", "-q")
    project.makepyfile(test_m=ENGINE + MEASURES)
    project.runpytest_subprocess("--trt-baseline-save").assert_outcomes(passed=1)
    project.runpytest_subprocess("--trt-baseline-save", "--trt-baseline-dir=elsewhere").assert_outcomes(passed=1)
    assert list((project.path / "elsewhere" / "main").rglob("*.json"))
    git(project, "add", ".trt-baselines")
    git(project, "commit", "-q", "-m", "baseline")

    save_model(folder=project.path, layers=16)
    result = project.runpytest_subprocess()
    result.assert_outcomes(failed=1)
    assert verdicts() == {"test_m": ["regressed", "ok", "regressed"]}  # latency, host memory, engine size
    result.stdout.re_match_lines([r"latency regressed: .* against .*, \+.* %.*, tolerance 5 %"])
    result.stdout.fnmatch_lines(['*accept it with: pytest-trt baseline accept "test_m.py::test_m" --reason=*'])

    project.runpytest_subprocess("--trt-baseline=off").assert_outcomes(passed=1)
    assert verdicts() == {"test_m": []}
    result = project.runpytest_subprocess("--trt-baseline=never")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(
        ["*--trt-baseline=never: there is no baseline in *never: it has main, or drop the option"]
    )
    project.runpytest_subprocess("--trt-baseline-dir=elsewhere").assert_outcomes(failed=1)
    assert verdicts() == {"test_m": ["regressed", "ok", "regressed"]}  # latency, host memory, engine size

    # a pull request that changes its own baseline is still compared with the one at the revision
    project.runpytest_subprocess("--trt-baseline-save", "--trt-baseline-force").assert_outcomes(failed=1)
    project.runpytest_subprocess().assert_outcomes(passed=1)
    project.runpytest_subprocess("--trt-baseline-ref=HEAD").assert_outcomes(failed=1)
    assert verdicts() == {"test_m": ["regressed", "ok", "regressed"]}  # latency, host memory, engine size


@pytest.mark.way_past("misspell `--trt-baseline-ref`", "exit status 4")
def test_unknown_revision_is_an_error(project):
    git(project, "init", "-q")
    project.makepyfile(test_m=ENGINE + MEASURES)
    result = project.runpytest_inprocess("--trt-baseline-ref=origin/main")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert result.stderr.str().count("--trt-baseline-ref=origin/main: git does not know this revision") == 1


@pytest.mark.way_past("name a baseline, a folder or a revision under which nothing exists", "exit status 4")
@pytest.mark.parametrize("option", ["--trt-baseline-dir=baselnes", "--trt-baseline=mian", "--trt-baseline-ref=HEAD"])
def test_a_baseline_that_is_named_and_does_not_exist_ends_the_run(project, option):
    git(project, "init", "-q")
    project.makepyfile(test_m=ENGINE + MEASURES + MEASURES.replace("test_m", "test_n"))
    git(project, "add", "test_m.py")
    git(project, "commit", "-q", "-m", "without baselines")
    result = project.runpytest_inprocess(option)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert result.stderr.str().count(f"{option}: there is no baseline in ") == 1
    if "ref" not in option:
        project.runpytest_subprocess(option, "--trt-baseline-save").assert_outcomes(passed=2)


@pytest.mark.way_past("rename a test whose model got slower", "judged against the baseline of its old name")
def test_a_renamed_test_is_judged_against_the_baseline_of_its_old_name(project, save_model, verdicts):
    two = MEASURES + "@pytest.mark.trt_matrix(batch=[2])\ndef test_other(trt_runner): trt_runner.measure()\n"
    project.makepyfile(test_m=ENGINE + two)
    project.runpytest_subprocess("--trt-baseline-save").assert_outcomes(passed=2)
    project.makepyfile(test_m=ENGINE + two.replace("test_other", "test_another"))
    result = project.runpytest_subprocess()
    assert verdicts()["test_another[b2]"] == ["ok"]
    output = " ".join(result.stdout.str().split())
    assert "judged against the baseline of test_m.py::test_other[b2], which has the same spec and no test" in output
    assert "1 baseline has no test (test_m.py::test_other[b2]): restore or rename" in output
    save_model(folder=project.path, layers=16)
    project.runpytest_subprocess().assert_outcomes(failed=2)
    assert verdicts()["test_another[b2]"] == ["regressed", "ok", "regressed"]
    save_model(folder=project.path)
    command = f"import sys; from pytest_trt.cli.main import main; sys.exit(main({RENAME!r}))"
    assert subprocess.call([sys.executable, "-c", command], cwd=project.path) == 0
    result = project.runpytest_subprocess("--trt-strict")
    result.assert_outcomes(passed=2)
    assert result.ret == 0
    result.stdout.no_fnmatch_line("*no test*")


@pytest.mark.way_past(
    "rename a test while several baselines have its spec", "`new`, names the candidates; fails with `--trt-strict`"
)
def test_several_candidates_for_a_renamed_test_are_named(project, verdicts):
    project.makepyfile(test_m=ENGINE + MEASURES.replace("test_m", "test_a") + MEASURES.replace("test_m", "test_b"))
    project.runpytest_subprocess("--trt-baseline-save").assert_outcomes(passed=2)
    project.makepyfile(test_m=ENGINE + MEASURES)
    project.runpytest_subprocess().assert_outcomes(passed=1)
    assert verdicts() == {"test_m": ["missing"]}
    result = project.runpytest_subprocess("--trt-strict")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        ["*2 baselines without a test have the same spec (test_m.py::test_a, test_m.py::test_b)*"]
    )


@pytest.mark.way_past("change the spec of a test", "judged against its baseline, with a warning")
def test_a_changed_spec_of_the_same_test_is_judged_and_named(project, save_baselines, verdicts):
    project.makepyfile(test_m=ENGINE + MEASURES)
    save_baselines()
    project.makepyfile(test_m=ENGINE + "@pytest.mark.trt_pipeline(contexts=2)\n" + MEASURES)
    result = project.runpytest_subprocess("--trt-max-slowdown=99%")
    assert verdicts()["test_m"][0] in ("ok", "improved", "inconclusive", "regressed")
    result.stdout.fnmatch_lines(["warning: compared with a baseline of another spec: contexts (none to 2): test_m"])


GONE = {
    "deleted": (None, None),
    "not a test any more": ("import pytest\ndef helper(): pass\n", None),
    "__test__": (ENGINE + "__test__ = False\n" + MEASURES, None),
    "dropped by a conftest": (
        ENGINE + MEASURES,
        "def pytest_collection_modifyitems(items):\n    items[:] = [i for i in items if i.name != 'test_m']\n",
    ),
}


@pytest.mark.way_past(
    "delete a test, rename its file, set `__test__ = False`, or drop it in a conftest",
    "reported; a failure with `--trt-strict`",
)
@pytest.mark.parametrize("how", GONE)
@pytest.mark.parametrize("xdist", [(), ("-n", "1")], ids=["alone", "xdist"])
def test_a_baseline_whose_test_is_gone_is_reported(project, save_baselines, how, xdist):
    project.makepyfile(test_m=ENGINE + MEASURES, test_n=ENGINE + MEASURES.replace("test_m", "test_n"))
    save_baselines()
    content, conftest = GONE[how]
    if content is None:
        (project.path / "test_m.py").unlink()
    else:
        (project.path / "test_m.py").write_text(content)
    if conftest is not None:
        project.makeconftest(conftest)
    result = project.runpytest_subprocess(*xdist)
    assert result.ret == 0
    result.stdout.fnmatch_lines(["warning: 1 baseline has no test (test_m.py::test_m): *baseline prune"])
    result = project.runpytest_subprocess("--trt-strict", *xdist)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["ERROR: 1 baseline has no test (test_m.py::test_m): *"])


@pytest.mark.parametrize("hidden", ["importorskip", "collect_ignore", "a path", "a keyword"])
def test_a_test_that_is_only_hidden_keeps_its_baseline_without_a_word(project, save_baselines, hidden):
    project.makepyfile(test_m=ENGINE + MEASURES, test_n=ENGINE + MEASURES.replace("test_m", "test_n"))
    save_baselines()
    arguments = {"a path": ["test_n.py"], "a keyword": ["-k", "test_n"]}.get(hidden, [])
    if hidden == "importorskip":
        (project.path / "test_m.py").write_text("import pytest\npytest.importorskip('nothing_of_this_name')\n" + ENGINE)
    if hidden == "collect_ignore":
        project.makeconftest("collect_ignore = ['test_m.py']")
    result = project.runpytest_subprocess("--trt-strict", *arguments)
    assert result.ret == 0
    result.stdout.no_fnmatch_line("*no test*")


def test_baselines_at_a_url_are_judged_like_local_ones(project, verdicts):
    project.makepyfile(test_m=ENGINE + MEASURES)
    url = f"--trt-baseline-dir=file://{project.path}/far"
    project.runpytest_subprocess(url, "--trt-baseline-save").assert_outcomes(passed=1)
    assert list((project.path / "far").rglob("*.json"))
    project.runpytest_subprocess(url, "-n", "1").assert_outcomes(passed=1)
    project.runpytest_subprocess(url).assert_outcomes(passed=1)
    assert verdicts() == {"test_m": ["ok"]}
    result = project.runpytest_inprocess("--trt-baseline-dir=nowhere://x")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*nowhere*"])
