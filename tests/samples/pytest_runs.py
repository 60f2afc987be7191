"""Lines of test files, and a reader of the output of pytest runs."""

from __future__ import annotations

import pytest

ENGINE = "import pytest\npytestmark = pytest.mark.trt_engine('m.onnx', dims={'N': (1, 4, 8)})\n"
"""The first lines of a test file: they declare the project's model."""

MEASURES = "def test_m(trt_runner): trt_runner.measure()\n"
"""A test that measures its engine."""


def error_of_each_test(result: pytest.RunResult) -> dict[str, str]:
    """Return the first line of each failing test's message by the test's name.

    Raises:
        AssertionError: The output has a traceback of this package.
    """
    out = result.stdout.str()
    assert "pytest_trt/" not in out
    assert "Traceback" not in out
    found: dict[str, str] = {}
    name = ""
    for line in result.stdout.lines[: out[: out.index("short test summary")].count("\n")]:
        if line.startswith("___"):
            name = line.strip("_ ")
            found[name] = ""
        elif name and not found[name]:
            found[name] = line
    return found
