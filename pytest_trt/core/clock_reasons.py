"""Name the reasons why the clock of a GPU is lower than it could be."""

from __future__ import annotations

from collections.abc import Mapping

CLOCK_EVENT_REASONS: Mapping[str, int] = {
    "idle": 0x1, "application clocks": 0x2, "power cap": 0x4, "hardware slowdown": 0x8, "sync boost": 0x10,
    "software thermal slowdown": 0x20, "hardware thermal slowdown": 0x40, "power brake": 0x80, "display clocks": 0x100,
}  # fmt: skip
"""NVML's clock event reasons, by name, with their bits in the mask (nvmlClocksEventReasons)."""


def decode_reasons(mask: float) -> tuple[str, ...]:
    """Return the names of the clock event reasons that are set in NVML's mask."""
    return tuple(name for name, bit in CLOCK_EVENT_REASONS.items() if int(mask) & bit)
