"""Text from elsewhere: whatever it contains, it stays in its line, moves no cursor and commands no CI service."""

from __future__ import annotations

import pickle
import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_trt.core.foreign_text import escape, escape_lines
from pytest_trt.errors import BackendError, TrtError

HOSTILE = "X\n::error::pwned \x1b[31mred\x1b[0m\u202e"
FRAGMENTS = st.sampled_from(
    ["::", "##", "[", "::error::", "##vso[x]", "##[group]", "\n", "\r", "\x1b[2J", " ", "\\", "a"]
)
TEXTS = st.one_of(st.text(), st.lists(FRAGMENTS).map("".join))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\nb\r\x00\x7f\x9b", r"a\nb\r\x00\x7f\x9b"),
        ("\x1b[31mred", r"\x1b[31mred"),
        ("\u202etxt.\u2066\u200b\u2028", r"\u202etxt.\u2066\u200b\u2028"),
        ("::error file=a::b", r"\x3a:error file=a::b"),
        ("  ::set-output", r"  \x3a:set-output"),
        ("x ##[error]y ##vso[task]z", r"x \x23#[error]y \x23#vso[task]z"),
        ("\udcff", r"\udcff"),
        ("at https://u:secret@host/x", "at https://***@host/x"),
    ],
)
def test_what_could_be_interpreted_is_escaped(text: str, shown: str) -> None:
    assert escape(text) == shown


@pytest.mark.parametrize(
    "text",
    ["tests/a.py::test_b[fp16-b1]", "0.272 ms +11.0 % [+10.8]", "1\u2009000 inf/s", "Größe 尺寸 μs …", "C:\\x", "# 1"],
)
def test_ordinary_text_is_not_changed(text: str) -> None:
    assert escape(text) == text


@given(TEXTS)
def test_nothing_survives_that_a_terminal_or_a_ci_service_interprets(text: str) -> None:
    shown = escape(text)
    assert len(shown.splitlines()) <= 1
    assert not any(unicodedata.category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp") for character in shown)
    assert not shown.lstrip().startswith("::")
    assert not re.search(r"##\w*\[", shown)
    assert escape(shown) == shown


@given(st.lists(TEXTS.map(lambda text: text.replace("\n", "")), min_size=1))
def test_the_lines_of_a_text_are_kept(lines: list[str]) -> None:
    assert escape_lines("\n".join(lines)).split("\n") == [escape(line) for line in lines]


def test_an_error_has_the_lines_it_was_given_and_no_others() -> None:
    error = BackendError(f"no operator {HOSTILE}", "  ::notice::its log")
    assert str(error).splitlines() == [
        r"no operator X\n::error::pwned \x1b[31mred\x1b[0m\u202e",
        r"  \x3a:notice::its log",
    ]
    for same in (pickle.loads(pickle.dumps(error)), TrtError.from_text(str(error)), BackendError.from_text(str(error))):
        assert str(same) == str(error)


def test_an_error_without_a_message_is_empty() -> None:
    assert str(TrtError()) == ""
