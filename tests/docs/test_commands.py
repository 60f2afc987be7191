"""The commands of the documentation: each is understood by its parser, and run if it is quick and needs no GPU."""

from __future__ import annotations

import argparse
import contextlib
import importlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import pytest
import tomllib
import yaml
from samples.pages import EXAMPLE, PAGES, ROOT, blocks, commands, page_id, prose

from pytest_trt.cli import calibrate, main
from pytest_trt.plugin.options import read_options
from pytest_trt.spec import parse_settings

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ACTION = ROOT / "action.yml"
WORKFLOW = EXAMPLE / ".github/workflows/performance.yml"
QUICKER = {
    "backends": ("--max-time=0.05", "--backends=onnxruntime", "--precisions=fp32"),
    "calibrate": ("--pairs=2",),
    "init": ("--max-time=0.05",),
    "selftest": ("--max-time=0.05", "--comparisons=2", "--slowdown=x3"),
}
"""Options that are added to a command when it is run."""

EXPECTED = {"compare": {0, 125}, "selftest": {0, 1, 125}, "inspect": {0, 1}}
"""Exit statuses of a command, if others than 0 are right: comparisons on this machine may be inconclusive or wrong, and
a page shows a backend that refuses a model."""


class ArgumentMissing(ValueError):
    """An argument that the command requires is missing."""


class Parser(argparse.ArgumentParser):
    """A parser that raises instead of ending the process."""

    def error(self, message: str) -> NoReturn:
        raise ArgumentMissing(message) if "arguments are required" in message else ValueError(message)


@pytest.fixture
def parse_command() -> argparse.ArgumentParser:
    """Return the parser of `pytest-trt`."""
    parser = Parser(prog="pytest-trt")
    subparsers = parser.add_subparsers(required=True)
    for name in main.COMMANDS:
        importlib.import_module(f"pytest_trt.cli.{name}").add_command(subparsers)
    return parser


def scripts(page: Path) -> Iterator[tuple[str, str]]:
    """Yield each script of a page, with what it requires. Lists named `script` or `run` in YAML are scripts too."""
    yield from ((block.code, block.requires) for block in blocks(page, "sh"))
    for block in blocks(page, "yaml"):
        yield from ((script, "") for script in yaml_scripts(yaml.safe_load(block.code)))


def yaml_scripts(value: object) -> Iterator[str]:
    if isinstance(value, dict):
        for key, item in value.items():
            if key == "run" and isinstance(item, str):
                yield item
            elif key == "script" and isinstance(item, list):
                yield "\n".join(item)
            else:
                yield from yaml_scripts(item)
    elif isinstance(value, list):
        for item in value:
            yield from yaml_scripts(item)


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_the_commands_of_a_page_are_understood(
    page: Path, parse_command: argparse.ArgumentParser, pytester: pytest.Pytester
) -> None:
    for script, _ in scripts(page):
        for words in commands(script):
            check(words, parse_command, pytester)


def test_the_commands_of_the_workflow_are_understood(
    parse_command: argparse.ArgumentParser, pytester: pytest.Pytester
) -> None:
    for script in yaml_scripts(yaml.safe_load(WORKFLOW.read_text())):
        for words in commands(script):
            check(words, parse_command, pytester)


def test_the_workflow_separates_caches_runners_and_tokens_by_trust() -> None:
    workflow = yaml.safe_load(WORKFLOW.read_text())
    jobs = workflow["jobs"]
    assert workflow["permissions"] == {}
    assert {name: job["permissions"] for name, job in jobs.items()} == {
        "gate": {"contents": "read"}, "comment": {"actions": "read", "pull-requests": "write"},
        "measure": {"contents": "read"}, "commit": {"contents": "write"},
    }  # fmt: skip
    (step,) = jobs["comment"]["steps"]
    assert (step["uses"].partition("@")[0], step["with"]["tests"]) == ("pytest-trt/pytest-trt", "false")
    assert step["with"].keys() <= yaml.safe_load(ACTION.read_text())["inputs"].keys()
    assert jobs["comment"]["runs-on"] == "ubuntu-latest"
    assert jobs["commit"]["runs-on"] == "ubuntu-latest"
    assert not {"pytest", "pip", "python3"} & {
        word for script in yaml_scripts(jobs["commit"]) for word in script.split()
    }
    assert jobs["gate"]["runs-on"] != jobs["measure"]["runs-on"]
    caches = [
        re.findall(r'--trt-cache-dir="([^"]+)"', " ".join(yaml_scripts(jobs[name]))) for name in ("gate", "measure")
    ]
    assert caches == [["$RUNNER_TEMP/engines"], ["$CACHE_OF_MAIN"]]
    checkouts = [s for job in jobs.values() for s in job["steps"] if s.get("uses", "").startswith("actions/checkout@")]
    assert [step["with"]["persist-credentials"] for step in checkouts] == [False] * (len(jobs) - 1)


def test_the_action_passes_inputs_as_data_and_saves_no_engine_of_a_pull_request() -> None:
    steps = yaml.safe_load(ACTION.read_text())["runs"]["steps"]
    assert not any("${{" in step.get("run", "") for step in steps)
    with_token = {step["name"] for step in steps if "inputs.token" in str(step)}
    assert with_token == {"Download the results", "Comment on the pull request"}
    (save,) = (step for step in steps if step.get("uses", "").startswith("actions/cache/save@"))
    assert "!startsWith(github.event_name, 'pull_request')" in save["if"]
    assert not any(step.get("uses", "").startswith("actions/cache@") for step in steps)


@pytest.mark.parametrize(
    ("words", "passed"), [("", []), ("-k 'a or b' --trt-strict", ["-k", "a or b", "--trt-strict"])]
)
def test_the_action_runs_pytest_with_its_arguments(tmp_path: Path, words: str, passed: list[str]) -> None:
    (step,) = (s for s in yaml.safe_load(ACTION.read_text())["runs"]["steps"] if s["name"] == "Run the tests")
    folder = tmp_path / "pytest-trt" / "bin"
    folder.mkdir(parents=True)
    (folder / "python").symlink_to(sys.executable)
    (folder / "pytest").write_text('#!/bin/sh\nprintf "%s\\n" "$@"\nexit 3\n')
    (folder / "pytest").chmod(0o755)
    variables = {"RUNNER_TEMP": str(tmp_path), "WORDS": words, "PATH": os.environ["PATH"]}
    command = ["bash", "--noprofile", "--norc", "-e", "-o", "pipefail", "-c", step["run"]]
    done = subprocess.run(command, env=variables, capture_output=True, text=True, timeout=60)
    given = done.stdout.splitlines()
    assert (done.returncode, given[4:]) == (3, passed), done.stderr
    assert given[1] == f"--trt-report=json:{tmp_path}/pytest-trt-results/run.json"


def check(words: list[str], parser: argparse.ArgumentParser, pytester: pytest.Pytester) -> None:
    """Raise if a command of the documentation is wrong."""
    program, *arguments = words
    match program.removeprefix(".venv/bin/"):
        case "pytest":
            check_pytest(arguments, pytester)
        case "pytest-trt":
            parser.parse_args(arguments)
        case "pip":
            check_pip(arguments)
        case "make":
            assert re.search(rf"^{arguments[0]}:", (ROOT / "Makefile").read_text(), re.MULTILINE)
        case "docker" | "nsys":
            inner = next(n for n, word in enumerate(arguments) if word in ("sh", "pytest"))
            script = arguments[-1] if arguments[inner] == "sh" else " ".join(arguments[inner:])
            for command in commands(script):
                check(command, parser, pytester)
        case "python" | "python3":
            assert arguments[0] in ("make_models.py", "-m")
        case "git":
            assert {"add", "clone", "commit", "config", "diff", "fetch", "pull", "push"} & set(arguments)
        case other:
            assert other in ("cd", "chmod", "cp", "exit", "gh", "install", "mkdir", "rm")


def check_pytest(arguments: list[str], pytester: pytest.Pytester) -> None:
    config = pytester.parseconfig(*(word for word in arguments if "::" not in word and not word.startswith("tests/")))
    parse_settings.parse_settings(read_options(config), ".")


def check_pip(arguments: list[str]) -> None:
    """Every extra of the package exists, and the address is the repository's."""
    assert arguments[0] == "install"
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for extras, address in re.findall(r"pytest-trt\[([^]]*)\]( @ \S+)?", " ".join(arguments)):
        assert set(extras.split(",")) <= project["optional-dependencies"].keys()
        assert address in ("", f" @ git+{project['urls']['Source']}")


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_the_commands_in_the_sentences_of_a_page_are_understood(
    page: Path, parse_command: argparse.ArgumentParser, pytester: pytest.Pytester
) -> None:
    """A sentence may leave out the arguments that a command requires."""
    for text in re.findall(r"`((?:pytest|pytest-trt) [^`]+)`", prose(page)):
        (words,) = commands(text)
        with contextlib.suppress(ArgumentMissing):
            check(words, parse_command, pytester)


@pytest.mark.usefixtures("forked_children")
def test_the_commands_that_need_no_gpu_run(
    documented_project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    project = tmp_path / "project"
    shutil.copytree(documented_project, project)
    prepare(project, monkeypatch)
    ran: list[str] = []
    for page in PAGES:
        for script, requires in scripts(page):
            for words in commands(script) if not requires else ():
                if words[0] != "pytest-trt" or " ".join(words) in ran:
                    continue
                ran.append(" ".join(words))
                status = main.main([*words[1:], *QUICKER.get(words[1], ())])
                out, err = capfd.readouterr()
                assert status in EXPECTED.get(words[1], {0}), f"{page_id(page)}: {' '.join(words)}\n{out}{err}"
    assert {words.split()[1] for words in ran} == set(main.COMMANDS) - {"ab", "merge"}


def prepare(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Provide the files that the commands name, and take little time."""
    monkeypatch.chdir(project)
    monkeypatch.setenv("TMPDIR", str(project / "tmp"))
    monkeypatch.setattr(calibrate, "MIN_PAIRS", 2)
    for name in ("main.json", "pr.json"):
        shutil.copy("run.json", name)
    shutil.copytree(".trt-baselines/main", ".trt-baselines/release")


def test_the_scripts_that_need_no_gpu_run(documented_project: Path, tmp_path: Path) -> None:
    shutil.copytree(documented_project / "models", tmp_path / "models")
    shutil.copy(EXAMPLE / "make_models.py", tmp_path)
    ran = 0
    for page in PAGES:
        for script, _ in scripts(page):
            for words in commands(script):
                if words[0] == "python" and not (words[1] == "-m" and words[2] == "venv"):
                    run(tmp_path, sys.executable, *words[1:])
                    ran += 1
    assert ran > 3


def run(folder: Path, *command: str) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
