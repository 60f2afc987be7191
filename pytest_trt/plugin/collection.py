"""Choose the tests of a collection that run, and read what their markers declare."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from pytest_trt.errors import DeclarationError, TrtError
from pytest_trt.plugin import pytest_benchmark
from pytest_trt.plugin.options import FIXTURES, has_plugin_marker, plugin_markers, uses_plugin
from pytest_trt.plugin.stash import COUNTED_MARKERS, DECLARATION
from pytest_trt.spec import options
from pytest_trt.spec.budget_file import BudgetFile
from pytest_trt.spec.declaration import Declaration
from pytest_trt.spec.markers import check_where, declare, matrix_axes, suggest_marker
from pytest_trt.spec.settings import Settings

_WITHOUT_DECLARATION = frozenset(("trt_build", "trt_device"))
"""Fixtures of the run, which a test may use without declaring an engine."""


def select(
    config: pytest.Config, settings: Settings, items: list[pytest.Item], stored: Sequence[pytest.Item]
) -> list[pytest.Item]:
    """Deselect and skip tests as the settings request.

    Args:
        config: pytest's configuration.
        settings: The settings of the run.
        items: All tests; those that are deselected are removed.
        stored: Tests that no longer use this plugin but still have a baseline. --trt-only keeps them.

    Returns:
        The tests that run and whose declarations count: those that use the plugin, or have one of its markers.
    """
    ours = [item for item in items if uses_plugin(item)]
    if (settings.only or settings.build_only) and len(ours) < len(items):
        kept = {*ours, *(() if settings.build_only else stored)}
        config.hook.pytest_deselected(items=[item for item in items if item not in kept])
        items[:] = [item for item in items if item in kept]
    if settings.skip:
        for item in ours:
            item.add_marker(pytest.mark.skip(reason="--trt-skip"))
        return []
    pytest_benchmark.remove_skips(config, ours)
    return [item for item in items if uses_plugin(item) or has_plugin_marker(item)]


def declaration(item: pytest.Item) -> Declaration | None:
    """Return what the test's markers declare; None if it needs no engine.

    Raises:
        DeclarationError: A marker is invalid, or has no effect on this test.
    """
    names = set(getattr(item, "fixturenames", ()))
    marks = [mark for mark in item.iter_markers() if mark.name.startswith("trt_")]
    for mark in marks:
        if suggestion := suggest_marker(mark.name):
            known = ", ".join(options.MARKERS)
            raise DeclarationError(f"there is no marker {mark.name}: did you mean {suggestion}? There are {known}")
    needs = names & (FIXTURES - _WITHOUT_DECLARATION)
    if not needs:
        for mark in item.own_markers:  # those of a module or class may be for its other tests
            if mark.name in ("trt_budget", "trt_matrix", "trt_accuracy", "trt_generate", "trt_layers"):
                raise DeclarationError(
                    f"{mark.name}: the test does not request trt_runner, so nothing would be measured"
                )
        return None
    matrix = [mark for mark in marks if mark.name == "trt_matrix"]
    if matrix and "trt_case" not in names:
        raise DeclarationError(
            "trt_matrix: the test requests neither trt_runner nor trt_case, so no axis has an effect"
        )
    params = callspec_params(item)
    case = params.get("trt_case", {})
    if matrix and (ignored := set(matrix_axes(matrix)) - set(case)):
        raise DeclarationError(
            f"trt_matrix: {', '.join(sorted(ignored))} did not parametrize the test: the marker is inside "
            "pytest.param(), is on a unittest.TestCase, or was added by a hook: put it on a plain test function, its "
            "class or its module"
        )
    declared = declare(marks, case, {k: v for k, v in params.items() if k != "trt_case"})
    for mark in item.own_markers:  # those of a module or class may be for its other tests
        if mark.name == "trt_budget":
            check_where(mark.kwargs.get("where", {}), parameter_values(item))
    spec = declared.spec
    if spec.path is None and spec.onnx is None and spec.build is None and not _overridden(item, "trt_spec"):
        raise DeclarationError(
            "no model is named: mark the test with trt_engine('model.onnx'), or override the fixture trt_spec"
        )
    if declared.generation is not None and not spec.state and not _overridden(item, "trt_spec"):
        raise DeclarationError(
            "trt_generate needs state, which the steps hand on: name it in trt_engine, as in "
            "state={'present_*': 'past_*'}"
        )
    return declared


def declare_all(
    items: Sequence[pytest.Item], budgets: BudgetFile, *, build_only: bool
) -> tuple[list[str], list[pytest.Item]]:
    """Declare every test: keep in its stash what its markers and the file of budgets request.

    Returns:
        The problems, and the tests that have them.
    """
    problems, invalid = [], []
    for item in items:
        try:
            declared = declaration(item)
        except TrtError as error:
            problems.append(f"{item.nodeid}: {error}")
            invalid.append(item)
            continue
        if declared is not None:
            limits = budgets.merge(declared.budgets, item.nodeid)
            item.stash[DECLARATION] = dataclasses.replace(declared, budgets=limits)
            item.stash[COUNTED_MARKERS] = plugin_markers(item)
        elif build_only:
            item.add_marker(pytest.mark.skip(reason="--trt-build-only: no marker says which engine it needs"))
    return problems, invalid


def _overridden(item: pytest.Item, fixture: str) -> bool:
    definitions = item._fixtureinfo.name2fixturedefs.get(fixture, ())  # type: ignore[attr-defined]
    return bool(definitions) and definitions[-1].func.__module__ != "pytest_trt.plugin.fixtures"


def callspec_params(item: pytest.Item) -> Mapping[str, Any]:
    """Return what pytest parametrized the test with; `trt_case` is its combination of the matrix."""
    return item.callspec.params if hasattr(item, "callspec") else {}


def parameter_values(item: pytest.Item) -> dict[str, Any]:
    """Return the test's parameters by name, those of the matrix included."""
    params = callspec_params(item)
    return {**{name: value for name, value in params.items() if name != "trt_case"}, **params.get("trt_case", {})}
