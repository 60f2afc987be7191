"""Remember what each start of pytest looks up again: half of the time of a short run.

The entry points of the packages that are installed, and the plugins that have no fixtures, are the same in every run
that the tests start within one process or in its forks.
"""

from __future__ import annotations

import functools
import importlib.metadata
import sys
import types
import weakref
from collections.abc import Iterator
from typing import Any

import pytest
from _pytest.compat import safe_getattr
from _pytest.fixtures import FixtureManager
from _pytest.nodes import Node


class _Installed:
    """An installed distribution whose entry points and files are read once."""

    def __init__(self, distribution: importlib.metadata.Distribution) -> None:
        self._distribution = distribution

    def __getattr__(self, name: str) -> Any:
        return getattr(self._distribution, name)

    @functools.cached_property
    def entry_points(self) -> Any:
        return self._distribution.entry_points

    @functools.cached_property
    def files(self) -> Any:
        return self._distribution.files


@functools.cache
def remember() -> None:
    """Remember both in this process and its forks from now on."""
    _remember_distributions()
    _remember_plugins_without_fixtures()


def _remember_distributions() -> None:
    find = importlib.metadata.distributions

    @functools.cache
    def installed(folder: str) -> list[_Installed]:
        return [_Installed(distribution) for distribution in find(path=[folder])]

    def distributions(**options: Any) -> Iterator[Any]:
        if options:
            yield from find(**options)
            return
        for folder in sys.path:
            yield from installed(folder) if folder.endswith("site-packages") else find(path=[folder])

    importlib.metadata.distributions = distributions  # type: ignore[assignment]


def _remember_plugins_without_fixtures() -> None:
    parse, kind_of_fixtures = FixtureManager.parsefactories, type(pytest.fixture(lambda: None))
    without_fixtures = weakref.WeakSet[Any]()

    def parsefactories(self: Any, *arguments: Any, **options: Any) -> None:
        holder = arguments[0] if arguments else options["holder"]
        if isinstance(holder, Node) and "holder" not in options:  # a collector of tests
            parse(self, *arguments, **options)
            return
        owner = holder if isinstance(holder, (types.ModuleType, type)) else type(holder)
        if owner in without_fixtures:
            return
        parse(self, *arguments, **options)
        if not any(type(safe_getattr(owner, name, None)) is kind_of_fixtures for name in dir(owner)):
            without_fixtures.add(owner)

    FixtureManager.parsefactories = parsefactories  # type: ignore[method-assign, assignment]
