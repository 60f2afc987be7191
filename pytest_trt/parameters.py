"""The parameters of a test, and of every other case of its function: those too that a run leaves out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pytest

from pytest_trt.where import OPEN, never

_CASES: pytest.StashKey[Sequence[pytest.Item]] = pytest.StashKey()


def keep(made: Sequence[pytest.Item]) -> None:
    """Let each of the items that pytest made of a function know all of them, before any is chosen."""
    for item in made:
        item.stash[_CASES] = made


def given(item: pytest.Item) -> Mapping[str, Any]:
    """What pytest gave the test; `trt_case` is its combination of the matrix."""
    return item.callspec.params if hasattr(item, "callspec") else {}


def values(item: pytest.Item) -> dict[str, Any]:
    """A test's parameters by name, the matrix's among them."""
    params = given(item)
    return {**{name: value for name, value in params.items() if name != "trt_case"}, **params.get("trt_case", {})}


def cases(item: pytest.Item, marks: Iterable[pytest.Mark]) -> dict[str, dict[str, Any]]:
    """The parameters of every case of the test's function, by node id. What is not said by `marks`, but by a fixture or
    a hook, may be something else in another run: it is OPEN."""
    told: set[str] = set()
    for mark in marks:
        if mark.name == "trt_matrix":
            told.update(mark.kwargs)
        elif mark.name == "parametrize":
            names = mark.kwargs.get("argnames", mark.args[0] if mark.args else ())
            told.update(name.strip() for name in (names.split(",") if isinstance(names, str) else names))
    if "trt_case" in told:
        told.update(given(item).get("trt_case", ()))
    known = {one.nodeid: values(one) for one in item.stash.get(_CASES, (item,))}
    return {
        test: {name: value if name in told else OPEN for name, value in case.items()} for test, case in known.items()
    }


def unheld(running: Sequence[pytest.Item], collected: Iterable[pytest.Item], *, whole: bool) -> list[str]:
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
            there.update(cases(item, item.iter_markers() if certain else item.own_markers))
    said: dict[tuple[Any, int], str] = {}
    for item, mark in asked:
        if (key := (item.function, id(mark))) not in said:
            why = never(mark.kwargs["where"], known[item.function].values())
            said[key] = why and f"{item.nodeid.partition('[')[0]}: trt_budget: {why}"
    return list(filter(None, said.values()))


def _is_at_home(item: pytest.Function) -> bool:
    """Whether the test's function is of the class or module that it was collected in, and of no other."""
    if item.cls is not None:
        return vars(item.cls).get(item.originalname) is item.function and not item.cls.__subclasses__()
    return bool(item.function.__module__ == item.module.__name__)
