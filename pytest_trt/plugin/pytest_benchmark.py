"""Work together with pytest-benchmark: pass latencies to it, and keep its options from changing verdicts."""

from __future__ import annotations

import os
import shlex
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pytest_trt.core.records import Result

_OUTPUT_OPTIONS = ("json", "save", "autosave", "compare", "histogram")
_SHOWN = pytest.StashKey[bool]()


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
    """Add the measured latencies to pytest-benchmark's table and files, if it is enabled and has any."""
    state = getattr(item.config, "_benchmarksession", None)
    if state is None or state.skip or state.disabled or result.measurement is None or not _shows_anything(item):
        return
    from pytest_trt.report import benchmark_json

    benchmark_json.fill_fixture(item._request.getfixturevalue("benchmark"), result)  # type: ignore[attr-defined]


def _shows_anything(item: pytest.Item) -> bool:
    """Return whether one of pytest-benchmark's options was given, or a test uses its fixture.

    Otherwise its table would repeat ours, and its statistics take 0.02 s for 9,000 samples of a test.
    """
    stash = item.config.stash
    if _SHOWN not in stash:
        others = any("benchmark" in getattr(other, "fixturenames", ()) for other in item.session.items)
        stash[_SHOWN] = others or _has_options(item.config)
    return stash[_SHOWN]


def _has_options(config: pytest.Config) -> bool:
    """Return whether an option of pytest-benchmark was given."""
    defaults = (*config.getini("addopts"), *shlex.split(os.environ.get("PYTEST_ADDOPTS", "")))
    return any(str(word).startswith("--benchmark-") for word in (*defaults, *config.invocation_params.args))


def xdist_warning(config: pytest.Config) -> str:
    """Return a warning if files of pytest-benchmark were requested under xdist, where it silently writes none."""
    requested = [name for name in _OUTPUT_OPTIONS if config.getoption(f"benchmark_{name}", None)]
    if not requested:
        return ""
    return (
        f"pytest-benchmark writes nothing under xdist, so --benchmark-{requested[0]} had no effect: "
        "--trt-report=benchmark-json:PATH writes the same keys"
    )
