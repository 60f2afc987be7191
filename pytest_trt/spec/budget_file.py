"""Budgets in a file, for those who keep them out of code.

[[budget]]
test = "tests/test_models.py::test_resnet18[fp16-*]"      # * and ? are wildcards, brackets stand for themselves
device = "H200"                                           # as in trt_budget; "gpu" where it is left out
ms = 0.31
memory_mb = 700
where = { batch = 1 }
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pytest_trt.core.figures import FIGURES
from pytest_trt.core.node_patterns import matches
from pytest_trt.core.validation import suggest
from pytest_trt.errors import DeclarationError
from pytest_trt.spec.budget_where import reason_unmatched
from pytest_trt.spec.expectations import Budget

_LIMITS = tuple(name for name, figure in FIGURES.items() if figure.budget)
_KEYS = ("test", "device", "where", *_LIMITS)
_MOST_BYTES = 10_000_000


@dataclasses.dataclass(frozen=True)
class FileBudget:
    """A budget, and the tests that it is for."""

    test: str
    budget: Budget


@dataclasses.dataclass(frozen=True)
class BudgetFile:
    """The budgets of a file, in its order."""

    path: Path
    entries: tuple[FileBudget, ...] = ()

    def matching(self, node_id: str) -> tuple[Budget, ...]:
        """The budgets of a test."""
        return tuple(entry.budget for entry in self.entries if matches(entry.test, node_id))

    def merge(self, own: Sequence[Budget], node_id: str) -> tuple[Budget, ...]:
        """A test's `own` budgets and those that the file has for it. Of limits for one device and the same parameters
        the test's own counts, else the last in the file: exceptions stand below the rule."""
        found = list(own)
        for budget in reversed(self.matching(node_id)):
            said = {name for other in found if _holds_where(other) == _holds_where(budget) for name in other.limits}
            left = {name: limit for name, limit in budget.limits.items() if name not in said}
            found += [dataclasses.replace(budget, limits=left)] if left else []
        return tuple(found)

    def unmatched_patterns(self, node_ids: Iterable[str]) -> tuple[str, ...]:
        """The patterns that no test has: a budget that nothing is held to."""
        tests = list(node_ids)
        patterns = dict.fromkeys(entry.test for entry in self.entries)
        return tuple(pattern for pattern in patterns if not any(matches(pattern, test) for test in tests))

    def unmatched_where(self, params: Mapping[str, Mapping[str, Any]]) -> Iterator[tuple[str, str]]:
        """The patterns whose `where` holds for no test that has them, with the reason. `params` are the parameters of
        each test, by node id."""
        for entry in self.entries:
            there, where = [case for test, case in params.items() if matches(entry.test, test)], entry.budget.where
            absent = [name for name in where if there and not any(name in case for case in there)]
            for name in absent:
                yield entry.test, f"no test that is {entry.test!r} has the parameter {name!r}"
            if there and not absent and (why := reason_unmatched(where, there)):
                yield entry.test, f"of the tests that are {entry.test!r}: {why}"


def _holds_where(budget: Budget) -> tuple[str, dict[str, Any]]:
    return budget.device, dict(budget.where)


def read_budgets(path: Path) -> BudgetFile:
    """The budgets in a TOML file. Raises DeclarationError, with all that is wrong in it, where it cannot be meant."""
    entries, problems = [], []
    for number, data in enumerate(_tables(path), 1):
        try:
            entries.append(_entry(data))
        except DeclarationError as error:
            problems.append(f"{path}: budget {number}: {error}")
    if problems:
        raise DeclarationError("\n".join(problems))
    return BudgetFile(path, tuple(entries))


def _tables(path: Path) -> list[Any]:
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise DeclarationError(f"{path} is longer than {_MOST_BYTES} bytes: is it a file of budgets?")
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        message = f"{path} cannot be read ({error.strerror}): correct --trt-budgets, or trt_budgets in the ini file"
        raise DeclarationError(message) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise DeclarationError(f"{path} is not TOML: {error}") from error
    budgets = data.pop("budget", [])
    for name in data:
        raise DeclarationError(f"{path} has {name!r}: it holds [[budget]] tables alone")
    if not isinstance(budgets, list) or not budgets:
        raise DeclarationError(f"{path} has no budget: begin one with a line [[budget]]")
    return budgets


def _entry(data: Any) -> FileBudget:
    if not isinstance(data, Mapping):
        raise DeclarationError(f"{data!r} is no table: begin it with a line [[budget]]")
    for name in data:
        if name not in _KEYS:
            hint = suggest(name, _KEYS, f"it may have {', '.join(_KEYS)}")
            raise DeclarationError(f"{name!r} is nothing that a budget has: {hint}")
    test = data.get("test")
    if not isinstance(test, str) or not test.strip():
        raise DeclarationError("it names no test: add test = 'tests/test_models.py::*'")
    limits = {name: data[name] for name in _LIMITS if name in data}
    return FileBudget(test, Budget(device=data.get("device", "gpu"), limits=limits, where=data.get("where", {})))
