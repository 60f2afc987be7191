"""Thin out samples and blocks for plots: a page of 1,000 tests must stay small, and a plot has few pixels."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from typing import Any

from pytest_trt.core.clock_reasons import decode_reasons
from pytest_trt.core.records import Block, Measurement

_STATES = {"sm_mhz": "clock", "temperature_c": "temperature", "power_w": "power"}
"""The state of the GPU after each block that has a plot, and the name of its series."""

_HARMLESS = frozenset(("idle", "application clocks"))
"""Reasons that do not lower a clock under load."""


def distribution(measurement: Measurement, most: int) -> list[float]:
    """Return at most `most` latencies that have the distribution of all samples: evenly spread order statistics."""
    ordered = sorted(ms for block in _blocks(measurement) for ms in block.times.get("ms", ()))
    if len(ordered) <= most:
        return [_rounded(ms) for ms in ordered]
    last = len(ordered) - 1
    return [_rounded(ordered[round(number * last / (most - 1))]) for number in range(most)]


def blocks_over_time(measurement: Measurement, most: int) -> dict[str, Any]:
    """Return series over the blocks: their time in s, median latency, probe, and the state of the GPU after each.

    Of more than `most` blocks, evenly spread ones are kept. A series that no block has is left out.
    """
    rows = list(_rows(measurement))
    if len(rows) > most:
        rows = [rows[number * len(rows) // most] for number in range(most)]
    columns: dict[str, Any] = {name: [row.get(name) for row in rows] for name in ("t", "ms", "probe")}
    for name in (*_STATES.values(), "reasons"):
        if any(row.get(name) for row in rows):
            columns[name] = [row.get(name) for row in rows]
    return columns if rows else {}


def _rows(measurement: Measurement) -> Iterator[dict[str, Any]]:
    seconds = 0.0
    for samples in measurement.samples:
        for block in samples.blocks:
            seconds += block.seconds
            if not block.times.get("ms"):
                continue
            states = {name: _rounded(block.state[key], 4) for key, name in _STATES.items() if key in block.state}
            reasons = [r for r in decode_reasons(block.state.get("reasons", 0)) if r not in _HARMLESS]
            ms = _rounded(statistics.median(block.times["ms"]))
            yield {"t": _rounded(seconds, 5), "ms": ms, "probe": samples.probe, "reasons": ", ".join(reasons), **states}


def _blocks(measurement: Measurement) -> Sequence[Block]:
    return [block for samples in measurement.samples for block in samples.blocks]


def _rounded(value: float, digits: int = 6) -> float:
    """Return the value with few significant digits, which halves the size of its JSON."""
    return float(f"{value:.{digits}g}")
