"""pytest-benchmark beside us: it gets the latencies, and none of its options touches our verdicts."""

from __future__ import annotations

import os
import shlex
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pytest_trt.core.records import Result

_OUTPUTS = ("json", "save", "autosave", "compare", "histogram")
_FED = pytest.StashKey[int]()


def unskip(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Take back --benchmark-only's skips of our tests, which are benchmarks without its fixture."""
    if not config.getoption("benchmark_only", False):
        return
    for item in items:
        item.own_markers[:] = [
            mark
            for mark in item.own_markers
            if not (mark.name == "skip" and "--benchmark-only" in mark.kwargs.get("reason", ""))
        ]


def feed(item: pytest.Item, result: Result) -> None:
    """Show the measured latencies in its table and files, where it is on."""
    state = getattr(item.config, "_benchmarksession", None)
    if state is None or state.skip or state.disabled or result.measurement is None:
        return
    from pytest_trt.report import benchmark_json

    benchmark_json.fill_fixture(item._request.getfixturevalue("benchmark"), result)  # type: ignore[attr-defined]
    item.config.stash[_FED] = item.config.stash.get(_FED, 0) + 1


def quieten(config: pytest.Config) -> None:
    """Leave its table out where it has nothing but our tests, which stand in ours, and it was asked for nothing."""
    state = getattr(config, "_benchmarksession", None)
    if state is None or len(state.benchmarks) != config.stash.get(_FED, 0):
        return
    said = (*config.getini("addopts"), *shlex.split(os.environ.get("PYTEST_ADDOPTS", "")))
    if not any(str(word).startswith("--benchmark-") for word in (*said, *config.invocation_params.args)):
        state.quiet = True


def unheard(config: pytest.Config) -> str:
    """What to say where its files were asked for under xdist, where it writes none and does not say so."""
    asked = [name for name in _OUTPUTS if config.getoption(f"benchmark_{name}", None)]
    if not asked:
        return ""
    return (
        f"pytest-benchmark writes nothing under xdist, so --benchmark-{asked[0]} had no effect: "
        "--trt-report=benchmark-json:PATH writes the same keys"
    )
