"""Test the sizes of dimensions whose names are expressions."""

from __future__ import annotations

import contextlib
import itertools
import time
import warnings

import pytest

from pytest_trt.engine.model.dim_expression import UnknownSizeError, parse_dim_name

KNOWN = {"N", "M", "batch", "past_sequence_length"}


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("2*N", 10), ("N*2", 10), ("2 * N", 10), ("2N", 10), ("N+1", 6), ("N + M", 8), ("N-M", 2), ("N - 1", 4),
        ("-M + N", 2), ("(N)", 5), ("N//2", 2), ("floor(N/2)", 2), ("ceiling(N/2)", 3), ("ceil(N/2)", 3),
        ("FloorDiv(N, 2)", 2), ("N**2", 25), ("Max(1, N, M)", 5), ("min(N, M)", 3), ("2*(N + 1)", 12), ("N*M/5", 3),
        ("past_sequence_length + 1", 8), ("N*0.2", 1), ("10*N - 3*M", 41),
    ],
)  # fmt: skip
def test_size_follows_from_the_variables(name: str, size: int) -> None:
    expression = parse_dim_name(name, KNOWN)
    assert expression is not None
    assert expression.size({"N": 5, "M": 3, "batch": 2, "past_sequence_length": 7}) == size


@pytest.mark.parametrize(
    "name",
    [
        None, "", "N", "batch_size", "unk__12", "x:0", "serving.x", "a[0]", "dim 1", "2", "-1", "2d", "rows-columns",
        "rows/columns", "N or M", "(N, M)", "N < M", "'\\d'", "\0", "N" * 201, "((((", "lambda: N", "r/c-d",
    ],
)  # fmt: skip
def test_other_names_are_plain(name: str | None) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert parse_dim_name(name, KNOWN) is None


def test_words_are_an_expression_if_one_is_a_dimension() -> None:
    assert parse_dim_name("batch-size", set()) is None
    assert parse_dim_name("N-size", KNOWN) is not None
    assert parse_dim_name("2*size", set()) is not None


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("N%2", "N % 2 cannot be evaluated"), ("Mod(N, 2)", r"Mod\(N, 2\) cannot be evaluated"),
        ("N^2", "cannot be evaluated"), ("floor(N, 2)", "cannot be evaluated"), ("N//(M-3)", "a divisor may be zero"),
        ("N/2", "N/2 is 2.5 for N=5, which is not a size"), ("M-N", "M-N is -2 for M=3, N=5, which is not a size"),
        ("N**9", "an exponent is not a number from 0 to 8"),
        ("N*K", "the size of 'K' is not known"), ("K*L", "the size of 'K' and of 'L' is not known"),
        ("N*1e308", "cannot be evaluated"), ("N + 'a'", "cannot be evaluated"), ("N*9999999999999999999", "cannot be"),
        ("((((N+9)**8)**8)**8)", "is too large"), ("N/(N/(N+3)**8)**8", "is too large|not a size"),
    ],
)  # fmt: skip
def test_size_that_does_not_follow_is_explained(name: str, message: str) -> None:
    expression = parse_dim_name(name, KNOWN)
    assert expression is not None
    with pytest.raises(UnknownSizeError, match=message):
        expression.size({"N": 5, "M": 3})


@pytest.mark.parametrize(
    "name", ["2*N", "N + M", "N - M + 9", "N*M", "N//M", "(N + 1)//2 * M", "Max(N, M)", "N*(9 - M)"]
)
def test_limits_cover_every_size(name: str) -> None:
    expression = parse_dim_name(name, KNOWN)
    assert expression is not None
    ranges = {"N": (2, 6), "M": (1, 4)}
    sizes = [expression.size({"N": n, "M": m}) for n, m in itertools.product(range(2, 7), range(1, 5))]
    assert expression.limits(ranges) == (min(sizes), max(sizes))


def test_repeated_variable_has_limits_that_are_wide_enough() -> None:
    expression = parse_dim_name("N*N - 4*N + 4", KNOWN)
    assert expression is not None
    low, high = expression.limits({"N": (0, 4)})
    assert low <= 0
    assert high >= 4


def test_hostile_name_costs_little_time() -> None:
    started = time.process_time()
    for name in ("(" * 100 + "N" + ")" * 100, "-" * 199 + "N", "N**8" * 50, "+".join("N" * 100), "9" * 190 + "*N"):
        expression = parse_dim_name(name, KNOWN)
        if expression is not None:
            with contextlib.suppress(UnknownSizeError):
                expression.size({"N": 2**62})
    assert time.process_time() - started < 5
