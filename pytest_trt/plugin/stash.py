"""The keys under which the plugin stores data in the stash of a test."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pytest_trt.core.records import Result
    from pytest_trt.spec.declaration import Declaration
    from pytest_trt.trial.trial import Trial

DECLARATION: pytest.StashKey[Declaration] = pytest.StashKey()
TRIAL: pytest.StashKey[Trial] = pytest.StashKey()
RESULT: pytest.StashKey[Result] = pytest.StashKey()
PROBLEMS: pytest.StashKey[str] = pytest.StashKey()
"""Usage errors with which a test fails in a worker: only the controller can end the run with status 4."""
ABSENT: pytest.StashKey[str] = pytest.StashKey()
"""Why there is no device of the name that the test declares."""
STORED: pytest.StashKey[bool] = pytest.StashKey()
"""Set for a test that no longer uses a fixture of this plugin, but still has a baseline."""
COUNTED_MARKERS: pytest.StashKey[tuple[pytest.Mark, ...]] = pytest.StashKey()
"""The markers of this plugin that the test had when it was declared. Only these have an effect."""
FAILED: pytest.StashKey[bool] = pytest.StashKey()
"""Whether the body of the current try raised an exception: a failure, a skip, or an error."""
VERDICT_FAILED: pytest.StashKey[bool] = pytest.StashKey()
"""Set if a verdict of this plugin made the current try fail."""
CASES: pytest.StashKey[Sequence[pytest.Item]] = pytest.StashKey()
"""All items that pytest made of the test's function."""
