"""What a collection of tests declares: which of them are ours, what their markers say, where they would run."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_trt import benchmark_plugin, options, parameters
from pytest_trt.errors import BackendError, DeclarationError, TrtError
from pytest_trt.judge.budgets import names_device
from pytest_trt.markers import declare, misspelt, refuse_where
from pytest_trt.spec import Declaration, Settings

if TYPE_CHECKING:
    from pytest_trt.baselines import BaselineFolder
    from pytest_trt.bench import Bench
    from pytest_trt.budget_file import BudgetFile
    from pytest_trt.records import Environment

_OF_THE_RUN = frozenset(("trt_build", "trt_device"))
"""Fixtures that need no declaration."""


def select(
    config: pytest.Config, settings: Settings, items: list[pytest.Item], once_ours: Sequence[pytest.Item]
) -> list[pytest.Item]:
    """The tests whose declarations count: those that run and are ours, or are marked as if they were. Deselects all
    others where only ours, and those that were `once_ours`, are to run, and skips ours where none is."""
    ours = [item for item in items if options.is_ours(item)]
    if (settings.only or settings.build_only) and len(ours) < len(items):
        kept = {*ours, *(() if settings.build_only else once_ours)}
        config.hook.pytest_deselected(items=[item for item in items if item not in kept])
        items[:] = [item for item in items if item in kept]
    if settings.skip:
        for item in ours:
            item.add_marker(pytest.mark.skip(reason="--trt-skip"))
        return []
    benchmark_plugin.unskip(config, ours)
    return [item for item in items if options.is_ours(item) or options.is_marked(item)]


def declaration(item: pytest.Item) -> Declaration | None:
    """What the test's markers say; None where it needs no engine. Raises DeclarationError for what cannot be meant."""
    names = set(getattr(item, "fixturenames", ()))
    marks = [mark for mark in item.iter_markers() if mark.name.startswith("trt_")]
    for mark in marks:
        if meant := misspelt(mark.name):
            known = ", ".join(options.MARKERS)
            raise DeclarationError(f"there is no marker {mark.name}: did you mean {meant}? There are {known}")
    needs = names & (options.FIXTURES - _OF_THE_RUN)
    if not needs:
        for mark in item.own_markers:  # a module's or a class's may be for its other tests
            if mark.name in ("trt_budget", "trt_matrix", "trt_accuracy"):
                raise DeclarationError(f"{mark.name}: the test asks for no trt_runner, so nothing would be measured")
        return None
    if any(mark.name == "trt_matrix" for mark in marks) and "trt_case" not in names:
        raise DeclarationError("trt_matrix: the test asks for neither trt_runner nor trt_case, so no axis would count")
    params = parameters.given(item)
    case = params.get("trt_case", {})
    declared = declare(marks, case, {k: v for k, v in params.items() if k != "trt_case"})
    for mark in item.own_markers:  # a module's or a class's may be for its other tests
        if mark.name == "trt_budget":
            refuse_where(mark.kwargs.get("where", {}), parameters.values(item))
    spec = declared.spec
    if spec.path is None and spec.onnx is None and spec.build is None and not _overridden(item, "trt_spec"):
        raise DeclarationError(
            "no model is named: mark the test with trt_engine('model.onnx'), or override the fixture trt_spec"
        )
    return declared


def without_tests(config: pytest.Config, budgets: BudgetFile, items: Sequence[pytest.Item]) -> list[str]:
    """What is to be said of the file's patterns that no test of ours has, and of parameters, or values of them, that
    none of a pattern's tests has. Unless the whole suite is collected, only of a pattern whose file is not there, or is
    collected itself, can that be told."""
    if not budgets.entries:
        return []
    params: dict[str, dict[str, Any]] = {}
    for item in items:
        if options.is_ours(item) and item.nodeid not in params:
            params.update(parameters.cases(item, item.iter_markers()))
    files = {test.partition("::")[0] for test in params}
    one_by_one = any("::" in argument for argument in config.args)
    whole = is_whole(config)

    def is_wrong(pattern: str) -> bool:
        file = pattern.partition("::")[0]
        if whole or {"*", "?"} & set(file):
            return whole
        return not (config.rootpath / file).exists() or (file in files and not one_by_one)

    said = [(pattern, f"no test is {pattern!r}") for pattern in budgets.unmatched(params)]
    said += budgets.unheld(params)
    return [f"{budgets.path}: {what}: nothing has that budget" for pattern, what in said if is_wrong(pattern)]


def without_own_id(config: pytest.Config, items: Sequence[pytest.Item]) -> list[str]:
    """What is to be said of tests of ours that have no node id of their own, by which they are told apart and baselines
    are kept. Of files outside the rootdir pytest gives the path from what it was called with, or none."""
    said: list[str] = []
    files: dict[str, Path] = {}
    for item in filter(options.is_ours, items):
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


def read_together(bench: Bench, folder: BaselineFolder, declared: Mapping[str, Declaration]) -> None:
    """Read the baselines of all these tests at once: one by one, a remote place would take its latency for each. Raises
    BaselineError where it cannot be read."""
    from pytest_trt.baselines import device_slug

    tests: dict[str, list[str]] = {}
    for node_id, declaration in declared.items():
        with contextlib.suppress(BackendError):  # that test will say so itself
            tests.setdefault(device_slug(_environment(bench, declaration)), []).append(node_id)
    for device, node_ids in tests.items():
        folder.prefetch(node_ids, device)


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


def _environment(bench: Bench, declaration: Declaration) -> Environment:
    name = bench.backend_name(declaration.spec)
    return bench.environment_for(name, bench.completed(declaration, name).spec)


def _overridden(item: pytest.Item, fixture: str) -> bool:
    definitions = item._fixtureinfo.name2fixturedefs.get(fixture, ())  # type: ignore[attr-defined]
    return bool(definitions) and definitions[-1].func.__module__ != "pytest_trt.fixtures"
