"""Test --trt-against: each test's engine takes turns with the one that it has at a git revision."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from samples.processes import wait_until
from samples.pytest_runs import ENGINE, MEASURES

XDIST = pytest.mark.parametrize("xdist", [(), ("-n", "1")], ids=["alone", "xdist"])
QUICK = "--trt-max-slowdown=50%"

SLOWER = ["regressed", "ok", "regressed"]
"""The verdicts of latency, host memory and engine size of a model with more layers."""


def git(folder, *arguments):
    """Run git without the user's settings, and return its output."""
    settings = ("user.name=t", "user.email=t@t", "protocol.file.allow=always", "init.defaultBranch=main")
    command = ["git", *(word for setting in settings for word in ("-c", setting)), *arguments]
    return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout


def commit(project, *, also=()):
    """Commit everything in the project."""
    git(project.path, "init", "-q")
    git(project.path, "add", ".", *also)
    git(project.path, "commit", "-q", "-m", "before")


def worktrees(project):
    """Return how many worktrees there are beside the checkout."""
    return git(project.path, "worktree", "list", "--porcelain").count("worktree ") - 1


@pytest.fixture
def committed(project, monkeypatch, engine_cache):
    """A repository whose one test measures a small model."""
    project.makepyfile(test_m=ENGINE + MEASURES)
    commit(project)
    monkeypatch.setenv("TMPDIR", str(engine_cache.parent))
    return project


@pytest.mark.way_past("a model slower than at the revision of `--trt-against`", "`regressed`")
@pytest.mark.parametrize("xdist", [(), ("-n", "2")], ids=["alone", "xdist"])
def test_slower_model_regresses_and_new_tests_are_new(committed, save_model, xdist):
    committed.makepyfile(test_m=ENGINE + MEASURES + MEASURES.replace("test_m", "test_new"), test_n=ENGINE + MEASURES)
    save_model(folder=committed.path, layers=16)
    result = committed.runpytest_subprocess("--trt-against=HEAD", *xdist)
    result.assert_outcomes(failed=1, passed=2)
    results = json.loads((committed.path / "out.json").read_text())["results"]
    assert {r["node_id"]: [v["status"] for v in r["verdicts"]] for r in results} == {
        "test_m.py::test_m": SLOWER,
        "test_m.py::test_new": ["new"],
        "test_n.py::test_m": ["new"],
    }
    commit_id = git(committed.path, "rev-parse", "--short=7", "HEAD").strip()
    result.stdout.fnmatch_lines([f"=*, against HEAD ({commit_id}) =*", "test* against HEAD*"])
    result.stdout.fnmatch_lines_random(
        [
            "latency regressed: * against *, tolerance 5 % (and 1 more verdict below)",
            "  judged engine against engine: *",
            "  seen again when measured again",
            "  blame, *",
            "  changed since HEAD (*): the model; *",
        ]
    )
    assert "baseline accept" not in result.stdout.str()
    assert worktrees(committed) == 0


def test_identical_plan_is_only_measured_if_a_pair_is_requested(committed, verdicts):
    marked = "@pytest.mark.trt_regression(paired=True, max_slowdown='90%')\n" + MEASURES.replace("test_m", "test_pair")
    committed.makepyfile(test_m=ENGINE + MEASURES + marked)
    commit(committed)
    result = committed.runpytest_subprocess("--trt-against=HEAD", "-v", QUICK)
    result.assert_outcomes(passed=2)
    assert verdicts()["test_m"] == ["ok"]
    out = result.stdout.str()
    assert out.count("identical plan: nothing to compare") == 1
    assert out.count("judged engine against engine") == 1


def test_outputs_are_not_compared_with_a_stored_baseline(committed):
    """An earlier version reported them as missing in the baseline, and suggested to save it again."""
    accuracy = "@pytest.mark.trt_accuracy(reference='baseline')\n"
    committed.makepyfile(test_m=ENGINE + accuracy + MEASURES.lstrip())
    committed.runpytest_subprocess("--trt-baseline-save").assert_outcomes(passed=1)
    committed.runpytest_subprocess("--trt-against=HEAD").assert_outcomes(passed=1)
    (result,) = json.loads((committed.path / "out.json").read_text())["results"]
    texts = [verdict["text"] for verdict in result["verdicts"] if verdict["status"] == "missing"]
    assert texts == [
        "the outputs were compared with nothing: this run reads no stored baseline: name another reference"
    ]


def test_each_side_runs_as_declared_there_and_both_use_the_given_inputs(committed):
    tests = """
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
    committed.makepyfile(test_m=ENGINE + tests.replace("SIZE", "2"))
    commit(committed)
    committed.makepyfile(test_m=ENGINE + tests.replace("SIZE", "8"))
    result = committed.runpytest_subprocess("--trt-against=HEAD", "-v", "--trt-max-slowdown=99%", "--trt-no-cache")
    result.assert_outcomes(passed=2)
    assert result.stdout.str().count("judged engine against engine") == 2


@pytest.mark.way_past(
    "a test imports its model's code by a path that the ini file sets", "the revision's code is used there"
)
@pytest.mark.parametrize("setting", ["pythonpath", "ini"])
def test_modules_are_loaded_from_the_worktree(committed, save_model, verdicts, monkeypatch, setting):
    (committed.path / "src").mkdir()
    (committed.path / "src" / "zoo.py").write_text("MODEL = 'm.onnx'")
    engine = ENGINE.replace("import pytest", "import pytest, zoo").replace("'m.onnx'", "zoo.MODEL")
    committed.makepyfile(test_m=engine + MEASURES)
    if setting == "ini":
        ini = committed.path / "tox.ini"
        ini.write_text(ini.read_text() + "\npythonpath = src\n")
    else:
        monkeypatch.setenv("PYTHONPATH", str(committed.path / "src"))
    commit(committed)
    save_model("large.onnx", folder=committed.path, layers=16)
    (committed.path / "src" / "zoo.py").write_text("MODEL = 'large.onnx'")
    committed.runpytest_subprocess("--trt-against=HEAD").assert_outcomes(failed=1)
    assert verdicts() == {"test_m": SLOWER}


@pytest.mark.way_past("the checkout is a package", "the revision's code is used there")
@pytest.mark.parametrize("mode", ["prepend", "importlib"])
def test_checkout_that_is_a_package_is_imported_from_the_worktree(project, save_model, verdicts, monkeypatch, mode):
    (project.path / "tests").mkdir()
    for folder in (project.path, project.path / "tests"):
        (folder / "__init__.py").touch()
    (project.path / "zoo.py").write_text("MODEL = 'm.onnx'")
    own_name = f"import pytest\nfrom {project.path.name}.zoo import MODEL"
    engine = ENGINE.replace("import pytest", own_name).replace("'m.onnx'", "MODEL")
    (project.path / "tests" / "test_m.py").write_text(engine + MEASURES)
    monkeypatch.setenv("PYTHONPATH", str(project.path.parent) if mode == "importlib" else "")
    commit(project)
    save_model("large.onnx", folder=project.path, layers=16)
    (project.path / "zoo.py").write_text("MODEL = 'large.onnx'")
    result = project.runpytest_subprocess("--trt-against=HEAD", f"--import-mode={mode}", "tests/test_m.py")
    result.assert_outcomes(failed=1)
    assert verdicts() == {"test_m": SLOWER}


@pytest.mark.way_past("an editable install loads the checkout's code at the revision", "`error`")
@XDIST
def test_module_loaded_from_the_checkout_is_an_error(committed, monkeypatch, xdist):
    (committed.path / "src").mkdir()
    (committed.path / "src" / "zoo.py").write_text("")
    committed.makeconftest("import os, sys\nsys.path.insert(0, os.environ['ZOO'])\nimport zoo\n")
    commit(committed)
    monkeypatch.setenv("ZOO", str(committed.path / "src"))
    result = committed.runpytest_subprocess("--trt-against=HEAD", *xdist)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    output = result.stdout.str() + result.stderr.str()
    assert f"the module zoo from {committed.path / 'src' / 'zoo.py'}, out of the checkout and not out of its" in output
    assert "pythonpath" in output
    assert worktrees(committed) == 0


@pytest.mark.way_past("the revision's test reads the model of the checkout", "`error`")
def test_model_loaded_from_the_checkout_is_an_error(committed):
    committed.makepyfile(test_m=ENGINE.replace("'m.onnx'", repr(str(committed.path / "m.onnx"))) + MEASURES)
    commit(committed)
    result = committed.runpytest_subprocess("--trt-against=HEAD")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"*the model of test_m.py::test_m from {committed.path / 'm.onnx'}*"])


@pytest.mark.way_past("both revisions read one model outside the repository", "`error`")
def test_model_outside_the_repository_is_an_error(committed, save_model, tmp_path_factory):
    """Both sides read the same file, and its content at the revision is unknown."""
    model = save_model(folder=tmp_path_factory.mktemp("models"))
    committed.makepyfile(test_m=ENGINE.replace("'m.onnx'", repr(str(model))) + MEASURES)
    commit(committed)
    result = committed.runpytest_subprocess("--trt-against=HEAD")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines([f"*{model} lies outside the repository, so that HEAD (*"])


def test_build_failures_and_skips_at_the_revision_are_reported(committed, save_model, verdicts):
    (committed.path / "m.onnx").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 3\n")
    skips = "@pytest.mark.skip(reason='not yet')\n" + MEASURES.replace("test_m", "test_later")
    committed.makepyfile(test_m=ENGINE + MEASURES + skips)
    commit(committed)
    save_model(folder=committed.path)
    committed.makepyfile(test_m=ENGINE + MEASURES + MEASURES.replace("test_m", "test_later"))
    result = committed.runpytest_subprocess("--trt-against=HEAD", "-v")
    result.assert_outcomes(failed=1, passed=1)
    assert verdicts() == {"test_m": ["error"], "test_later": ["new"]}
    result.stdout.re_match_lines_random(
        [r"at HEAD \(.*\) its engine cannot be built, .*Git LFS pointer.*", r" *at HEAD \(.*\) it is skipped: not yet"]
    )


def test_project_in_a_subfolder_of_a_repository_with_submodules(project, save_model, verdicts, tmp_path_factory):
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
    save_model(folder=project.path / "models", layers=16)
    os.chdir(below)
    result = project.runpytest_subprocess("--trt-against=HEAD", "--trt-report=json:../out.json")
    result.assert_outcomes(failed=1)
    assert verdicts() == {"test_m": SLOWER}

    git(project.path, "submodule", "--quiet", "deinit", "--force", "models")
    save_model(folder=project.path / "models")
    result = project.runpytest_subprocess("--trt-against=HEAD")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*has the submodule models at *git submodule update --init models*"])
    assert worktrees(project) == 0


@pytest.mark.way_past("compare with a revision that does not exist or has no tests", "exit status 4")
@XDIST
@pytest.mark.parametrize(
    ("arrange", "revision", "message"),
    [
        (lambda project: None, "nowhere", "--trt-against=nowhere: git does not know this revision in * fetch it first"),
        (lambda project: project.makepyfile(test_m=ENGINE + MEASURES.replace("test_m", "test_x")), "HEAD",
         "has none of these tests: there is nothing to compare"),
        (lambda project: (project.path / "test_m.py").rename(project.path / "test_moved.py"), "HEAD",
         "has none of these tests: there is nothing to compare"),
    ],
    ids=["unknown", "no test", "no file"],
)  # fmt: skip
def test_unusable_revision_is_a_usage_error(committed, arrange, revision, message, xdist):
    arrange(committed)
    result = committed.runpytest_inprocess(f"--trt-against={revision}", *xdist)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    output = result.stdout.str() + result.stderr.str()
    assert all(part in output for part in message.split(" * "))
    assert "Traceback" not in output
    assert worktrees(committed) == 0


def test_collection_error_at_the_revision_is_shown(committed):
    committed.makepyfile(test_m=ENGINE + "import no_such_module\n" + MEASURES)
    commit(committed)
    committed.makepyfile(test_m=ENGINE + MEASURES)
    result = committed.runpytest_subprocess("--trt-against=HEAD")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*pytest fails at HEAD (*), with status 2:", "*No module named 'no_such_module'*"])


def test_missing_repository_and_contradicting_options_are_usage_errors(project):
    project.makepyfile(test_m=ENGINE + MEASURES)
    result = project.runpytest_inprocess("--trt-against=HEAD")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*needs a git repository*"])
    result = project.runpytest_inprocess("--trt-against=HEAD", "--trt-baseline-save")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*--trt-baseline-save and --trt-against contradict each other*"])


@pytest.mark.parametrize(
    ("number", "handler"),
    [(signal.SIGINT, "default_int_handler"), (signal.SIGKILL, "default_int_handler"), (signal.SIGUSR1, "SIG_IGN")],
    ids=["ctrl-c", "kill -9", "time-out in a background job"],
)
def test_interrupted_run_leaves_no_worktree(committed, monkeypatch, number, handler):
    """The signal of the last case stands for that of pytest-timeout. A background job starts with SIGINT ignored."""
    interrupted = committed.path / "interrupted"
    monkeypatch.setenv("INTERRUPTED", str(interrupted))
    committed.makeconftest(
        """
import os, pathlib, signal, time
signal.signal(signal.SIGUSR1, signal.default_int_handler)
def pytest_collection_finish():
    if "against" in str(pathlib.Path.cwd()):
        pathlib.Path(__file__).with_name("sleeping").touch()
        try:
            time.sleep(100)
        except KeyboardInterrupt:
            pathlib.Path(os.environ["INTERRUPTED"]).touch()
            raise
"""
    )
    commit(committed)
    program = f"import pytest, signal; signal.signal(signal.SIGINT, signal.{handler}); pytest.main()"
    command = [sys.executable, "-c", program, "--trt-against=HEAD"]
    with subprocess.Popen(command, cwd=committed.path, stdout=subprocess.DEVNULL) as run:
        wait_until(lambda: worktrees(committed) == 1)
        tree = git(committed.path, "worktree", "list", "--porcelain").split("worktree ")[2].splitlines()[0]
        wait_until(Path(tree, "sleeping").exists)
        run.send_signal(number)
    wait_until(lambda: worktrees(committed) == 0)
    wait_until(lambda: not Path(tree).parent.exists())
    assert interrupted.exists() == (number != signal.SIGKILL)


def test_engines_of_both_sides_take_turns_on_every_host_elsewhere(project, save_model, tmp_path):
    """The run of the revision builds on one host only. Its ini file names no host."""
    project.makepyfile(
        test_m=f"{ENGINE}@pytest.mark.parametrize('number', range(4))\n{MEASURES.replace(')', ', number)', 1)}"
    )
    commit(project)
    save_model(folder=project.path, layers=3)
    hosts = []
    for name in ("a", "b"):
        script = project.path / name
        script.write_text(f'#!/bin/sh\nexport XDG_CACHE_HOME={tmp_path}/{name}\nexec {sys.executable} "$@"\n')
        script.chmod(0o755)
        hosts.append(f"--trt-host=exec:./{name}")
    off = [f"--trt-gate={figure}=off" for figure in ("host_mb", "engine_mb")]
    project.runpytest_subprocess(
        "--trt-against=HEAD", "-n", "2", "--trt-max-time=0.2", "--trt-max-slowdown=99%", *off, *hosts
    )
    results = json.loads((project.path / "out.json").read_text())["results"]
    assert {result["measurement"]["environment"]["host_name"] for result in results} == {"./a", "./b"}
    for result in results:
        (latency,) = result["verdicts"]
        assert latency["details"][0].startswith("judged engine against engine")
    assert [len(list(tmp_path.glob(f"{name}/pytest-trt/*/plan"))) for name in ("a", "b")] == [2, 2]
