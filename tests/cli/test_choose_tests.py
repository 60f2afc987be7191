"""Test how a command's argument names tests."""

from __future__ import annotations

import pytest

from pytest_trt.cli.choose_tests import choose_tests
from pytest_trt.errors import DeclarationError

TESTS = [
    "tests/test_models.py::test_resnet18[fp16-b8-S32]",
    "tests/test_models.py::test_resnet18[fp16-b8-S128]",
    "tests/test_models.py::test_encoder",
    "tests/test_models.py::test_encoder_long",
]


def chosen(test: str) -> list[int]:
    return sorted(map(TESTS.index, choose_tests(test, TESTS, "there is no test", "list them")))


@pytest.mark.parametrize(
    ("test", "numbers"),
    [
        (TESTS[0], [0]),
        ("S128", [1]),
        ("resnet18[fp16-b8-S32]", [0]),
        ("test_encoder", [2]),
        ("ENCODER_LONG", [3]),
        ("*resnet*", [0, 1]),
        ("*", [0, 1, 2, 3]),
        ("tests/test_models.py::test_resnet18[fp16-b8-S=128]", [1]),
        ("*[*-S=32]", [0]),
    ],
)
def test_a_test_is_named_by_its_id_a_pattern_or_a_unique_part(test: str, numbers: list[int]) -> None:
    assert chosen(test) == numbers


def test_a_part_of_several_ids_is_an_error_that_lists_them() -> None:
    with pytest.raises(DeclarationError, match=r"'resnet18' is a part of 2 tests: .*S32\], .*S128\]: give more"):
        chosen("resnet18")


@pytest.mark.parametrize(
    ("test", "message"),
    [("resnet81", "did you mean '.*resnet18"), ("encodr", "did you mean '.*encoder'"), ("zebra", "list them")],
)
def test_an_unknown_test_suggests_the_nearest(test: str, message: str) -> None:
    with pytest.raises(DeclarationError, match=f"there is no test {test!r}: {message}"):
        chosen(test)
