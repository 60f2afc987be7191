"""The table of the figures of a measurement.

A new figure is one row here, and the code that measures it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any


@dataclasses.dataclass(frozen=True)
class Figure:
    """A frozen record of the meaning of a figure such as `p99_ms`.

    Attributes:
        unit: The unit in reports.
        title: The name in reports, as it is written in the middle of a sentence.
        higher_is_better: Whether a lower value is worse.
        budget: Whether `trt_budget` accepts a limit on the figure.
        tolerance: How much worse than the baseline's the figure may be, as a share, unless the user says otherwise.
            None means that the figure is compared only on request.
        at_least_of: The figure whose tolerance applies instead if it is wider: throughput may fall as far as latency
            may rise.
        occurs_once: Whether a run has a single value of the figure although it scatters, such as the time of loading.
            Its scatter shows only in the history.
        in_history: Whether the history of a baseline keeps the figure of every run.
        column: The title of the column in the table of results. It is empty if the table does not show the figure.
        on_request: Whether the figure is measured only if a budget, a tolerance or an option requests it, because that
            takes long. Its column is shown only if a test has the figure.
        of_generation: Whether the figure is that of a generation, which only tests with `trt_generate` have. The same
            holds for its column.
    """

    unit: str
    title: str
    higher_is_better: bool = False
    budget: bool = True
    tolerance: float | None = None
    at_least_of: str = ""
    occurs_once: bool = False
    in_history: bool = True
    column: str = ""
    on_request: bool = False
    of_generation: bool = False

    @property
    def is_size(self) -> bool:
        """Whether the figure is a size, which hardly scatters."""
        return self.unit == "MB"

    @property
    def gated(self) -> bool:
        """Whether the figure is compared with the baseline by default, and fails a test that is worse."""
        return self.tolerance is not None


def _once(unit: str, title: str) -> Figure:
    """Return a cost that occurs once in a run, and scatters from run to run."""
    return Figure(unit, title, occurs_once=True)


def _part(unit: str, title: str) -> Figure:
    """Return a part of another figure. It is reported, and has neither a budget nor a history."""
    return Figure(unit, title, budget=False, in_history=False)


def _generated(unit: str, title: str, **more: Any) -> Figure:
    """Return a figure of a generation (`trt_generate`)."""
    return Figure(unit, title, of_generation=True, **more)


# The tolerances come from benchmarks/gate_aa.py, which compares an unchanged engine with its own baseline. On a busy
# CPU, the largest ratio of two values of host_mb was 1.17 (docs/results/2026-11-30-cpu-gates.md). The size of an
# unchanged engine does not move at all; its tolerance leaves room for another build.
FIGURES: Mapping[str, Figure] = {
    "ms": Figure("ms", "latency", tolerance=0.05, column="ms"),
    "gpu_ms": Figure("ms", "GPU compute"),
    "p95_ms": Figure("ms", "p95 latency"),
    "p99_ms": Figure("ms", "p99 latency", column="p99 ms"),
    "throughput": Figure("inf/s", "throughput", higher_is_better=True, tolerance=0.2, at_least_of="ms", column="inf/s"),
    "ttft_ms": _generated("ms", "time to the first token", tolerance=0.2, at_least_of="ms", column="ttft ms"),
    "itl_ms": _generated("ms", "time between tokens", tolerance=0.2, at_least_of="ms", column="itl ms"),
    "itl_p99_ms": _generated("ms", "p99 time between tokens"),
    "tokens_s": _generated("tokens/s", "generation", higher_is_better=True),
    "kv_mb": _generated("MB", "state after a generation", tolerance=0.05, at_least_of="memory_mb"),
    "memory_mb": Figure("MB", "device memory", tolerance=0.05, column="memory MB"),
    "process_mb": Figure("MB", "device memory of the process", tolerance=0.1, at_least_of="memory_mb"),
    "host_mb": Figure("MB", "host memory", tolerance=0.25, at_least_of="memory_mb", column="host MB"),
    "engine_mb": Figure("MB", "engine size", tolerance=0.1),
    "energy_mj": Figure("mJ", "energy an inference", column="mJ", on_request=True),
    "power_w": Figure("W", "power", on_request=True),
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
    "net_energy_mj": Figure("mJ", "energy above idle", budget=False, in_history=False, on_request=True),
    "idle_w": Figure("W", "idle power", budget=False, in_history=False, on_request=True),
}

ON_REQUEST = frozenset(name for name, figure in FIGURES.items() if figure.on_request)
"""The figures that are measured only on request: those of the energy."""


OF_GENERATION = frozenset(name for name, figure in FIGURES.items() if figure.of_generation)
"""The figures of a generation."""


def status_words(status: str, figure: str = "") -> str:
    """Return a status for a person: `over budget`, or `below budget` if a higher figure is better."""
    if status == "over_budget" and figure in FIGURES and FIGURES[figure].higher_is_better:
        return "below budget"
    return status.replace("_", " ")
