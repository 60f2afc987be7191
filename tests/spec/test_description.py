"""The description of a declaration is the same in every run."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from pytest_trt.spec.declaration import Declaration
from pytest_trt.spec.description import describe, description_digest, parse_pipeline
from pytest_trt.spec.engine_spec import EngineSpec


def batches(count: int = 1) -> Iterator[dict[str, Any]]:
    return iter([{}] * count)


class Pictures:
    """For example, the images in a folder."""

    def __call__(self) -> Iterator[dict[str, Any]]:
        return batches()

    def first(self) -> Iterator[dict[str, Any]]:
        return batches()


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda: batches, "batches"),
        (lambda: functools.partial(batches, 3), "batches"),
        (lambda: functools.partial(functools.partial(batches), count=3), "batches"),
        (lambda: functools.partial(Pictures()), "Pictures"),
        (Pictures, "Pictures"),
        (lambda: Pictures().first, "Pictures.first"),
        (lambda: Pictures, "Pictures"),
        (lambda: lambda: [{}], "<lambda>.<locals>.<lambda>"),
        (lambda: functools.lru_cache(batches), "batches"),
        (lambda: np.add, "add"),
        (lambda: [{}].copy, "list.copy"),
    ],
)
def test_function_is_described_by_a_name_without_an_address(make: Callable[[], Any], name: str) -> None:
    for field in ("calibration", "onnx", "build"):
        twice = [describe(Declaration(spec=EngineSpec(**{field: make()}))) for _ in range(2)]
        assert twice[0]["calibration" if field == "calibration" else "model"] == name
        assert description_digest(twice[0]) == description_digest(twice[1])


@pytest.mark.parametrize("text", ["[" * 100_000, "{", "[1]", '{"a": 1}', "1e999", ""])
def test_pipeline_that_cannot_be_parsed_is_unknown(text: str) -> None:
    assert parse_pipeline({"depth": text}) is None
