"""Collect the ways past the gate that the tests try, and write the page that lists them.

A test names its way with the marker `way_past`. Run this module to write the page again:
`python -m samples.ways`, in the folder `tests`.
"""

from __future__ import annotations

import importlib.util
import itertools
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import pytest

TESTS = Path(__file__).resolve().parents[1]
PAGE = TESTS.parent / "docs/reference/ways-past-the-gate.md"
START, END = "<!-- from the tests: start -->\n", "<!-- from the tests: end -->\n"


class Way(NamedTuple):
    """One way past the gate.

    Attributes:
        way: What someone does.
        result: What the plugin does about it.
        variants: The number of variants that the test tries.
        test: The test's file and name.
    """

    way: str
    result: str
    variants: int
    test: str


def collect() -> list[Way]:
    """Return the ways of all test modules, sorted by file."""
    paths = sorted(path for path in TESTS.rglob("test_*.py") if "way_past(" in path.read_text())
    return [way for path in paths for way in _ways(path)]


def render(ways: list[Way]) -> str:
    """Return the table of `ways`, with their number above it."""
    total = sum(way.variants for way in ways)
    rows = [f"| {way.way} | {way.result} | {way.variants} | `{way.test}` |" for way in ways]
    lines = [
        f"{len(ways)} ways in {total} variants:",
        "",
        "| way | what happens | variants | test |",
        "|---|---|---|---|",
        *rows,
    ]
    return "\n".join(lines) + "\n"


def table_of(page: str) -> str:
    """Return the table of the page."""
    return page.partition(START)[2].partition(END)[0]


def _ways(path: Path) -> Iterator[Way]:
    name = path.relative_to(TESTS).as_posix()
    for function in vars(_load(path)).values():
        marks = getattr(function, "pytestmark", [])
        for mark in marks:
            if mark.name == "way_past":
                yield Way(*mark.args, _count(marks), f"{name}::{function.__name__}")


def _load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("_".join(path.relative_to(TESTS).with_suffix("").parts), path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _count(marks: list[pytest.Mark]) -> int:
    """Return the number of tests that the marks parametrize a function to."""
    values: list[list[Any]] = [list(mark.args[1]) for mark in marks if mark.name == "parametrize"]
    return len(list(itertools.product(*values)))


if __name__ == "__main__":
    sys.path[:0] = [str(TESTS), str(TESTS.parent / "benchmarks")]
    before, _, rest = PAGE.read_text().partition(START)
    PAGE.write_text(before + START + render(collect()) + END + rest.partition(END)[2])
