"""Read the host's load, and which processors this process may use."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path


def read() -> dict[str, float]:
    """Return the current load, without the values that this system does not report.

    Returns:
        `load_1min`, the load average of the last minute, and `running`, the number of runnable threads.
    """
    try:
        load, _, _, threads, _ = Path("/proc/loadavg").read_text().split()
    except (OSError, ValueError):
        return {"load_1min": os.getloadavg()[0]} if hasattr(os, "getloadavg") else {}
    return {"load_1min": float(load), "running": float(threads.partition("/")[0])}


def affinity() -> str:
    """Return the processors that this process and its probes may run on, such as `0-3 8`; empty if unknown."""
    return format_ranges(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else ""


def format_ranges(numbers: Collection[int]) -> str:
    """Return whole numbers as a short list of ranges, such as `0-3 8`."""
    ranges: list[list[int]] = []
    for number in sorted(numbers):
        if ranges and number == ranges[-1][1] + 1:
            ranges[-1][1] = number
        else:
            ranges.append([number, number])
    return " ".join(f"{first}-{last}" if last > first else str(first) for first, last in ranges)


def proof(states: Iterable[Mapping[str, float]]) -> dict[str, str]:
    """Return what a measurement records of the host: `affinity`, and `host load`, the range of the load.

    Args:
        states: Readings of `read` before, during and after the measurement.
    """
    loads = [state["load_1min"] for state in states if "load_1min" in state]
    texts = {"affinity": affinity(), "host load": f"{min(loads):.2f} to {max(loads):.2f}" if loads else ""}
    return {name: text for name, text in texts.items() if text}
