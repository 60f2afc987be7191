"""--trt-against: each test takes turns with its own engine at a git revision."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from samples.pytest_runs import ENGINE, MEASURES

XDIST = pytest.mark.parametrize("xdist", [(), ("-n", "2")], ids=["alone", "xdist"])
QUICK = "--trt-max-slowdown=50%"


def git(folder, *words):
    """What git says, on a command that has no need of the user's own settings."""
    own = ("user.name=t", "user.email=t@t", "protocol.file.allow=always", "init.defaultBranch=main")
    command = ["git", *(word for setting in own for word in ("-c", setting)), *words]
    return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout


def commit(project, *, also=()):
    """Everything in the project, as a commit."""
    git(project.path, "init", "-q")
    git(project.path, "add", ".", *also)
    git(project.path, "commit", "-q", "-m", "before")


def worktrees(project):
    return git(project.path, "worktree", "list", "--porcelain").count("worktree ") - 1


@pytest.fixture
def before(project, monkeypatch, engine_cache):
    """A repository whose one test measures a small model."""
    project.makepyfile(test_m=ENGINE + MEASURES)
    commit(project)
    monkeypatch.setenv("TMPDIR", str(engine_cache.parent))
    return project


@XDIST
def test_a_slower_model_regresses_and_what_is_new_is_new(before, save_model, xdist):
    before.makepyfile(test_m=ENGINE + MEASURES + MEASURES.replace("test_m", "test_new"), test_n=ENGINE + MEASURES)
    save_model(folder=before.path, layers=64)
    result = before.runpytest_subprocess("--trt-against=HEAD", *xdist)
    result.assert_outcomes(failed=1, passed=2)
    results = json.loads((before.path / "out.json").read_text())["results"]
    assert {r["node_id"]: [v["status"] for v in r["verdicts"]] for r in results} == {
        "test_m.py::test_m": ["regressed"],
        "test_m.py::test_new": ["new"],
        "test_n.py::test_m": ["new"],
    }
    commit_id = git(before.path, "rev-parse", "--short=7", "HEAD").strip()
    result.stdout.fnmatch_lines([f"=*, against HEAD ({commit_id}) =*", "test* against HEAD*"])
    result.stdout.fnmatch_lines_random(
        [
            "latency regressed: * against *, tolerance 5 %",
            "  judged engine against engine: *",
            "  seen again when measured again",
            "  blame, *",
            "  changed since HEAD (*): the model; *",
        ]
    )
    assert "baseline accept" not in result.stdout.str()
    assert worktrees(before) == 0


def test_the_same_plan_is_ok_without_a_pair_unless_one_is_asked_for(before, verdicts):
    marked = "@pytest.mark.trt_regression(paired=True, max_slowdown='90%')\n" + MEASURES.replace("test_m", "test_pair")
    before.makepyfile(test_m=ENGINE + MEASURES + marked)
    commit(before)
    result = before.runpytest_subprocess("--trt-against=HEAD", "-v", QUICK)
    result.assert_outcomes(passed=2)
    assert verdicts()["test_m"] == ["ok"]
    out = result.stdout.str()
    assert out.count("identical plan: nothing to compare") == 1
    assert out.count("judged engine against engine") == 1


def test_outputs_that_a_stored_baseline_is_to_be_held_against_are_not_judged(before):
    """They had been said to be missing in it: "save it anew"."""
    accuracy = "@pytest.mark.trt_accuracy(reference='baseline')\n"
    before.makepyfile(test_m=ENGINE + accuracy + MEASURES.lstrip())
    before.runpytest_subprocess("--trt-baseline-save").assert_outcomes(passed=1)
    before.runpytest_subprocess("--trt-against=HEAD").assert_outcomes(passed=1)
    (result,) = json.loads((before.path / "out.json").read_text())["results"]
    texts = [verdict["text"] for verdict in result["verdicts"] if verdict["status"] == "missing"]
    assert texts == [
        "the outputs were compared with nothing: this run reads no stored baseline: name another reference"
    ]


def test_each_side_is_run_as_it_is_declared_there_and_given_inputs_are_for_both(before):
    given = """
import numpy as np
@pytest.mark.trt_regression(paired=True)
@pytest.mark.trt_matrix(batch=[4])
def test_m(trt_runner):
    trt_runner.measure({"x": np.ones((4, 32), np.float32)})
def test_spec(trt_runner): trt_runner.measure()
@pytest.fixture
def trt_spec():
    from pytest_trt import EngineSpec
    return EngineSpec(path="m.onnx", dims={"N": (1, SIZE, 8)})
"""
    before.makepyfile(test_m=ENGINE + given.replace("SIZE", "2"))
    commit(before)
    before.makepyfile(test_m=ENGINE + given.replace("SIZE", "8"))
    result = before.runpytest_subprocess("--trt-against=HEAD", "-v", "--trt-max-slowdown=99%", "--trt-no-cache")
    result.assert_outcomes(passed=2)
    assert result.stdout.str().count("judged engine against engine") == 2


@pytest.mark.parametrize("way", ["pythonpath", "ini"])
def test_modules_come_from_the_worktree(before, save_model, verdicts, monkeypatch, way):
    (before.path / "src").mkdir()
    (before.path / "src" / "zoo.py").write_text("MODEL = 'm.onnx'")
    engine = ENGINE.replace("import pytest", "import pytest, zoo").replace("'m.onnx'", "zoo.MODEL")
    before.makepyfile(test_m=engine + MEASURES)
    if way == "ini":
        ini = before.path / "tox.ini"
        ini.write_text(ini.read_text() + "\npythonpath = src\n")
    else:
        monkeypatch.setenv("PYTHONPATH", str(before.path / "src"))
    commit(before)
    save_model("large.onnx", folder=before.path, layers=64)
    (before.path / "src" / "zoo.py").write_text("MODEL = 'large.onnx'")
    before.runpytest_subprocess("--trt-against=HEAD").assert_outcomes(failed=1)
    assert verdicts() == {"test_m": ["regressed"]}


@XDIST
def test_a_module_out_of_the_checkout_is_an_error(before, monkeypatch, xdist):
    (before.path / "src").mkdir()
    (before.path / "src" / "zoo.py").write_text("")
    before.makeconftest("import os, sys\nsys.path.insert(0, os.environ['ZOO'])\nimport zoo\n")
    commit(before)
    monkeypatch.setenv("ZOO", str(before.path / "src"))
    result = before.runpytest_subprocess("--trt-against=HEAD", *xdist)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    said = result.stdout.str() + result.stderr.str()
    assert f"the module zoo from {before.path / 'src' / 'zoo.py'}, out of the checkout and not out of its" in said
    assert "pythonpath" in said
    assert worktrees(before) == 0


def test_a_model_out_of_the_checkout_is_an_error(before):
    before.makepyfile(test_m=ENGINE.replace("'m.onnx'", repr(str(before.path / "m.onnx"))) + MEASURES)
    commit(before)
    result = before.runpytest_subprocess("--trt-against=HEAD")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"*the model of test_m.py::test_m from {before.path / 'm.onnx'}*"])


def test_a_model_outside_the_repository_is_an_error(before, save_model, tmp_path_factory):
    """It is one file for both sides, and what it was then is not known."""
    model = save_model(folder=tmp_path_factory.mktemp("models"))
    before.makepyfile(test_m=ENGINE.replace("'m.onnx'", repr(str(model))) + MEASURES)
    commit(before)
    result = before.runpytest_subprocess("--trt-against=HEAD")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines([f"*{model} lies outside the repository, so that HEAD (*"])


def test_what_cannot_be_built_or_is_skipped_there_is_said(before, save_model, verdicts):
    (before.path / "m.onnx").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 3\n")
    skips = "@pytest.mark.skip(reason='not yet')\n" + MEASURES.replace("test_m", "test_later")
    before.makepyfile(test_m=ENGINE + MEASURES + skips)
    commit(before)
    save_model(folder=before.path)
    before.makepyfile(test_m=ENGINE + MEASURES + MEASURES.replace("test_m", "test_later"))
    result = before.runpytest_subprocess("--trt-against=HEAD", "-v")
    result.assert_outcomes(failed=1, passed=1)
    assert verdicts() == {"test_m": ["error"], "test_later": ["new"]}
    result.stdout.re_match_lines_random(
        [r"at HEAD \(.*\) its engine cannot be built, .*Git LFS pointer.*", r" *at HEAD \(.*\) it is skipped: not yet"]
    )


def test_a_project_below_the_repository_and_submodules(project, save_model, verdicts, tmp_path_factory):
    models = tmp_path_factory.mktemp("models")
    save_model(folder=models)
    git(models, "init", "-q")
    git(models, "add", ".")
    git(models, "commit", "-q", "-m", "models")
    below = project.mkdir("below")
    project.makepyfile(**{"below/test_m": ENGINE.replace("m.onnx", "../models/m.onnx") + MEASURES})
    (project.path / "tox.ini").rename(below / "tox.ini")
    git(project.path, "init", "-q")
    git(project.path, "submodule", "--quiet", "add", str(models), "models")
    commit(project)
    save_model(folder=project.path / "models", layers=64)
    os.chdir(below)
    result = project.runpytest_subprocess("--trt-against=HEAD", "--trt-report=json:../out.json")
    result.assert_outcomes(failed=1)
    assert verdicts() == {"test_m": ["regressed"]}

    git(project.path, "submodule", "--quiet", "deinit", "--force", "models")
    save_model(folder=project.path / "models")
    result = project.runpytest_subprocess("--trt-against=HEAD")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*has the submodule models at *git submodule update --init models*"])
    assert worktrees(project) == 0


@XDIST
@pytest.mark.parametrize(
    ("arrange", "option", "said"),
    [
        (lambda project: None, "nowhere", "--trt-against=nowhere: git does not know this revision in * fetch it first"),
        (lambda project: project.makepyfile(test_m=ENGINE + MEASURES.replace("test_m", "test_x")), "HEAD",
         "has none of these tests: there is nothing to compare"),
        (lambda project: (project.path / "test_m.py").rename(project.path / "test_moved.py"), "HEAD",
         "has none of these tests: there is nothing to compare"),
    ],
    ids=["unknown", "no test", "no file"],
)  # fmt: skip
def test_revisions_that_cannot_be_compared_with_are_usage_errors(before, arrange, option, said, xdist):
    arrange(before)
    result = before.runpytest_subprocess(f"--trt-against={option}", *xdist)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    both = result.stdout.str() + result.stderr.str()
    assert all(part in both for part in said.split(" * "))
    assert "Traceback" not in both
    assert worktrees(before) == 0


def test_what_fails_to_be_collected_there_is_shown(before):
    before.makepyfile(test_m=ENGINE + "import no_such_module\n" + MEASURES)
    commit(before)
    before.makepyfile(test_m=ENGINE + MEASURES)
    result = before.runpytest_subprocess("--trt-against=HEAD")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*pytest fails at HEAD (*), with status 2:", "*No module named 'no_such_module'*"])


def test_outside_a_repository_and_with_what_contradicts_it(project):
    project.makepyfile(test_m=ENGINE + MEASURES)
    result = project.runpytest_subprocess("--trt-against=HEAD")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*needs a git repository*"])
    result = project.runpytest_subprocess("--trt-against=HEAD", "--trt-baseline-save")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*--trt-baseline-save and --trt-against contradict each other*"])


@pytest.mark.parametrize("way", [signal.SIGINT, signal.SIGKILL], ids=lambda way: way.name)
def test_an_ended_run_leaves_no_worktree(before, way):
    before.makeconftest(
        """
import time, pathlib
def pytest_collection_finish():
    if "against" in str(pathlib.Path.cwd()):
        pathlib.Path(__file__).with_name("sleeping").touch()
        time.sleep(100)
"""
    )
    commit(before)
    command = [sys.executable, "-m", "pytest", "--trt-against=HEAD", "-p", "no:cacheprovider"]
    with subprocess.Popen(command, cwd=before.path, stdout=subprocess.DEVNULL) as run:
        wait_until(lambda: worktrees(before) == 1)
        tree = git(before.path, "worktree", "list", "--porcelain").split("worktree ")[2].splitlines()[0]
        wait_until(Path(tree, "sleeping").exists)
        run.send_signal(way)
    wait_until(lambda: worktrees(before) == 0)
    wait_until(lambda: not Path(tree).parent.exists())


def wait_until(happened):
    deadline = time.monotonic() + 30
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.05)
