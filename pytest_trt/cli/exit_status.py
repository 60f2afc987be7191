"""Exit statuses of commands that compare."""

from __future__ import annotations

from pytest_trt.core.records import Result, Status

FAILED, UNDECIDED = 1, 125
"""Exit statuses; 125 makes `git bisect run` skip a commit that cannot be judged."""


def exit_status(results: tuple[Result, ...], failing: frozenset[Status]) -> int:
    """What the results say to whoever called: gated comes before undecided."""
    statuses = {result.status for result in results}
    if statuses & failing:
        return FAILED
    return UNDECIDED if statuses & {"inconclusive", "invalid"} else 0
