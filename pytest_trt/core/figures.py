"""The figures that a measurement has.

A new figure is one row here and the code that measures it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping


@dataclasses.dataclass(frozen=True)
class Figure:
    """A frozen record of what a name such as `p99_ms` means.

    Attributes:
        unit: The unit that a person reads.
        title: The name that a person reads, in the middle of a sentence.
        higher_is_better: Whether a smaller value is worse.
        budget: Whether `trt_budget` takes a limit for it.
        gated: Whether a baseline gates it.
        in_history: Whether a baseline's history keeps it for every run.
        column: The head of its column in the table of results; empty where the table has none.
    """

    unit: str
    title: str
    higher_is_better: bool = False
    budget: bool = True
    gated: bool = False
    in_history: bool = True
    column: str = ""


def _once(unit: str, title: str) -> Figure:
    """A cost that comes once and scatters from run to run: it has a budget, and no history."""
    return Figure(unit, title, in_history=False)


def _part(unit: str, title: str) -> Figure:
    """A part of another figure: it is reported, and has neither a budget nor a history."""
    return Figure(unit, title, budget=False, in_history=False)


FIGURES: Mapping[str, Figure] = {
    "ms": Figure("ms", "latency", gated=True, column="ms"),
    "gpu_ms": Figure("ms", "GPU compute"),
    "p95_ms": Figure("ms", "p95 latency"),
    "p99_ms": Figure("ms", "p99 latency", column="p99 ms"),
    "throughput": Figure("inf/s", "throughput", higher_is_better=True, column="inf/s"),
    "memory_mb": Figure("MB", "device memory", gated=True, column="memory MB"),
    "process_mb": Figure("MB", "device memory of the process"),
    "host_mb": Figure("MB", "host memory", column="host MB"),
    "engine_mb": Figure("MB", "engine size"),
    "build_s": _once("s", "build time"),
    "load_s": _once("s", "load time"),
    "first_ms": _once("ms", "first inference"),
    "host_ms": _part("ms", "host latency"),
    "enqueue_ms": _part("ms", "enqueue"),
    "h2d_ms": _part("ms", "host to device"),
    "d2h_ms": _part("ms", "device to host"),
    "max_ms": _part("ms", "slowest sample"),
    "weights_mb": _part("MB", "weights"),
    "context_mb": _part("MB", "execution context"),
    "io_mb": _part("MB", "I/O buffers"),
}
