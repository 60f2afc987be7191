"""Checks of a whole collection: what no single test can know to be wrong."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_trt.errors import TrtError
from pytest_trt.judge.budgets import names_device
from pytest_trt.plugin.collection import callspec_params, parameter_values
from pytest_trt.plugin.options import is_ours
from pytest_trt.plugin.stash import CASES
from pytest_trt.spec.budget_where import UNKNOWN, reason_unmatched
from pytest_trt.spec.declaration import Declaration
from pytest_trt.trial.bench import _environment

if TYPE_CHECKING:
    from pytest_trt.core.records import Environment
    from pytest_trt.spec.budget_file import BudgetFile
    from pytest_trt.trial.bench import Bench


def without_tests(config: pytest.Config, budgets: BudgetFile, items: Sequence[pytest.Item]) -> list[str]:
    """What is to be said of the file's patterns that no test of ours has, and of parameters, or values of them, that
    none of a pattern's tests has. Unless the whole suite is collected, only of a pattern whose file is not there, or is
    collected itself, can that be told."""
    if not budgets.entries:
        return []
    params: dict[str, dict[str, Any]] = {}
    for item in items:
        if is_ours(item) and item.nodeid not in params:
            params.update(all_cases(item, item.iter_markers()))
    files = {test.partition("::")[0] for test in params}
    one_by_one = any("::" in argument for argument in config.args)
    whole = is_whole(config)

    def is_wrong(pattern: str) -> bool:
        file = pattern.partition("::")[0]
        if whole or {"*", "?"} & set(file):
            return whole
        return not (config.rootpath / file).exists() or (file in files and not one_by_one)

    said = [(pattern, f"no test is {pattern!r}") for pattern in budgets.unmatched_patterns(params)]
    said += budgets.unmatched_where(params)
    return [f"{budgets.path}: {what}: nothing has that budget" for pattern, what in said if is_wrong(pattern)]


def without_own_id(config: pytest.Config, items: Sequence[pytest.Item]) -> list[str]:
    """What is to be said of tests of ours that have no node id of their own, by which they are told apart and baselines
    are kept. Of files outside the rootdir pytest gives the path from what it was called with, or none."""
    said: list[str] = []
    files: dict[str, Path] = {}
    for item in filter(is_ours, items):
        other = files.setdefault(item.nodeid, item.path)
        if item.nodeid.startswith("::") or other != item.path:
            both = f"{other} and {item.path}" if other != item.path else str(item.path)
            above = os.path.commonpath((config.rootpath, other, item.path))
            said.append(
                f"{both}: pytest calls a test there {item.nodeid!r}, which tests of other files may be called too: "
                f"give a --rootdir that it lies in, such as --rootdir={above}"
            )
    return said


def is_whole(config: pytest.Config) -> bool:
    """Whether everything in the rootdir (or in `testpaths`) is collected."""
    if hasattr(config, "workerinput"):  # a worker has other arguments
        return bool(config.workerinput.get("trt_whole"))
    chosen = config.args_source is pytest.Config.ArgsSource.ARGS or config.getoption("lf", False)
    return not chosen and config.invocation_params.dir == config.rootpath


def wrong_devices(bench: Bench, declared: Sequence[Declaration]) -> list[str]:
    """What is wrong with the devices that these tests would run on, if anything. What is wrong with a backend that a
    test names itself is that test's own failure; and where others run on a GPU, a test that names ONNX Runtime is meant
    to run on the CPU, whatever GPU is required."""
    settings, problems = bench.settings, []
    found: list[tuple[Declaration, Environment]] = []
    for one in declared:
        try:
            found.append((one, _environment(bench, one)))
        except TrtError as error:
            if one.spec.backend == "auto":
                problems.append(str(error))
    on_gpu = any(seen.kind == "gpu" for _, seen in found)
    for one, seen in found:
        if on_gpu and seen.kind == "cpu" and one.spec.backend != "auto":
            continue
        if seen.kind == "cpu" and settings.device != "0":
            problems.append(
                f"--trt-device={settings.device} names a GPU, and these tests run on {seen.device} ({seen.backend}): "
                "drop the option, or name another backend with --trt-backend"
            )
        required = settings.require_device
        if required and not names_device(required, seen.device, seen.kind, seen.mig_profile):
            problems.append(
                f"--trt-require-device={required}: this device is {seen.device} ({seen.backend}): run on the one that "
                "is required, or drop the option"
            )
    return list(dict.fromkeys(problems))


def _is_at_home(item: pytest.Function) -> bool:
    """Whether the test's function is of the class or module that it was collected in, and of no other."""
    if item.cls is not None:
        return vars(item.cls).get(item.originalname) is item.function and not item.cls.__subclasses__()
    return bool(item.function.__module__ == item.module.__name__)


def all_cases(item: pytest.Item, marks: Iterable[pytest.Mark]) -> dict[str, dict[str, Any]]:
    """The parameters of every case of the test's function, by node id. What is not said by `marks`, but by a fixture or
    a hook, may be something else in another run: it is UNKNOWN."""
    told: set[str] = set()
    for mark in marks:
        if mark.name == "trt_matrix":
            told.update(mark.kwargs)
        elif mark.name == "parametrize":
            names = mark.kwargs.get("argnames", mark.args[0] if mark.args else ())
            told.update(name.strip() for name in (names.split(",") if isinstance(names, str) else names))
    if "trt_case" in told:
        told.update(callspec_params(item).get("trt_case", ()))
    known = {one.nodeid: parameter_values(one) for one in item.stash.get(CASES, (item,))}
    return {
        test: {name: value if name in told else UNKNOWN for name, value in case.items()} for test, case in known.items()
    }


def unmatched_where(running: Sequence[pytest.Item], collected: Iterable[pytest.Item], *, whole: bool) -> list[str]:
    """What is to be said of a `where` on a test's function that holds for none of its cases, wherever the function is
    `collected`. A class that inherits it may have a matrix of its own: unless the `whole` suite is collected, only what
    the function's own marks say is known of such a one."""
    asked = [
        (item, mark) for item in running if isinstance(item, pytest.Function) for mark in item.own_markers
        if mark.name == "trt_budget" and isinstance(mark.kwargs.get("where"), Mapping)
    ]  # fmt: skip
    known: dict[Any, dict[str, dict[str, Any]]] = {item.function: {} for item, _ in asked}
    for item in (one for one in collected if isinstance(one, pytest.Function)):
        if item.function in known and item.nodeid not in (there := known[item.function]):
            certain = whole or _is_at_home(item)
            there.update(all_cases(item, item.iter_markers() if certain else item.own_markers))
    said: dict[tuple[Any, int], str] = {}
    for item, mark in asked:
        if (key := (item.function, id(mark))) not in said:
            why = reason_unmatched(mark.kwargs["where"], known[item.function].values())
            said[key] = why and f"{item.nodeid.partition('[')[0]}: trt_budget: {why}"
    return list(filter(None, said.values()))
