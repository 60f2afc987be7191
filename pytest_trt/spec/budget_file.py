"""Read budgets from a TOML file, as an alternative to `trt_budget` markers.

[[budget]]
test = "tests/test_models.py::test_resnet18[fp16-*]"      # * and ? are wildcards, square brackets are literal
device = "H200"                                           # as in trt_budget; the default is "gpu"
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

from pytest_trt.core.node_patterns import matches
from pytest_trt.core.scalars import short_repr
from pytest_trt.core.validation import suggest
from pytest_trt.errors import DeclarationError
from pytest_trt.spec.budget_where import reason_unmatched
from pytest_trt.spec.case_ids import current_node_id
from pytest_trt.spec.expectations import LIMITS, Budget

_KEYS = ("test", "device", "where", *LIMITS)
_MAX_BYTES = 4_000_000

_MAX_LINE = 4_096
"""The most characters of a line. TOML's parser takes a time that grows with the square of the parts of a dotted key."""


@dataclasses.dataclass(frozen=True)
class FileBudget:
    """A budget from a file, with the pattern of the node ids of its tests."""

    test: str
    budget: Budget

    def is_for(self, node_id: str) -> bool:
        """Return whether the pattern matches; a pattern of ids as an earlier version wrote them does too."""
        return matches(self.test, node_id) or matches(current_node_id(self.test), node_id)


@dataclasses.dataclass(frozen=True)
class BudgetFile:
    """All budgets of a file, in the order of the file."""

    path: Path
    entries: tuple[FileBudget, ...] = ()

    def matching(self, node_id: str) -> tuple[Budget, ...]:
        """Return the budgets whose pattern matches a node id."""
        return tuple(entry.budget for entry in self.entries if entry.is_for(node_id))

    def merge(self, own: Sequence[Budget], node_id: str) -> tuple[Budget, ...]:
        """Return a test's `own` budgets, followed by the budgets of the file that match it.

        Of several limits on the same figure, for the same device and the same `where`, only one remains: the test's
        own, or else the last one in the file. In the file, exceptions therefore follow the general rule.
        """
        merged = list(own)
        for budget in reversed(self.matching(node_id)):
            limited = {name for other in merged if _scope(other) == _scope(budget) for name in other.limits}
            limits = {name: limit for name, limit in budget.limits.items() if name not in limited}
            merged += [dataclasses.replace(budget, limits=limits)] if limits else []
        return tuple(merged)

    def unmatched_patterns(self, node_ids: Iterable[str]) -> tuple[str, ...]:
        """Return the patterns that match none of the tests. Their budgets are never checked."""
        tests = list(node_ids)
        unmatched = (entry.test for entry in self.entries if not any(map(entry.is_for, tests)))
        return tuple(dict.fromkeys(unmatched))

    def unmatched_where(self, params: Mapping[str, Mapping[str, Any]]) -> Iterator[tuple[str, str]]:
        """Yield the pattern of every budget whose `where` holds for none of the matching tests, with the reason.

        Args:
            params: The values of the parameters of each test, by its node id.
        """
        for entry in self.entries:
            cases, where = [case for test, case in params.items() if entry.is_for(test)], entry.budget.where
            absent = [name for name in where if cases and not any(name in case for case in cases)]
            for name in absent:
                yield entry.test, f"no test that matches {entry.test!r} has the parameter {name!r}"
            if cases and not absent and (reason := reason_unmatched(where, cases)):
                yield entry.test, f"for the tests that match {entry.test!r}, {reason}"


def _scope(budget: Budget) -> tuple[str, dict[str, Any]]:
    return budget.device, dict(budget.where)


def read_budgets(path: Path) -> BudgetFile:
    """Read the budgets of a TOML file.

    Raises:
        DeclarationError: The file cannot be read, or a budget in it is invalid. The message lists all invalid budgets.
    """
    entries, problems = [], []
    for number, data in enumerate(_tables(path), 1):
        try:
            entries.append(_entry(data))
        except DeclarationError as error:
            problems.append(f"{path}: budget {number}: {error}")
    if problems:
        raise DeclarationError(*problems)
    return BudgetFile(path, tuple(entries))


def _tables(path: Path) -> list[Any]:
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise DeclarationError(f"{path} is larger than {_MAX_BYTES} bytes: name a TOML file of budgets")
        text = path.read_text(encoding="utf-8")
        if (longest := max(map(len, text.splitlines()), default=0)) > _MAX_LINE:
            raise DeclarationError(f"{path} has a line of {longest} characters: the limit is {_MAX_LINE}")
        data = tomllib.loads(text)
    except OSError as error:
        message = f"{path} cannot be read ({error.strerror}): correct --trt-budgets, or trt_budgets in the ini file"
        raise DeclarationError(message) from error
    except (ValueError, RecursionError) as error:  # ValueError: also of a number of thousands of digits
        raise DeclarationError(f"{path} is not valid TOML: {error or type(error).__name__}") from error
    budgets = data.pop("budget", [])
    for name in data:
        raise DeclarationError(f"{path} has the unknown key {short_repr(name)}: it may contain only [[budget]] tables")
    if not isinstance(budgets, list) or not budgets:
        raise DeclarationError(f"{path} contains no budget: start one with a line [[budget]]")
    return budgets


def _entry(data: Any) -> FileBudget:
    if not isinstance(data, Mapping):
        raise DeclarationError(f"{short_repr(data)} is not a table: start each budget with a line [[budget]]")
    for name in data:
        if name not in _KEYS:
            hint = suggest(name, _KEYS, f"a budget may have {', '.join(_KEYS)}")
            raise DeclarationError(f"unknown key {short_repr(name)}: {hint}")
    test = data.get("test")
    if not isinstance(test, str) or not test.strip():
        raise DeclarationError("it does not name its tests: add a pattern such as test = 'tests/test_models.py::*'")
    limits = {name: data[name] for name in LIMITS if name in data}
    return FileBudget(test, Budget(device=data.get("device", "gpu"), limits=limits, where=data.get("where", {})))
