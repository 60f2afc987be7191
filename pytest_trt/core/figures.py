"""The figures that a measurement has: their units, their titles, and which way is better."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping


@dataclasses.dataclass(frozen=True)
class Figure:
    """What a name like `p99_ms` means: its unit, what it is, and which way is better."""

    unit: str
    title: str
    higher_is_better: bool = False
    budget: bool = True


FIGURES: Mapping[str, Figure] = {
    "ms": Figure("ms", "latency"),
    "gpu_ms": Figure("ms", "GPU compute"),
    "p95_ms": Figure("ms", "p95 latency"),
    "p99_ms": Figure("ms", "p99 latency"),
    "throughput": Figure("inf/s", "throughput", higher_is_better=True),
    "memory_mb": Figure("MB", "device memory"),
    "process_mb": Figure("MB", "device memory of the process"),
    "host_mb": Figure("MB", "host memory"),
    "engine_mb": Figure("MB", "engine size"),
    "build_s": Figure("s", "build time"),
    "load_s": Figure("s", "load time"),
    "first_ms": Figure("ms", "first inference"),
    "host_ms": Figure("ms", "host latency", budget=False),
    "enqueue_ms": Figure("ms", "enqueue", budget=False),
    "h2d_ms": Figure("ms", "host to device", budget=False),
    "d2h_ms": Figure("ms", "device to host", budget=False),
    "max_ms": Figure("ms", "slowest sample", budget=False),
    "weights_mb": Figure("MB", "weights", budget=False),
    "context_mb": Figure("MB", "execution context", budget=False),
    "io_mb": Figure("MB", "I/O buffers", budget=False),
}
