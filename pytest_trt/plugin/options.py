"""Register the plugin's options and ini settings, and read them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_trt.spec.options import OPTIONS, Option

if TYPE_CHECKING:
    import pytest


FIXTURES = frozenset(("trt_runner", "trt_engine", "trt_build", "trt_device", "trt_spec"))
"""A test that asks for one of them is ours."""


def add_options(parser: pytest.Parser) -> None:
    """Every option, and its ini setting. All defaults are None, so that whether one was given can be told."""
    group = parser.getgroup("trt", "TensorRT performance regression (pytest-trt)")
    for option in OPTIONS:
        if option.metavar:
            action = "append" if option.repeatable else "store"
            group.addoption(option.flag, action=action, default=None, metavar=option.metavar, help=option.help)
        else:
            group.addoption(option.flag, action="store_true", default=None, help=option.help)
        parser.addini(option.name, f"default of {option.flag}", type=option.ini_type, default=None)  # type: ignore[arg-type]


def given(config: pytest.Config) -> dict[Option, tuple[object, str]]:
    """What was said, and where: the command line's word, else the ini file's. Raises ValueError where a flag's ini
    setting is neither true nor false, or another's no text."""
    found: dict[Option, tuple[object, str]] = {}
    for option in OPTIONS:
        said = config.getoption(option.name)
        if said is not None:
            found[option] = said, option.flag
        elif (said := _ini(config, option.name)) not in (None, "", []):
            found[option] = said, f"ini setting {option.name}"
    return found


def _ini(config: pytest.Config, name: str) -> object:
    try:
        return config.getini(name)
    except Exception as error:  # ValueError, TypeError or UsageError, by version and file; not all name the setting
        wanted = {
            "bool": "write true or false",
            "string": f'write a text in quotes, {name} = "..."',
            "linelist": f'write a list of texts, {name} = ["..."]',
        }
        kind = next(option.ini_type for option in OPTIONS if option.name == name)
        raise ValueError(f"ini setting {name}: {error}: {wanted[kind]}") from error


def unknown_setting(warning: str) -> str:
    """What is wrong where pytest warns of an ini setting that is meant for us, and that is none; else empty."""
    before, said, name = warning.strip().partition("Unknown config option: ")
    if before or not said or not name.startswith("trt_"):
        return ""
    import difflib

    near = difflib.get_close_matches(name, [option.name for option in OPTIONS], 1)
    return f"there is no ini setting {name}: " + (f"did you mean {near[0]}?" if near else "pytest --help lists them")


def is_ours(item: pytest.Item) -> bool:
    """Whether the test asks for one of our fixtures. A marker alone may be its module's, and makes it none of ours."""
    return not FIXTURES.isdisjoint(getattr(item, "fixturenames", ()))


def is_marked(item: pytest.Item) -> bool:
    """Whether the test has a marker that starts as ours do."""
    return any(mark.name.startswith("trt_") for mark in item.iter_markers())
