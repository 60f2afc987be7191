"""The exit statuses of the commands."""

from __future__ import annotations

from pytest_trt.core.records import Result, Status

FAILED = 1
"""A verdict fails."""

USAGE_ERROR = 2
"""The arguments are invalid, or a file, model or device cannot be used. argparse has the same status."""

CRASHED = 70
"""The command failed with an unexpected exception, and decided nothing: EX_SOFTWARE of sysexits.h."""

UNDECIDED = 125
"""No verdict fails, and some are undecided. `git bisect run` skips a commit with this status."""

INTERRUPTED = 130
"""The user pressed Ctrl+C: 128 plus the number of SIGINT, as shells have it."""


def exit_status(results: tuple[Result, ...], failing: frozenset[Status]) -> int:
    """Return FAILED if a result has a failing status, else UNDECIDED if one is undecided, else 0."""
    statuses = {result.status for result in results}
    if statuses & failing:
        return FAILED
    return UNDECIDED if statuses & {"inconclusive", "invalid"} else 0
