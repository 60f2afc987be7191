"""Test how commands find a project's root folder and settings."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_trt.cli.project import Project
from pytest_trt.errors import DeclarationError

INI = {
    "pytest.ini": "[pytest]\ntrt_baseline = other\n",
    "tox.ini": "[pytest]\ntrt_baseline = other\n",
    "setup.cfg": "[tool:pytest]\ntrt_baseline = other\n",
    "pyproject.toml": "[tool.pytest.ini_options]\ntrt_baseline = 'other'\n",
    "pytest.toml": "[pytest]\ntrt_baseline = 'other'\n",
}


@pytest.mark.parametrize("name", INI)
def test_every_kind_of_pytest_ini_file_is_read(tmp_path: Path, name: str) -> None:
    below = tmp_path / "a" / "b"
    below.mkdir(parents=True)
    (tmp_path / name).write_text(INI[name])
    project = Project(below)
    assert project.folder == tmp_path
    assert project.settings({}).baseline == "other"
    assert project.settings({"baseline": ("--baseline", "main")}).baseline == "main"


def test_ini_files_without_a_pytest_section_are_skipped(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text("[project]\nname = 'x'\n")
    (tmp_path / "setup.cfg").write_text("[metadata]\nname = x\n")
    assert Project(tmp_path).settings({}).baseline == "main"


@pytest.mark.parametrize(("name", "text"), [("pyproject.toml", "[tool"), ("setup.cfg", "name = x")])
def test_broken_ini_file_is_named(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(DeclarationError, match=name):
        Project(tmp_path)


def test_missing_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DeclarationError, match="is not a folder"):
        Project(tmp_path / "nothing")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("tool = 1", "pyproject.toml: tool is 1: it must be a table"),
        ("tool.pytest = []", r"pyproject.toml: pytest is \[\]: it must be a table"),
        ("[tool.pytest]\nini_options = 'x'", "pyproject.toml: ini_options is 'x': it must be a table"),
        (f"a = {'9' * 5_000}", "pyproject.toml cannot be parsed"),
        ("a = " + "[" * 100_000, "pyproject.toml cannot be parsed"),
    ],
)
def test_toml_file_of_another_form_is_an_error(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "pyproject.toml").write_text(text)
    with pytest.raises(DeclarationError, match=message):
        Project(tmp_path)
