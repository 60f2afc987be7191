"""The project a command works on: its folder, its ini settings, its baselines. Knows pytest's files, not pytest."""

from __future__ import annotations

import argparse
import configparser
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_trt.errors import DeclarationError

if TYPE_CHECKING:
    from pytest_trt.core.records import Result
    from pytest_trt.judge.baselines import BaselineFolder
    from pytest_trt.spec.options import Option
    from pytest_trt.spec.settings import Settings

LAST_RUN = "trt/last-run.json"
"""Where, below `d` of pytest's cache folder, a run leaves its results: what Config.cache.mkdir("trt") gives."""

_FILES = (
    ("pytest.toml", "pytest"), (".pytest.toml", "pytest"), ("pytest.ini", "pytest"), (".pytest.ini", "pytest"),
    ("pyproject.toml", "tool.pytest"), ("tox.ini", "pytest"), ("setup.cfg", "tool:pytest"),
)  # fmt: skip
"""The files that pytest looks into, in its order, and where in them its settings stand."""


class Project:
    """The folder of the nearest of pytest's ini files at or above `start`, and what that file says."""

    def __init__(self, start: Path) -> None:
        start = start.absolute()
        if not start.is_dir():
            raise DeclarationError(f"--rootdir {start} is no folder")
        self.folder, self._settings = start, {}
        for folder in (start, *start.parents):
            settings = _settings(folder)
            if settings is not None:
                self.folder, self._settings = folder, settings
                break

    def settings(self, flags: Mapping[str, tuple[str, str | None]]) -> Settings:
        """What the ini file says, below the `flags`: by the name of the Settings field, a flag and its text."""
        return read_settings(self._settings, flags, self.folder)

    def baselines(self, args: argparse.Namespace) -> BaselineFolder:
        """The baselines that the arguments, else the ini settings, name."""
        from pytest_trt.judge.baselines import open_baselines

        settings = self.settings({
            "baseline_dir": ("--baseline-dir", args.baseline_dir), "baseline": ("--baseline", args.baseline),
        })  # fmt: skip
        if settings.baseline is None:
            raise DeclarationError("baselines are off: name one with --baseline")
        return open_baselines(settings.baseline_dir, settings.baseline, revision=None, rootdir=self.folder)

    def results(self, path: Path | None) -> tuple[Result, ...]:
        """Those in the file, else the last run's. Raises DeclarationError where there are none."""
        cache = self.folder / str(self._settings.get("cache_dir", ".pytest_cache")) / "d" / LAST_RUN
        if path is None and not cache.exists():
            raise DeclarationError(f"there is no last run at {cache}: run pytest, or name a run's file with --from")
        return read_results(path or cache)


def read_results(path: Path) -> tuple[Result, ...]:
    """The results in a file that --trt-report=json: wrote. Raises DeclarationError where it cannot be read, RecordError
    where it is something else."""
    from pytest_trt.report import result_json

    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        message = f"{path} cannot be read ({error}): name a file that --trt-report=json:PATH wrote"
        raise DeclarationError(message) from error
    return result_json.read(text, str(path))


def read_settings(
    ini: Mapping[str, Any], flags: Mapping[str, tuple[str, str | None]], folder: Path = Path()
) -> Settings:
    """The settings as a test run would read them. Raises DeclarationError, naming the flag or ini setting."""
    from pytest_trt.spec.options import OPTIONS
    from pytest_trt.spec.parse_settings import parse

    values: dict[Option, tuple[Any, str]] = {}
    for option in OPTIONS:
        flag, value = flags.get(option.field, ("", None))
        if value is not None:
            values[option] = value, flag
        elif option.name in ini and option.ini_type == "string":
            values[option] = ini[option.name], f"ini setting {option.name}"
    return parse(values, str(folder))


def _settings(folder: Path) -> dict[str, Any] | None:
    """What the first of pytest's files in `folder` says; None where none is pytest's."""
    for name, section in _FILES:
        file = folder / name
        if not file.is_file():
            continue
        found = _toml(file, section) if name.endswith(".toml") else _ini(file, section)
        if found is not None or name in ("pytest.ini", ".pytest.ini", "pytest.toml", ".pytest.toml"):
            return found or {}
    return None


def _ini(file: Path, section: str) -> dict[str, Any] | None:
    parser = configparser.ConfigParser(interpolation=None, strict=False)
    try:
        parser.read(file, encoding="utf-8")
    except (configparser.Error, UnicodeDecodeError) as error:
        raise DeclarationError(f"{file} cannot be read: {error}") from error
    return dict(parser[section]) if parser.has_section(section) else None


def _toml(file: Path, section: str) -> dict[str, Any] | None:
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    try:
        found = tomllib.loads(file.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise DeclarationError(f"{file} cannot be read: {error}") from error
    for part in section.split("."):
        found = found.get(part, {})
    return {**found, **found.pop("ini_options", {})} if found else None
