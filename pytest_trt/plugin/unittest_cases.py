"""Find out how the body of a unittest test ended, and let the test fail.

unittest.TestCase catches what its tests raise. pytest keeps the exception until it makes the report, where it takes
precedence over any exception that is raised later.
"""

from __future__ import annotations

import sys
from typing import NoReturn

import pytest

from pytest_trt.core.foreign_text import escape_lines


def caught_exception(item: pytest.Item) -> BaseException | None:
    """Return the exception that ended a TestCase's test.

    It is None if the test passed. It is also None for a plain test function, whose exceptions reach the hooks.
    """
    found = getattr(item, "_excinfo", None)
    return found[0].value if found else None


def is_overridden(item: pytest.Item, error: BaseException) -> bool:
    """Return whether a verdict takes precedence over how the test ended.

    It takes precedence over a skip, and over the success of a test that unittest expects to fail.
    """
    unittest = sys.modules.get("unittest")
    skips = (pytest.skip.Exception, unittest.SkipTest) if unittest else pytest.skip.Exception
    if isinstance(error, skips):
        return True
    failed = isinstance(error, pytest.fail.Exception) and not isinstance(error, pytest.xfail.Exception)
    return failed and _expects_failure(item)


def _expects_failure(item: pytest.Item) -> bool:
    owners = (getattr(item, "cls", None), getattr(item, "obj", None))
    return any(getattr(owner, "__unittest_expecting_failure__", False) for owner in owners)


def fail_test(item: pytest.Item, text: str) -> NoReturn:
    """Fail the test with `text`, however its body ended; a failure that unittest expects is an xfail."""
    expected = False
    if (found := getattr(item, "_excinfo", None)) is not None:
        found.clear()
        expected = _expects_failure(item)
    if expected:
        pytest.xfail(escape_lines(text))
    pytest.fail(escape_lines(text), pytrace=False)
