"""How a report writes a number, a change and a time."""

from __future__ import annotations

import math

from pytest_trt.core.figures import FIGURES
from pytest_trt.core.records import Estimate

THIN_SPACE = "\u2009"


def format_number(value: float, digits: int = 4) -> str:
    """`value` with up to `digits` significant digits, at least all before the point; thousands stand apart.

    Decimals are the same for all values below 10, so that a column of them lines up; a small one keeps three digits.
    """
    magnitude = math.floor(math.log10(abs(value))) if value else 0
    decimals = 2 - magnitude if magnitude < -1 else max(0, digits - 1 - max(magnitude, 0))
    return f"{value:,.{decimals}f}".replace(",", THIN_SPACE)


def format_figure(name: str, value: float) -> str:
    """A figure's value in the unit that its name gives, without the unit."""
    unit = FIGURES[name].unit if name in FIGURES else ""
    return format_number(value, 3 if unit in ("MB", "s") else 4)


def format_with_unit(name: str, value: float) -> str:
    """A figure's value and its unit, such as `0.272 ms`."""
    unit = FIGURES[name].unit if name in FIGURES else ""
    return f"{format_figure(name, value)} {unit}".rstrip()


def format_change(ratio: Estimate) -> str:
    """New over old as a change in percent, with its interval where it has one: 1.11 is `+11.0 % [+10.8, +11.2]`."""
    interval = "" if ratio.low == ratio.high else f" [{format_percent(ratio.low)}, {format_percent(ratio.high)}]"
    return f"{format_percent(ratio.value)} %{interval}"


def format_share(value: float) -> str:
    """A share in percent: 0.003 is `0.3 %`. Beyond 10, what it says is that it says nothing."""
    if value > 10:
        return "more than 1000 %"
    return f"{100 * value:.2g} %" if value < 0.1 else f"{100 * value:.0f} %"


def format_duration(seconds: float) -> str:
    """Seconds for a person: `0.4 s`, `27 s`, `3 min 20 s`."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def format_count(count: int, noun: str) -> str:
    """`1 engine`, `2 engines`."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def format_percent(ratio: float) -> str:
    """New over old as a change in percent, with its sign but no unit: 1.11 is `+11.0`."""
    points = 100 * (ratio - 1)
    return f"{points:+.0f}" if abs(points) >= 1000 else f"{points:+.1f}"
