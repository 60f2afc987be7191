"""What the plugin keeps with a test while it runs."""

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
"""Usage errors with which, in a worker, a test fails: only the controller can end the run with status 4."""
STORED: pytest.StashKey[bool] = pytest.StashKey()
"""Of a test that is none of ours: it was once, and its baseline is still there."""
CASES: pytest.StashKey[Sequence[pytest.Item]] = pytest.StashKey()
"""All items that pytest made of the test's function."""
