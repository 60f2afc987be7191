"""Test patterns that pair names."""

from __future__ import annotations

import pytest

from pytest_trt.errors import DeclarationError
from pytest_trt.spec.engine_spec import EngineSpec
from pytest_trt.spec.name_pairs import counterparts


@pytest.mark.parametrize(
    ("pattern", "counterpart", "expected"),
    [
        ("present_*", "past_*", {"present_k": "past_k", "present_": "past_"}),
        ("present.*.*", "past.*.new.*", {"present.0.key": "past.0.new.key"}),
        ("stateN", "state", {"stateN": "state"}),
        ("present[*]", "past[*]", {"present[3]": "past[3]"}),
        (
            "*",
            "old_*",
            {name: f"old_{name}" for name in ("present_k", "present_", "present.0.key", "stateN", "present[3]")},
        ),
    ],
)
def test_a_star_is_the_same_text_on_both_sides(pattern: str, counterpart: str, expected: dict[str, str]) -> None:
    names = ("present_k", "present_", "present.0.key", "stateN", "present[3]")
    assert counterparts(pattern, counterpart, names) == expected


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({"present_*": "past"}, r"state pairs 'present_\*' with 'past': both must have the same number of '\*'"),
        ({"present": ""}, "state pairs 'present' with '': name an output and an input"),
        ({"present": 3}, "trt_engine: state"),
        ("present", "trt_engine: state"),
    ],
)
def test_invalid_patterns_are_errors(state: object, message: str) -> None:
    with pytest.raises(DeclarationError, match=message):
        EngineSpec(path="m.onnx", state=state)  # type: ignore[arg-type]


def test_a_write_index_needs_state_and_counts_along_the_last_axis_but_one() -> None:
    assert EngineSpec(state={"b": "a"}, write_index="at").write_index == {"at": -2}  # type: ignore[arg-type]
    with pytest.raises(DeclarationError, match="write_index=at has no effect without state"):
        EngineSpec(write_index={"at": 1})
