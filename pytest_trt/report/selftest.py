"""Show a self-test: in full for the command, and in one line for the header of later runs."""

from __future__ import annotations

from collections.abc import Iterator

from pytest_trt.core.selftest_record import SelftestRecord, SlowdownCount
from pytest_trt.report.numbers import format_count

_MOST_NAMES = 10


def headline(record: SelftestRecord) -> str:
    """Return the self-test in one line, for the header of a run."""
    caught = [count for count in record.slowdowns if count.caught == count.slower]
    missed = [count for count in record.slowdowns if count.caught < count.slower]
    parts = [f"catches {_listed(caught)}"] if caught else []
    parts += [f"does not catch {_listed(missed)}"] if missed else []
    parts.append(f"{record.false_alarms or 'no'} false of {record.same} alike")
    inverted = sum(count.inverted for count in record.slowdowns)
    parts += [f"{inverted} inverted"] if inverted else []
    parts += [f"{format_count(len(record.unable), 'test')} cannot fail"] if record.unable else []
    return f"self-test of {record.time[:10]} ({record.model}): {'; '.join(parts)}"


def lines(record: SelftestRecord) -> Iterator[str]:
    """Yield the self-test line by line."""
    limits = f"a tolerance of {100 * record.tolerance:g} %, at most {record.max_time_s:g} s a measurement"
    yield f"{record.model} on {record.device}, with {limits}:"
    undecided = f", {record.same_inconclusive} inconclusive" if record.same_inconclusive else ""
    yield f"  against itself: {record.false_alarms} of {record.same} false alarms{undecided}"
    yield from (f"  {_sentence(count, record.tolerance)}" for count in record.slowdowns)
    if not record.tests:
        yield "there is no last run: run pytest, then this again, to see which tests cannot fail"
        return
    yield f"{len(record.unable)} of {format_count(record.tests, 'test')} of the last run cannot fail"
    yield from (f"  {name}: {reason}" for name, reason in record.unable[:_MOST_NAMES])
    if len(record.unable) > _MOST_NAMES:
        yield f"  and {len(record.unable) - _MOST_NAMES} more"


def _sentence(count: SlowdownCount, tolerance: float) -> str:
    parts = [f"{_change(count)}: caught in {count.caught} of {count.slower}"]
    if count.share <= tolerance:
        parts[0] += " (within the tolerance)"
    parts.append(f"{count.inverted} of {count.slower + count.faster} in the wrong direction")
    parts += [f"{count.inconclusive} inconclusive"] if count.inconclusive else []
    parts += [f"measured {100 * count.measured:+.1f} %"] if count.measured is not None else []
    return ", ".join(parts)


def _listed(counts: list[SlowdownCount]) -> str:
    return ", ".join(_change(c) + (f" ({c.caught} of {c.slower})" if 0 < c.caught < c.slower else "") for c in counts)


def _change(count: SlowdownCount) -> str:
    return f"{100 * count.share:+.3g} %" if count.share < 1 else f"x{1 + count.share:.3g}"
