"""What the host says of itself: which processors this process may use, and how busy they are."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path


def read() -> dict[str, float]:
    """The load now: `load_1min`, the load average, and `running`, how many threads run or want to; what this system
    does not tell is left out."""
    try:
        load, _, _, threads, _ = Path("/proc/loadavg").read_text().split()
    except (OSError, ValueError):
        return {"load_1min": os.getloadavg()[0]} if hasattr(os, "getloadavg") else {}
    return {"load_1min": float(load), "running": float(threads.partition("/")[0])}


def affinity() -> str:
    """The processors that this process, and its probes, may run on, such as `0-3 8`; nothing where that is not told."""
    return ranges(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else ""


def ranges(numbers: Collection[int]) -> str:
    """Whole numbers in short: `0-3 8`."""
    found: list[list[int]] = []
    for number in sorted(numbers):
        if found and number == found[-1][1] + 1:
            found[-1][1] = number
        else:
            found.append([number, number])
    return " ".join(f"{first}-{last}" if last > first else str(first) for first, last in found)


def proof(states: Iterable[Mapping[str, float]]) -> dict[str, str]:
    """What to record of it, from the states after each block: the affinity, and the load while blocks were taken."""
    loads = [state["load_1min"] for state in states if "load_1min" in state]
    said = {"affinity": affinity(), "host load": f"{min(loads):.2f} to {max(loads):.2f}" if loads else ""}
    return {name: text for name, text in said.items() if text}
