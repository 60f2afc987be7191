"""Budget files: which tests a budget matches, and the errors of an invalid file."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_trt.errors import DeclarationError
from pytest_trt.spec.budget_file import BudgetFile, read_budgets

GOOD = """
[[budget]]
test = "tests/test_models.py::test_resnet18[fp16-*]"
device = "H200"
ms = 0.31
memory_mb = 700
where = { batch = 1 }

[[budget]]
test = "tests/*"
throughput = 1000
"""


def read(folder: Path, text: str) -> BudgetFile:
    path = folder / "trt-budgets.toml"
    path.write_text(text)
    return read_budgets(path)


def test_budgets_match_node_ids(tmp_path: Path) -> None:
    budgets = read(tmp_path, GOOD)
    first, second = budgets.matching("tests/test_models.py::test_resnet18[fp16-b1]")
    assert (first.device, first.limits, first.where) == ("H200", {"ms": 0.31, "memory_mb": 700}, {"batch": 1})
    assert (second.device, second.limits) == ("gpu", {"throughput": 1000})
    assert len(budgets.matching("tests/test_models.py::test_resnet18[fp32-b1]")) == 1
    assert budgets.matching("other/test_models.py::test_resnet18[fp16-b1]") == ()


def test_square_brackets_are_literal(tmp_path: Path) -> None:
    budgets = read(tmp_path, '[[budget]]\ntest = "t.py::t[ab]"\nms = 1')
    assert budgets.matching("t.py::t[ab]")
    assert not budgets.matching("t.py::ta")


def test_pattern_without_a_test_is_reported(tmp_path: Path) -> None:
    assert read(tmp_path, GOOD).unmatched_patterns(["tests/test_other.py::t"]) == (
        "tests/test_models.py::test_resnet18[fp16-*]",
    )


def test_parameter_that_no_matching_test_has_is_reported(tmp_path: Path) -> None:
    budgets = read(tmp_path, "[[budget]]\ntest = 't*'\nms = 1\nwhere = { batch = 1, precison = 'fp16' }")
    assert list(budgets.unmatched_where({"ta": {"batch": 1}, "tb": {}, "other": {"precison": "fp16"}})) == [
        ("t*", "no test that matches 't*' has the parameter 'precison'")
    ]
    assert not list(budgets.unmatched_where({"other": {}})), (
        "a pattern without a test is reported by unmatched_patterns"
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[[budget", "is not valid TOML"),
        ("", "contains no budget"),
        ("budget = 3", "contains no budget"),
        ("budget = [3]", "3 is not a table"),
        ("[[budgets]]\nms = 1", "has the unknown key 'budgets'"),
        ("[[budget]]\nms = 1", "does not name its tests"),
        ("[[budget]]\ntest = 3\nms = 1", "does not name its tests"),
        ("[[budget]]\ntest = 't'", "no limit is given"),
        ("[[budget]]\ntest = 't'\nmemory_mbb = 1", "did you mean 'memory_mb'"),
        ("[[budget]]\ntest = 't'\nms = 'fast'", "ms must be of type float"),
        ("[[budget]]\ntest = 't'\nms = -1", "a limit must be above 0"),
        ("[[budget]]\ntest = 't'\nms = nan", "finite"),
        ("[[budget]]\ntest = 't'\nms = 1\ndevice = ''", "the device is empty"),
        ("[[budget]]\ntest = 't'\nms = 1\nwhere = 3", "where must be a mapping"),
    ],
)
def test_invalid_budget_is_reported(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DeclarationError, match=message):
        read(tmp_path, text)


def test_all_invalid_budgets_are_reported_together(tmp_path: Path) -> None:
    with pytest.raises(DeclarationError, match=r"budget 1: .*\n.*budget 2: "):
        read(tmp_path, "[[budget]]\nms = 1\n[[budget]]\ntest = 't'")


def test_missing_file_names_the_option(tmp_path: Path) -> None:
    with pytest.raises(DeclarationError, match="correct --trt-budgets, or trt_budgets in the ini file"):
        read_budgets(tmp_path / "nothing.toml")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a." * 100_000 + "a = 1", "has a line of 200005 characters: the limit is 4096"),
        ("[[budget]]\n" * 400_000, "is larger than 4000000 bytes"),
        (f"[[budget]]\ntest = '*'\nms = {'9' * 4_000}", "must be a finite number"),
        (f"[[budget]]\ntest = '*'\nms = 0x{'9' * 4_000}", "must be a finite number"),
        ("a = " + "[\n" * 100_000, "is not valid TOML"),
        ("a." * 1_500 + "a = 1", "has the unknown key 'a'"),
        ("[[budget]]\ntest = '*'\nwhere" + ".a" * 1_500 + " = 1", "where.a is nested more than 64 levels deep"),
        (f"[[budget]]\n{'x' * 4_000} = 1", r"unknown key 'x+\.\.\."),
    ],
)
def test_hostile_file_is_an_error(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DeclarationError, match=message):
        read(tmp_path, text)
