"""Register the plugin's options and ini settings, and read them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pytest_trt.spec.options import OPTIONS, Option

if TYPE_CHECKING:
    import pytest


FIXTURES = frozenset(("trt_runner", "trt_engine", "trt_build", "trt_device", "trt_spec"))
"""A test that uses one of these is a test of this plugin."""


def add_options(parser: pytest.Parser) -> None:
    """Register every option and its ini setting. All defaults are None, so that an option that was given is known."""
    group = parser.getgroup("trt", "TensorRT performance regression (pytest-trt)")
    for option in OPTIONS:
        if option.metavar:
            action = "append" if option.repeatable else "store"
            group.addoption(option.flag, action=action, default=None, metavar=option.metavar, help=option.help)
        else:
            group.addoption(option.flag, action="store_true", default=None, help=option.help)
        parser.addini(option.name, f"default of {option.flag}", type=option.ini_type, default=None)  # type: ignore[arg-type]


def read_options(config: pytest.Config) -> dict[Option, tuple[object, str]]:
    """Return the value of every option that was given, and where: on the command line, else in the ini file.

    Raises:
        ValueError: An ini setting has the wrong type.
    """
    found: dict[Option, tuple[object, str]] = {}
    for option in OPTIONS:
        value = config.getoption(option.destination)
        if value is not None:
            if option.keyed:
                value = option.overriding(_ini(config, option), value)
            found[option] = value, option.flag
        elif (value := _ini(config, option)) not in (None, "", []):
            found[option] = value, f"ini setting {option.name}"
    return found


def _ini(config: pytest.Config, option: Option) -> Any:
    try:
        return config.getini(option.name)
    except Exception as error:  # ValueError, TypeError or UsageError, by version and file; not all name the setting
        remedy = {
            "bool": "write true or false",
            "string": f'write a string in quotes, {option.name} = "..."',
            "linelist": f'write a list of strings, {option.name} = ["..."]',
        }
        raise ValueError(f"ini setting {option.name}: {error}: {remedy[option.ini_type]}") from error


def unknown_setting(warning: str) -> str:
    """Return what is wrong if pytest's warning is about an unknown ini setting of this plugin; empty otherwise."""
    before, found, name = warning.strip().partition("Unknown config option: ")
    if before or not found or not name.startswith("trt_"):
        return ""
    import difflib

    near = difflib.get_close_matches(name, [option.name for option in OPTIONS], 1)
    return f"there is no ini setting {name}: " + (f"did you mean {near[0]}?" if near else "pytest --help lists them")


def uses_plugin(item: pytest.Item) -> bool:
    """Return whether the test uses one of our fixtures. A marker alone may be for the other tests of a module."""
    return not FIXTURES.isdisjoint(getattr(item, "fixturenames", ()))


def plugin_markers(item: pytest.Item) -> tuple[pytest.Mark, ...]:
    """Return the test's markers whose names start with `trt_`, the closest first."""
    return tuple(mark for mark in item.iter_markers() if mark.name.startswith("trt_"))


def has_plugin_marker(item: pytest.Item) -> bool:
    """Return whether the test has a marker whose name starts with `trt_`."""
    return bool(plugin_markers(item))
