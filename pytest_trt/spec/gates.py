"""Which figures of a test are compared with its baseline, and how much worse each of them may be.

requested = {"engine_mb": 0.1, "host_mb": None}  # None: not compared
gates = choose_gates(requested, {"ms": 0.05, "memory_mb": 0.05})
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from pytest_trt.core.figures import FIGURES
from pytest_trt.core.validation import parse_share, suggest
from pytest_trt.errors import DeclarationError

OFF = "off"
"""The value that switches the comparison of a figure off."""

OWN_SETTINGS = {"ms": "max_slowdown", "memory_mb": "max_memory_growth"}
"""The figures whose tolerance has an argument and an option of its own, with their names."""

LARGEST = 10.0
"""The largest tolerance, as a share: a time of building or loading may well double."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Gate:
    """A figure that is compared with the baseline.

    Attributes:
        figure: The name of the figure.
        tolerance: How much worse the figure may be, as a share.
        requested: Whether a marker, an option or an ini setting requests the comparison. A requested figure that
            cannot be compared has a verdict that says so; any other is left out.
    """

    figure: str
    tolerance: float
    requested: bool = False


def parse_gate(figure: str, value: Any, where: str) -> float | None:
    """Return the tolerance that a marker, an option or an ini setting requests for a figure; None if it is `off`.

    Args:
        figure: The name of the figure.
        value: A share such as `"10%"` or 0.1, or `"off"`.
        where: The start of error messages.

    Raises:
        DeclarationError: There is no such figure, the value is not a share, or the figure has a setting of its own.
    """
    if figure not in FIGURES:
        raise DeclarationError(f"{where}: there is no figure {figure!r}: {_suggest_figure(figure)}")
    if value == OFF:
        return None
    if hint := f"to switch it off, write {OFF!r}" if value is False else suggest(value, (OFF,), ""):
        raise DeclarationError(f"{where} is {value!r}: {hint}")
    tolerance = parse_share(value, where, below=LARGEST)
    if tolerance is None:
        raise DeclarationError(f"{where} is None: write a share such as '10%', or '{OFF}'")
    if figure in OWN_SETTINGS:
        own = OWN_SETTINGS[figure]
        raise DeclarationError(f"{where} is {value!r}: {figure} accepts only '{OFF}'; its tolerance is set by {own}")
    return tolerance


def _suggest_figure(name: str) -> str:
    return suggest(name, FIGURES, f"choose from {', '.join(FIGURES)}")


def choose_gates(requested: Mapping[str, float | None], own: Mapping[str, float]) -> dict[str, Gate]:
    """Return the figures to compare, by name: those that are requested, and those that are compared by default.

    Args:
        requested: The tolerance of each requested figure, as a share; None for a figure that is not compared.
        own: The tolerances of the figures in `OWN_SETTINGS`.
    """
    gates: dict[str, Gate] = {}
    for name, figure in FIGURES.items():
        if name in requested:
            tolerance = requested[name]
            if tolerance is not None:
                gates[name] = Gate(figure=name, tolerance=tolerance, requested=True)
        elif name in own:
            gates[name] = Gate(figure=name, tolerance=own[name])
        elif figure.tolerance is not None:
            gates[name] = Gate(figure=name, tolerance=max(figure.tolerance, own.get(figure.at_least_of, 0.0)))
    return gates
