"""The command: exit statuses, what it prints, and what it does to baselines."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from samples.records import H200, TEST, measurement

from pytest_trt.cli.main import main
from pytest_trt.cli.project import LAST_RUN, Project
from pytest_trt.core.records import Measurement, Result, Verdict
from pytest_trt.errors import DeclarationError
from pytest_trt.judge.baselines import BaselineFolder, device_slug, open_baselines
from pytest_trt.report import result_json

OTHER = "tests/test_models.py::test_encoder"
DEVICE = device_slug(H200)
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs the command in a project of its own: its exit status, what it printed, what it complained of."""
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    def command(*arguments: object) -> tuple[int, str, str]:
        status = main([str(argument) for argument in arguments])
        return (status, *capsys.readouterr())

    return command


def folder(name: str = "main") -> BaselineFolder:
    return open_baselines(".trt-baselines", name, revision=None, rootdir=Path())


def write_run(path: str, *measured: Measurement, verdicts: Sequence[Verdict] = ()) -> Path:
    results = [Result(one.node_id, tuple(verdicts), one) for one in measured]
    file = Path(path)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(result_json.render(results))
    return file


def test_compare_exit_statuses(run: Run) -> None:
    base = write_run("a.json", measurement())
    assert run("compare", base, write_run("same.json", measurement(day=2)))[0] == 0
    assert run("compare", base, write_run("slow.json", measurement(0.306, day=2)))[0] == 1
    assert run("compare", base, write_run("near.json", measurement(0.274)), "--max-slowdown", "1%")[0] == 125
    invalid = write_run("busy.json", measurement(), verdicts=[Verdict("invalid", "run", "", "the GPU was busy")])
    assert run("compare", base, invalid)[0] == 125
    lost = write_run("lost.json", measurement(), verdicts=[Verdict("error", "run", "", "the probe was lost")])
    assert run("compare", base, lost)[0] == 1


def test_compare_never_passes_what_was_not_compared(run: Run) -> None:
    both = write_run("both.json", measurement(), measurement(node_id=OTHER))
    one = write_run("one.json", measurement(day=2))
    status, out, _ = run("compare", both, one)
    assert status == 125
    assert "inconclusive" in out
    assert run("compare", one, both)[0] == 0
    assert run("compare", one, both, "--strict")[0] == 1
    assert run("compare", one, both, "--fail-on", "new")[0] == 1
    assert run("compare", both, one, "--test", TEST)[0] == 0
    status, _, error = run("compare", one, write_run("other.json", measurement(node_id=OTHER)))
    assert status == 2
    assert "no test on one device in common" in error
    status, _, error = run("compare", one, write_run("none.json"))
    assert status == 2
    assert "no measured test" in error


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("nothing.json", "b.json"), "neither a file nor a folder"),
        (("a.json", "bad.json"), "bad.json is not JSON"),
        (("bad.json", "a.json"), "bad.json is not JSON"),
        (("a.json", "a.json", "--max-slowdown", "fast"), "--max-slowdown is 'fast'"),
        (("a.json", "a.json", "--max-slowdown", "5"), "did you mean '5%'"),
        (("a.json", "a.json", "--fail-on", "mising"), "did you mean 'missing'"),
        (("a.json", "a.json", "--test", "*nothing*"), "that matches"),
    ],
)
def test_compare_usage_errors(run: Run, arguments: tuple[str, ...], said: str) -> None:
    write_run("a.json", measurement())
    Path("bad.json").write_text("{")
    status, _, error = run("compare", *arguments)
    assert status == 2
    assert said in error


@pytest.mark.parametrize("edited", [{"value": -1.0}, {"high": -1.0}, {"low": 9.0}])
def test_compare_refuses_figures_that_cannot_be_on_either_side(run: Run, edited: dict[str, float]) -> None:
    base = write_run("base.json", measurement())
    whole = json.loads(Path(base).read_text())
    whole["results"][0]["measurement"]["figures"]["ms"].update(edited)
    Path("edited.json").write_text(json.dumps(whole))
    for sides in ((base, "edited.json"), ("edited.json", base)):
        status, _, error = run("compare", *sides)
        assert status == 2
        assert "edited.json: " in error
        assert "ms" in error


def test_compare_formats(run: Run) -> None:
    base, slow = write_run("a.json", measurement()), write_run("b.json", measurement(0.306, day=2))
    status, out, _ = run("compare", base, slow)
    assert "regressed" in out
    assert "+12.5 %" in out
    status, out, _ = run("compare", base, slow, "--format", "md")
    assert status == 1
    assert "| " in out
    status, out, _ = run("compare", base, slow, "--format", "json")
    (result,) = result_json.read(out)
    assert (status, result.status) == (1, "regressed")
    assert result.measurement is not None
    assert result.measurement.samples == ()


def test_compare_a_run_with_baselines_and_baselines_with_each_other(run: Run) -> None:
    folder().save(measurement(), "missing")
    folder("slow").save(measurement(0.306), "missing")
    assert run("compare", ".trt-baselines", write_run("b.json", measurement(day=2)))[0] == 0
    assert run("compare", ".trt-baselines", ".trt-baselines#slow")[0] == 1
    assert run("compare", "memory://nothing", ".trt-baselines")[0] == 2


def test_compare_refuses_half_readable_baselines(run: Run) -> None:
    folder().save(measurement(), "missing")
    folder().save(measurement(node_id=OTHER), "new")
    next(Path().rglob("test_encoder*.json")).write_text("{")
    status, _, error = run("compare", ".trt-baselines", write_run("b.json", measurement()))
    assert status == 2
    assert "test_encoder" in error


def test_list(run: Run) -> None:
    assert "no baseline is stored" in run("baseline", "list")[1]
    folder().save(measurement(), "missing")
    folder().save(measurement(node_id=OTHER), "new")
    status, out, _ = run("baseline", "list")
    assert status == 0
    assert TEST in out
    assert OTHER in out
    assert "a1b2c3d4e5f6" in out
    assert OTHER not in run("baseline", "list", TEST)[1]


def test_list_goes_on_after_a_spoilt_one(run: Run) -> None:
    folder().save(measurement(), "missing")
    folder().save(measurement(node_id=OTHER), "new")
    next(Path().rglob("test_encoder*.json")).write_text("{")
    status, out, error = run("baseline", "list")
    assert status == 1
    assert TEST in out
    assert "not JSON" in error


def test_show(run: Run) -> None:
    folder().save(measurement(), "missing")
    folder().save(measurement(0.273, day=2), "ok")
    status, out, _ = run("baseline", "show", TEST)
    assert status == 0
    for word in ("NVIDIA H200", "TensorRT 8.6.0", "0.272 ms", "2026-07-02", "precision=fp16", "device memory"):
        assert word in out
    status, _, error = run("baseline", "show", TEST.replace("18", "50"))
    assert status == 2
    assert f"did you mean '{TEST}'" in error


def test_accept_takes_the_last_run(run: Run) -> None:
    folder().save(measurement(), "missing")
    status, _, error = run("baseline", "accept", TEST, "--reason", "deeper network")
    assert status == 2
    assert "there is no last run" in error
    write_run(f".pytest_cache/d/{LAST_RUN}", measurement(0.3, day=2), measurement(node_id=OTHER))
    status, out, _ = run("baseline", "accept", TEST, "--reason", "deeper network")
    assert status == 0
    assert "baseline moved (deeper network)" in out
    baseline = folder().load(TEST, DEVICE)
    assert baseline is not None
    assert baseline.figures["ms"].value == 0.3
    assert baseline.history[-1].reason == "deeper network"
    assert folder().load(OTHER, DEVICE) is None
    assert "deeper network" in run("baseline", "show", TEST)[1]


def test_accept_takes_a_ci_job_s_run(run: Run) -> None:
    file = write_run("ci/run.json", measurement(0.3), measurement(node_id=OTHER))
    status, out, _ = run("baseline", "accept", "*", "--reason", "new GPU", "--from", file)
    assert status == 0
    assert out.count("baseline created") == 2


def test_accept_refuses_what_means_nothing(run: Run) -> None:
    file = write_run("run.json", measurement(), verdicts=[Verdict("invalid", "run", "", "the GPU was busy")])
    status, _, error = run("baseline", "accept", TEST, "--reason", "x", "--from", file)
    assert status == 1
    assert "it is invalid" in error
    assert folder().load(TEST, DEVICE) is None
    status, _, error = run("baseline", "accept", "test_nothing", "--reason", "x", "--from", file)
    assert status == 2
    assert f"the run has no test 'test_nothing': it has {TEST}; --from names another run" in error


def test_accept_needs_a_reason(run: Run) -> None:
    with pytest.raises(SystemExit) as ended:
        run("baseline", "accept", TEST)
    assert ended.value.code == 2
    status, _, error = run("baseline", "accept", TEST, "--reason", " ")
    assert status == 2
    assert "--reason is empty" in error


def test_rename(run: Run) -> None:
    folder().save(measurement(), "missing")
    status, out, _ = run("baseline", "rename", TEST, OTHER)
    assert status == 0
    assert OTHER in out
    assert folder().load(OTHER, DEVICE) is not None
    assert run("baseline", "rename", TEST, OTHER)[0] == 2


def test_prune_asks_pytest_what_there_is(run: Run) -> None:
    engine = "import pytest\npytestmark = pytest.mark.trt_engine('m.onnx')\n"
    Path("test_there.py").write_text(engine + "def test_one(trt_runner): pass\ndef test_two(): pass\n")
    for name in ("one", "two", "gone"):  # the second is there, and measures nothing any more
        node_id = f"test_there.py::test_{name}"
        folder().save(measurement(node_id=node_id), "new")
    status, out, _ = run("baseline", "prune")
    assert status == 0
    assert "would be removed: main/nvidia-h200/test_there.py/test_gone" in out
    assert "2 in all" in out
    assert len(list(folder().list())) == 3
    status, out, _ = run("baseline", "prune", "--yes")
    assert folder().load("test_there.py::test_one", DEVICE) is not None
    assert folder().load("test_there.py::test_gone", DEVICE) is None
    assert "nothing to remove" in run("baseline", "prune", "--yes")[1]


def test_prune_removes_nothing_where_collection_fails(run: Run) -> None:
    Path("test_there.py").write_text("import nothing_like_this\n")
    folder().save(measurement(), "missing")
    status, _, error = run("baseline", "prune", "--yes")
    assert status == 2
    assert "nothing_like_this" in error
    assert folder().load(TEST, DEVICE) is not None


def test_history_from_the_baseline_and_from_git(run: Run) -> None:
    levels = [0.272] * 8 + [0.306] * 8
    git("init", "-q", "-b", "main")
    for day, ms in enumerate(levels, 1):
        folder().save(measurement(ms + day / 1e5, day=day), "ok")
        git("add", "-A")
        git("commit", "-q", "-m", "run")
    status, out, _ = run("history", TEST)
    assert status == 0
    assert "16 runs" in out
    assert "1: a1b2c3d4e5, 2026-07-09" in out
    assert "+12." in out
    assert "10 runs" in run("history", TEST, "--no-git")[1]
    assert run("history", "test_nothing")[0] == 2


def git(*words: str) -> None:
    subprocess.run(["git", "-c", "user.name=A", "-c", "user.email=a@b.c", *words], check=True, capture_output=True)


def test_baseline_options_and_ini(run: Run) -> None:
    Path("pytest.ini").write_text("[pytest]\ntrt_baseline_dir = stored\ntrt_baseline = release\n")
    open_baselines("stored", "release", revision=None, rootdir=Path()).save(measurement(), "missing")
    folder().save(measurement(node_id=OTHER), "missing")
    assert TEST in run("baseline", "list")[1]
    assert OTHER in run("baseline", "list", "--baseline-dir", ".trt-baselines", "--baseline", "main")[1]
    status, _, error = run("baseline", "list", "--baseline", "../x")
    assert status == 2
    assert "--baseline is '../x'" in error


INI = {
    "pytest.ini": "[pytest]\ntrt_baseline = other\n",
    "tox.ini": "[pytest]\ntrt_baseline = other\n",
    "setup.cfg": "[tool:pytest]\ntrt_baseline = other\n",
    "pyproject.toml": "[tool.pytest.ini_options]\ntrt_baseline = 'other'\n",
    "pytest.toml": "[pytest]\ntrt_baseline = 'other'\n",
}


@pytest.mark.parametrize("name", INI)
def test_every_ini_file_of_pytest_s(tmp_path: Path, name: str) -> None:
    below = tmp_path / "a" / "b"
    below.mkdir(parents=True)
    (tmp_path / name).write_text(INI[name])
    project = Project(below)
    assert project.folder == tmp_path
    assert project.settings({}).baseline == "other"
    assert project.settings({"baseline": ("--baseline", "main")}).baseline == "main"


def test_files_that_are_not_pytest_s_are_passed_over(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text("[project]\nname = 'x'\n")
    (tmp_path / "setup.cfg").write_text("[metadata]\nname = x\n")
    assert Project(tmp_path).settings({}).baseline == "main"


@pytest.mark.parametrize(("name", "text"), [("pyproject.toml", "[tool"), ("setup.cfg", "name = x")])
def test_a_broken_ini_file_is_named(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(DeclarationError, match=name):
        Project(tmp_path)


def test_no_such_folder(tmp_path: Path) -> None:
    with pytest.raises(DeclarationError, match="is no folder"):
        Project(tmp_path / "nothing")


def test_cache(run: Run, tmp_path: Path) -> None:
    cache = tmp_path / "engines"
    status, out, _ = run("cache", "list", "--cache-dir", cache)
    assert status == 0
    assert f"0 in {cache}, 0.0 MB" in out
    assert run("cache", "prune", "--older-than", "30d", "--size", "1GB", "--cache-dir", cache)[0] == 0
    assert "0 removed" in run("cache", "clear", "--cache-dir", cache)[1]
    status, _, error = run("cache", "prune", "--older-than", "soon", "--cache-dir", cache)
    assert status == 2
    assert "--older-than is 'soon'" in error
    assert run("cache", "prune", "--size", "much", "--cache-dir", cache)[0] == 2
    cache.chmod(0o777)
    status, _, error = run("cache", "list", "--cache-dir", cache)
    assert status == 2
    assert "chmod 700" in error


def test_the_cache_s_ini_setting(run: Run, tmp_path: Path) -> None:
    Path("pytest.ini").write_text("[pytest]\ntrt_cache_dir = engines\n")
    assert f"0 in {tmp_path}/engines" in run("cache", "list")[1]


def test_help_and_version(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (["--help"], ["compare", "--help"], ["baseline", "accept", "--help"], ["--version"]):
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        assert ended.value.code == 0
    assert "pytest-trt 0." in capsys.readouterr().out


def test_a_reader_that_has_seen_enough(tmp_path: Path) -> None:
    """`head` closes the pipe: no traceback, and no complaint at exit either."""
    stored = open_baselines(str(tmp_path), "main", revision=None, rootdir=Path())
    stored.save_all([(measurement(node_id=f"tests/test_{'x' * 60}.py::test_{number}"), "new") for number in range(900)])
    command = [sys.executable, "-c", "import sys; from pytest_trt.cli.main import main; sys.exit(main())"]
    with subprocess.Popen(
        [*command, "baseline", "list", "--baseline-dir", str(tmp_path)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline().startswith("test ")
        process.stdout.close()
        assert process.stderr.read() == ""


def test_json_of_a_comparison_is_one_document(run: Run) -> None:
    base = write_run("a.json", measurement())
    assert json.loads(run("compare", base, base, "--format", "json")[1])["results"]
