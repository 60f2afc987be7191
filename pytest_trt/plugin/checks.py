"""Check the collection as a whole for problems that no single test shows."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_trt.errors import TrtError
from pytest_trt.judge.budgets import names_device
from pytest_trt.plugin.collection import callspec_params, parameter_values
from pytest_trt.plugin.options import uses_plugin
from pytest_trt.plugin.stash import ABSENT, CASES, DECLARATION
from pytest_trt.spec.budget_where import UNKNOWN, reason_unmatched
from pytest_trt.spec.declaration import Declaration
from pytest_trt.trial.card_choice import selects
from pytest_trt.trial.missing_device import missing_device

if TYPE_CHECKING:
    from pytest_trt.core.records import Environment
    from pytest_trt.spec.budget_file import BudgetFile
    from pytest_trt.trial.bench import Bench


def unmatched_budgets(config: pytest.Config, budgets: BudgetFile, items: Sequence[pytest.Item]) -> list[str]:
    """Find patterns in the file of budgets that match no test, and parameters that no matching test has.

    If only a part of the suite is collected, another part may match a pattern. A pattern is then reported only if its
    file does not exist or was collected in full.

    Args:
        config: pytest's configuration.
        budgets: The file of budgets.
        items: All collected tests, deselected ones included.
    """
    if not budgets.entries:
        return []
    params: dict[str, dict[str, Any]] = {}
    for item in items:
        if uses_plugin(item) and item.nodeid not in params:
            params.update(all_cases(item, item.iter_markers()))
    files = {test.partition("::")[0] for test in params}
    single_tests = any("::" in argument for argument in config.args)
    whole = collects_everything(config)

    def is_certain(pattern: str) -> bool:
        file = pattern.partition("::")[0]
        if whole or {"*", "?"} & set(file):
            return whole
        return not (config.rootpath / file).exists() or (file in files and not single_tests)

    found = [(pattern, f"no test is {pattern!r}") for pattern in budgets.unmatched_patterns(params)]
    found += budgets.unmatched_where(params)
    return [f"{budgets.path}: {what}: this budget has no effect" for pattern, what in found if is_certain(pattern)]


def ambiguous_node_ids(config: pytest.Config, items: Sequence[pytest.Item]) -> list[str]:
    """Find tests whose node id may belong to several tests. Results and baselines are stored by node id.

    For files outside the rootdir, pytest makes node ids from the path that it was called with, or without any path.
    """
    found: list[str] = []
    files: dict[str, Path] = {}
    for item in filter(uses_plugin, items):
        other = files.setdefault(item.nodeid, item.path)
        if item.nodeid.startswith("::") or other != item.path:
            both = f"{other} and {item.path}" if other != item.path else str(item.path)
            above = os.path.commonpath((config.rootpath, other, item.path))
            found.append(
                f"{both}: pytest gives a test there the node id {item.nodeid!r}, which tests of other files may have "
                f"too: give a --rootdir that contains the file, such as --rootdir={above}"
            )
    return found


def collects_everything(config: pytest.Config) -> bool:
    """Return whether everything in the rootdir (or in `testpaths`) is collected."""
    if hasattr(config, "workerinput"):  # a worker has other arguments than the controller
        return bool(config.workerinput.get("trt_whole"))
    chosen = config.args_source is pytest.Config.ArgsSource.ARGS or config.getoption("lf", False)
    return not chosen and config.invocation_params.dir == config.rootpath


def device_problems(bench: Bench, declared: Sequence[Declaration]) -> list[str]:
    """Find out what is wrong with the devices that these tests would run on.

    If a test names its backend itself and the backend does not work, the test fails; that is no problem of the run. If
    some tests run on a GPU, a test that names ONNX Runtime may run on the CPU, whatever GPU the options require.
    """
    settings, problems = bench.settings, []
    found: list[tuple[Declaration, Environment]] = []
    for declaration in declared:
        try:
            found.append((declaration, bench.environment_of(declaration)))
        except TrtError as error:
            if declaration.spec.backend == "auto":
                problems.append(str(error))
    on_gpu = any(seen.kind == "gpu" for _, seen in found)
    for declaration, seen in found:
        if on_gpu and seen.kind == "cpu" and declaration.spec.backend != "auto":
            continue
        if seen.kind == "cpu" and not all(selects(selector, 0, seen) for selector in settings.device):
            problems.append(
                f"--trt-device={','.join(settings.device)} names a GPU, and these tests run on {seen.device} "
                f"({seen.backend}): drop the option, or name another backend with --trt-backend"
            )
        required = settings.require_device
        if (
            required
            and not declaration.spec.device
            and not names_device(required, seen.device, seen.kind, seen.mig_profile)
        ):
            problems.append(
                f"--trt-require-device={required}: this device is {seen.device} ({seen.backend}): run on the required "
                "device, or drop the option"
            )
    return list(dict.fromkeys(problems))


def find_absent_devices(bench: Bench, declared: Iterable[pytest.Item]) -> list[str]:
    """Note in the stash of each test that the device it names is not there.

    Returns:
        The problems: with --trt-require-device, such a test must not be left out.
    """
    problems, required = [], bench.settings.require_device
    for item in declared:
        try:
            reason = missing_device(bench, item.stash[DECLARATION])
        except TrtError:  # a problem of the run, or the test fails with it
            continue
        if reason and required:
            problems.append(f"--trt-require-device={required}: {item.nodeid}: {reason}")
        elif reason:
            item.stash[ABSENT] = reason
    return problems


def unmatched_where(running: Sequence[pytest.Item], collected: Iterable[pytest.Item], *, whole: bool) -> list[str]:
    """Find budgets on a test's function whose `where` matches none of its cases.

    A class that inherits the function may have a matrix of its own. Unless the whole suite is collected, only the
    function's own markers are certain for such a class.

    Args:
        running: The tests that run.
        collected: All collected tests, deselected ones included.
        whole: Whether the whole suite is collected.
    """
    marked = [
        (item, mark) for item in running if isinstance(item, pytest.Function) for mark in item.own_markers
        if mark.name == "trt_budget" and isinstance(mark.kwargs.get("where"), Mapping)
    ]  # fmt: skip
    known: dict[Any, dict[str, dict[str, Any]]] = {item.function: {} for item, _ in marked}
    for item in (one for one in collected if isinstance(one, pytest.Function)):
        if item.function in known and item.nodeid not in (cases := known[item.function]):
            certain = whole or _is_defined_here(item)
            cases.update(all_cases(item, item.iter_markers() if certain else item.own_markers))
    found: dict[tuple[Any, int], str] = {}
    for item, mark in marked:
        if (key := (item.function, id(mark))) not in found:
            reason = reason_unmatched(mark.kwargs["where"], known[item.function].values())
            found[key] = reason and f"{item.nodeid.partition('[')[0]}: trt_budget: {reason}"
    return list(filter(None, found.values()))


def all_cases(item: pytest.Item, marks: Iterable[pytest.Mark]) -> dict[str, dict[str, Any]]:
    """Return the parameters of every case of the test's function, by node id.

    A parameter that comes from a fixture or a hook may have another value in another run: its value is UNKNOWN.

    Args:
        item: One of the cases.
        marks: The markers whose parameters are certain.
    """
    certain: set[str] = set()
    for mark in marks:
        if mark.name == "trt_matrix":
            certain.update(mark.kwargs)
        elif mark.name == "parametrize":
            names = mark.kwargs.get("argnames", mark.args[0] if mark.args else ())
            certain.update(name.strip() for name in (names.split(",") if isinstance(names, str) else names))
    if "trt_case" in certain:
        certain.update(callspec_params(item).get("trt_case", ()))
    known = {case.nodeid: parameter_values(case) for case in item.stash.get(CASES, (item,))}
    return {
        node_id: {name: value if name in certain else UNKNOWN for name, value in values.items()}
        for node_id, values in known.items()
    }


def _is_defined_here(item: pytest.Function) -> bool:
    """Return whether the test's function belongs to the class or module that it was collected in, and to no other."""
    if item.cls is not None:
        return vars(item.cls).get(item.originalname) is item.function and not item.cls.__subclasses__()
    return bool(item.function.__module__ == item.module.__name__)
