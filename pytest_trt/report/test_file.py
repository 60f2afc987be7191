"""Write the source of a test file: one test for each model, with its budgets.

Names come from files and models. They stand in the source only as literals, in comments with everything escaped, and as
letters and digits in the names of functions.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePath
from typing import Any

from pytest_trt.core.foreign_text import escape
from pytest_trt.report.numbers import format_limit

LINE_LENGTH = 120

_HEAD = '''"""Performance tests that `pytest-trt init` wrote. They are yours to change."""

import pytest
'''


@dataclasses.dataclass(frozen=True)
class NewTest:
    """A test to write.

    Attributes:
        function: The name of the function.
        model: The path of the model as the test names it.
        arguments: The other arguments of `trt_engine`.
        device: The device that the budgets are for.
        limits: The budgets by figure.
        remarks: What a reader should know about the test, each a comment.
    """

    function: str
    model: str
    arguments: Mapping[str, Any]
    device: str
    limits: Mapping[str, float]
    remarks: tuple[str, ...] = ()


def render(tests: Sequence[NewTest], remarks: Sequence[str]) -> str:
    """Return the source of the file, which begins with the remarks as comments."""
    parts = [_HEAD + "".join(f"\n{_comment(remark)}" for remark in remarks) + ("\n" if remarks else "")]
    parts += ["\n".join(_test(test)) + "\n" for test in tests]
    return "\n\n".join(parts)


def _test(test: NewTest) -> Iterator[str]:
    yield from map(_comment, test.remarks)
    yield from _decorator("trt_engine", test.model, {name: literal(value) for name, value in test.arguments.items()})
    yield from _decorator("trt_budget", test.device, {name: format_limit(limit) for name, limit in test.limits.items()})
    yield f"def {test.function}(trt_runner):"
    yield "    trt_runner.measure()"


def _decorator(marker: str, first: str, keywords: Mapping[str, str]) -> Iterator[str]:
    arguments = [literal(first), *(f"{name}={value}" for name, value in keywords.items())]
    line = f"@pytest.mark.{marker}({', '.join(arguments)})"
    if len(line) <= LINE_LENGTH:
        yield line
        return
    yield f"@pytest.mark.{marker}("
    yield from (f"    {argument}," for argument in arguments)
    yield ")"


def _comment(text: str) -> str:
    return f"# {escape(text)}"


def literal(value: Any) -> str:
    """Return a value of strings, numbers, tuples and mappings as Python source."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{literal(name)}: {literal(item)}" for name, item in value.items()) + "}"
    if isinstance(value, tuple):
        return f"({', '.join(map(literal, value))}{',' if len(value) == 1 else ''})"
    if isinstance(value, str) and value.isascii() and value.isprintable() and not set(value) & set('"\\'):
        return f'"{value}"'
    return repr(value)


def function_names(paths: Sequence[PurePath]) -> list[str]:
    """Return the name of a test for each model, from its file's name; from the whole path where that is ambiguous."""
    short = [_words(path.stem) for path in paths]
    names: list[str] = []
    for path, name in zip(paths, short, strict=True):
        wanted = name if short.count(name) == 1 else _words(str(path.with_suffix("")))
        free = (f"test_{wanted}{end}" for end in ("", *(f"_{number}" for number in range(2, len(paths) + 2))))
        names.append(next(candidate for candidate in free if candidate not in names))
    return names


def _words(text: str) -> str:
    """Return the ASCII letters and digits of a text: other identifiers may be equal to Python although they differ."""
    return re.sub(r"[^0-9A-Za-z]+", "_", text).strip("_") or "model"
