"""Format the numbers, changes and times of a report."""

from __future__ import annotations

import math

from pytest_trt.core.figures import FIGURES
from pytest_trt.core.records import Estimate


def format_number(value: float, digits: int = 4) -> str:
    """Return `value` with up to `digits` significant digits, without a separator of thousands: tools read it.

    All digits before the decimal point are kept. Values from 0.1 to below 10 have the same number of decimals, so that
    they line up in a column; smaller values keep three significant digits.
    """
    magnitude = math.floor(math.log10(abs(value))) if value else 0
    decimals = 2 - magnitude if magnitude < -1 else max(0, digits - 1 - max(magnitude, 0))
    return f"{value:.{decimals}f}"


def format_figure(name: str, value: float) -> str:
    """Return the value of the figure `name` without its unit. Sizes and seconds have fewer digits than latencies."""
    unit = FIGURES[name].unit if name in FIGURES else ""
    return format_number(value, 3 if unit in ("MB", "s") else 4)


def format_limit(limit: float) -> str:
    """Return a limit as it was declared, such as `10` or `0.31`."""
    return f"{limit:.0f}" if abs(limit) >= 1e6 else f"{limit:.6g}"


def format_with_unit(name: str, value: float) -> str:
    """Return the value of the figure `name` with its unit, such as `0.272 ms`."""
    unit = FIGURES[name].unit if name in FIGURES else ""
    return f"{format_figure(name, value)} {unit}".rstrip()


def format_change(ratio: Estimate) -> str:
    """Return a ratio of new to old as a change with its interval: 1.11 is `+11.0 % [+10.8, +11.2]`.

    An exact ratio, whose interval is a single point, has no interval.
    """
    interval = "" if ratio.low == ratio.high else f" [{format_percent(ratio.low)}, {format_percent(ratio.high)}]"
    return f"{format_percent(ratio.value)} %{interval}"


def format_percent(ratio: float) -> str:
    """Return a ratio of new to old as a signed change in percent without the unit: 1.11 is `+11.0`."""
    points = 100 * (ratio - 1)
    return f"{points:+.0f}" if abs(points) >= 1000 else f"{points:+.1f}"


def format_share(value: float) -> str:
    """Return a share in percent: 0.003 is `0.3 %`. A share above 10 has no meaningful digits and is not written out."""
    if value > 10:
        return "more than 1000 %"
    return f"{100 * value:.2g} %" if value < 0.1 else f"{100 * value:.0f} %"


def format_duration(seconds: float) -> str:
    """Return a duration for a person: `0.4 s`, `27 s`, `3 min 20 s`, `2 h 1 min`."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def format_count(count: int, noun: str) -> str:
    """Return a count with its noun: `1 engine`, `2 engines`."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
