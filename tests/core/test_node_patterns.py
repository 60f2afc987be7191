"""Test that patterns match whole node ids, and that no pattern takes long."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_trt.core.node_patterns import matches


@pytest.mark.parametrize(
    ("pattern", "node_id", "expected"),
    [
        ("test_a.py::test[fp16-*]", "test_a.py::test[fp16-b1]", True),
        ("test_a.py::test[fp16-*]", "test_a.py::test[fp32-b1]", False),
        ("*", "", True),
        ("", "", True),
        ("", "a", False),
        ("**", "anything\nat all", True),
        ("?", "\n", True),
        ("a?c", "abc", True),
        ("a?c", "ac", False),
        ("ab*bc", "abc", False),
        ("ab*bc", "abbc", True),
        ("*a*b", "xaxbxb", True),
        ("*a?a*", "xxabaxx", True),
        ("*.onnx", "model.onnx.txt", False),
        ("a.c", "abc", False),
    ],
)
def test_pattern_matches_whole_node_id(pattern: str, node_id: str, expected: bool) -> None:
    assert matches(pattern, node_id) is expected


@settings(max_examples=500, deadline=None, derandomize=True)
@given(st.text("ab*?", max_size=8), st.text("ab", max_size=10))
def test_same_answer_as_regular_expression(pattern: str, node_id: str) -> None:
    parts = {"*": ".*", "?": "."}
    expected = re.fullmatch("".join(parts.get(c, c) for c in pattern), node_id) is not None
    assert matches(pattern, node_id) is expected


@pytest.mark.parametrize("part", ["*a", "*a?", "*?", "*?a", "a*"])
def test_many_stars_end_at_once(part: str) -> None:
    """A regular expression with `.*` for each star does not end on these. A process of its own can be given up."""
    code = f"from pytest_trt.core.node_patterns import matches; print(matches({part!r} * 40 + 'b', 'a' * 5000))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "False"
