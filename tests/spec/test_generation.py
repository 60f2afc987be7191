"""Test what `trt_generate` declares."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_trt.errors import DeclarationError
from pytest_trt.spec.generation import Generation


def test_a_path_is_text() -> None:
    assert Generation(prompt=1, steps=1, prefill=Path("p.onnx")).prefill == "p.onnx"  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"steps": 8}, "trt_generate: prompt is 0: give a number of tokens from 1"),
        ({"prompt": 8}, "trt_generate: steps is 0"),
        ({"prompt": 8, "steps": -1}, "trt_generate: steps is -1"),
        ({"prompt": 8, "steps": 1, "sampler": "beam"}, "trt_generate: sampler"),
        ({"prompt": "8", "steps": 1}, "trt_generate: prompt"),
    ],
)
def test_invalid_arguments_are_errors(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(DeclarationError, match=message):
        Generation(**arguments)  # type: ignore[arg-type]
