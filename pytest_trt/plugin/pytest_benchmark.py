"""Work together with pytest-benchmark: pass latencies to it, and keep its options from changing verdicts."""

from __future__ import annotations

import os
import shlex
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pytest_trt.core.records import Result

_OUTPUT_OPTIONS = ("json", "save", "autosave", "compare", "histogram")
_ADDED = pytest.StashKey[int]()


def remove_skips(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Remove the skips that --benchmark-only gave our tests: they are benchmarks without its fixture."""
    if not config.getoption("benchmark_only", False):
        return
    for item in items:
        item.own_markers[:] = [
            mark
            for mark in item.own_markers
            if not (mark.name == "skip" and "--benchmark-only" in mark.kwargs.get("reason", ""))
        ]


def add_latencies(item: pytest.Item, result: Result) -> None:
    """Add the measured latencies to pytest-benchmark's table and files, if it is enabled."""
    state = getattr(item.config, "_benchmarksession", None)
    if state is None or state.skip or state.disabled or result.measurement is None:
        return
    from pytest_trt.report import benchmark_json

    benchmark_json.fill_fixture(item._request.getfixturevalue("benchmark"), result)  # type: ignore[attr-defined]
    item.config.stash[_ADDED] = item.config.stash.get(_ADDED, 0) + 1


def hide_redundant_table(config: pytest.Config) -> None:
    """Hide pytest-benchmark's table if it would repeat ours, and none of its options was given."""
    state = getattr(config, "_benchmarksession", None)
    if state is None or len(state.benchmarks) != config.stash.get(_ADDED, 0):
        return
    defaults = (*config.getini("addopts"), *shlex.split(os.environ.get("PYTEST_ADDOPTS", "")))
    if not any(str(word).startswith("--benchmark-") for word in (*defaults, *config.invocation_params.args)):
        state.quiet = True


def xdist_warning(config: pytest.Config) -> str:
    """Return a warning if files of pytest-benchmark were requested under xdist, where it silently writes none."""
    requested = [name for name in _OUTPUT_OPTIONS if config.getoption(f"benchmark_{name}", None)]
    if not requested:
        return ""
    return (
        f"pytest-benchmark writes nothing under xdist, so --benchmark-{requested[0]} had no effect: "
        "--trt-report=benchmark-json:PATH writes the same keys"
    )
