"""The project that a command works on: its folder, its ini settings, its baselines and its last run.

A command reads pytest's files itself and does not import pytest.
"""

from __future__ import annotations

import argparse
import configparser
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pytest_trt.core.scalars import short_repr
from pytest_trt.errors import DeclarationError
from pytest_trt.judge.baselines import BaselineFolder, open_baselines
from pytest_trt.report.result_json import LAST_RUN, RunFile
from pytest_trt.spec.options import OPTIONS, Option
from pytest_trt.spec.parse_settings import parse_settings
from pytest_trt.spec.settings import Settings

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_OWN_FILES = ("pytest.toml", ".pytest.toml", "pytest.ini", ".pytest.ini")
"""The files that make their folder pytest's rootdir even if they are empty."""

_CONFIG_FILES = (
    ("pytest.toml", "pytest"), (".pytest.toml", "pytest"), ("pytest.ini", "pytest"), (".pytest.ini", "pytest"),
    ("pyproject.toml", "tool.pytest"), ("tox.ini", "pytest"), ("setup.cfg", "tool:pytest"),
)  # fmt: skip
"""The files that pytest reads, in its order, and the section of each that has its settings."""

Flags = Mapping[str, tuple[str, str | list[str] | None]]
"""A command's options: the name of a field of Settings, and the flag and the text that set it, None if it is not set.
The text of an option that may be repeated is a list."""


class Project:
    """A project: the folder of the nearest of pytest's files at or above `start`, and the settings in that file.

    Attributes:
        folder: The folder of the file, or `start` if there is none.
        has_file: Whether there is such a file.

    Raises:
        DeclarationError: `start` is not a folder, or a file cannot be parsed.
    """

    def __init__(self, start: Path) -> None:
        start = start.absolute()
        if not start.is_dir():
            raise DeclarationError(f"--rootdir is {str(start)!r}, which is not a folder: name the project's folder")
        self.folder, self.has_file, self._ini = start, False, {}
        for folder in (start, *start.parents):
            ini = _read_ini_settings(folder)
            if ini is not None:
                self.folder, self.has_file, self._ini = folder, True, ini
                break

    def settings(self, flags: Flags) -> Settings:
        """Return the settings of the ini file, overridden by `flags`. Raise as `read_settings`."""
        return read_settings(self._ini, flags, self.folder)

    def host_settings(self, flags: Flags) -> Settings:
        """Return `flags` as settings, with the hosts of the ini file: no other ini setting concerns the command."""
        return read_settings({"trt_hosts": self._ini.get("trt_hosts")}, flags, self.folder)

    def baselines(self, args: argparse.Namespace) -> BaselineFolder:
        """Return the baselines that the arguments name, or else the ini settings.

        Raises:
            DeclarationError: The name is invalid, or `off`.
            BaselineError: The baselines cannot be opened.
        """
        flags = {
            "baseline_dir": ("--baseline-dir", args.baseline_dir),
            "baseline": ("--baseline", args.baseline),
        }
        settings = self.settings(flags)
        if settings.baseline is None:
            raise DeclarationError("the baseline is 'off': name one with --baseline")
        return open_baselines(settings.baseline_dir, settings.baseline, revision=None, rootdir=self.folder)

    def results(self, path: Path | None) -> RunFile:
        """Return the results in a file, or those of the last run if `path` is None.

        Raises:
            DeclarationError: There is no last run.
        """
        if path is None and not self.last_run.exists():
            raise DeclarationError(
                f"there is no last run at {self.last_run}: run pytest, or name a run's file with --from"
            )
        return RunFile(path or self.last_run)

    @property
    def last_run(self) -> Path:
        """The file in which a run stores its results."""
        return self.folder / str(self._ini.get("cache_dir", ".pytest_cache")) / "d" / "trt" / LAST_RUN


def read_settings(ini: Mapping[str, Any], flags: Flags, folder: Path = Path()) -> Settings:
    """Return the settings as a test run would read them.

    Args:
        ini: The settings of the ini file, by name.
        flags: The options of the command, which override the ini file's. A list of the ini file, such as that of hosts,
            applies only to a command that has an option for it.
        folder: The folder of the project.

    Raises:
        DeclarationError: A value is invalid. The message names its flag or ini setting.
    """
    values: dict[Option, tuple[Any, str]] = {}
    for option in OPTIONS:
        flag, text = flags.get(option.field, ("", None))
        if option.keyed:
            texts = option.overriding(_lines(ini.get(option.name)), text if isinstance(text, list) else [])
            if texts:
                values[option] = texts, flag or f"ini setting {option.name}"
        elif text is not None:
            values[option] = text, flag
        elif option.repeatable and option.field in flags:
            if texts := _lines(ini.get(option.name)):
                values[option] = texts, f"ini setting {option.name}"
        elif option.name in ini and option.ini_type == "string":
            values[option] = ini[option.name], f"ini setting {option.name}"
    return parse_settings(values, str(folder))


def _lines(setting: Any) -> list[str]:
    """Return the values of an ini setting that is a list: one on each line, or a list in TOML."""
    lines = setting if isinstance(setting, list) else str(setting or "").splitlines()
    return [line.strip() for line in map(str, lines) if line.strip()]


def _read_ini_settings(folder: Path) -> dict[str, Any] | None:
    """Return the settings in the first of pytest's files in `folder`, or None if it has no such file."""
    for name, section in _CONFIG_FILES:
        file = folder / name
        if not file.is_file():
            continue
        found = _read_toml(file, section) if name.endswith(".toml") else _read_ini(file, section)
        if found is not None or name in _OWN_FILES:
            return found or {}
    return None


def _read_ini(file: Path, section: str) -> dict[str, Any] | None:
    parser = configparser.ConfigParser(interpolation=None, strict=False)
    try:
        parser.read(file, encoding="utf-8")
    except (configparser.Error, UnicodeDecodeError) as error:
        raise DeclarationError(f"{file} cannot be parsed: {error}") from error
    return dict(parser[section]) if parser.has_section(section) else None


def _read_toml(file: Path, section: str) -> dict[str, Any] | None:
    try:
        found = tomllib.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:  # ValueError: also of a number of thousands of digits
        raise DeclarationError(f"{file} cannot be parsed: {error or type(error).__name__}") from error
    for part in section.split("."):
        found = _table(file, part, found.get(part, {}))
    return {**found, **_table(file, "ini_options", found.pop("ini_options", {}))} if found else None


def _table(file: Path, name: str, value: Any) -> dict[str, Any]:
    """Return `value` if it is a table of TOML. Raise DeclarationError otherwise."""
    if not isinstance(value, dict):
        raise DeclarationError(f"{file}: {name} is {short_repr(value)}: it must be a table")
    return value
