"""Conversion of records to JSON and back."""

from __future__ import annotations

import dataclasses
import functools
import json
import math
from collections.abc import Mapping
from typing import Any, Literal

import pytest

from pytest_trt.core import codec
from pytest_trt.core.records import Environment, Estimate, Measurement
from pytest_trt.errors import RecordError


@dataclasses.dataclass(frozen=True)
class Inner:
    size: int
    share: float = 0.5


@dataclasses.dataclass(frozen=True)
class Outer:
    name: str
    inner: Inner
    several: tuple[Inner, ...] = ()
    by_name: Mapping[str, float] = dataclasses.field(default_factory=dict)
    kind: Literal["a", "b"] = "a"
    maybe: int | None = None
    pair: tuple[int, str] = (0, "")


@dataclasses.dataclass(frozen=True)
class Tree:
    value: int
    below: tuple[Tree, ...] = ()


@dataclasses.dataclass(frozen=True)
class Ends:
    low: int
    high: int

    def __post_init__(self) -> None:
        if self.low > self.high:
            raise ValueError(f"low {self.low} is above high {self.high}")


WHOLE = Outer("x", Inner(1), (Inner(2), Inner(3, 0.25)), {"ms": 1.5}, "b", 7, (4, "four"))


def test_encoded_record_decodes_to_an_equal_record():
    assert codec.decode(Outer, json.loads(json.dumps(codec.encode(WHOLE)))) == WHOLE


def test_integer_is_accepted_as_a_float():
    decoded = codec.decode(Inner, {"size": 1, "share": 2})
    assert isinstance(decoded.share, float)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": 3}, "Outer.name must be of type str, not 3"),
        ({"inner": []}, r"Outer.inner must be an object, not \[\]"),
        ({"inner": {"size": True}}, "Outer.inner.size must be of type int, not True"),
        ({"inner": {"size": 1.5}}, "Outer.inner.size must be of type int, not 1.5"),
        ({"inner": {"size": 1, "share": math.nan}}, "Outer.inner.share is nan: it must be a finite number"),
        ({"inner": {"size": 1, "share": math.inf}}, "Outer.inner.share is inf"),
        ({"inner": {"size": 1, "share": 10**400}}, "Outer.inner.share is an integer of 1329 bits"),
        ({"inner": {"size": 2**70}}, "Outer.inner.size is an integer of 71 bits: it must fit in 64 bits"),
        ({"inner": {"size": 1, "colour": 1}}, "Outer.inner has an unknown field 'colour'"),
        ({"inner": {}}, "Outer.inner lacks the field 'size'"),
        ({"several": [{"size": 1}, {"size": "1"}]}, r"Outer.several\[1\].size must be of type int, not '1'"),
        ({"several": {"size": 1}}, "Outer.several must be a list"),
        ({"by_name": {"ms": "fast"}}, "Outer.by_name.ms must be of type float, not 'fast'"),
        ({"by_name": [1]}, r"Outer.by_name must be a mapping, not \[1\]"),
        ({"kind": "c"}, "Outer.kind is 'c': it must be one of 'a', 'b'"),
        ({"maybe": "7"}, "Outer.maybe must be of type int, not '7'"),
        ({"pair": [1]}, "Outer.pair must have 2 elements, not 1"),
        ({"name": "x" * 200_000}, "Outer.name is a string of 200000 characters"),
    ],
)
def test_invalid_value_names_its_field(change, message):
    with pytest.raises(RecordError, match=message):
        codec.decode(Outer, {**codec.encode(WHOLE), **change})


def test_missing_field_gets_a_new_default_for_each_record():
    first, second = (codec.decode(Outer, {"name": "x", "inner": {"size": 1}}) for _ in range(2))
    assert first == second == Outer("x", Inner(1))
    assert first.by_name is not second.by_name


def test_record_may_contain_records_of_its_own_type():
    tree = {"value": 1, "below": [{"value": 2, "below": []}, {"value": 3, "below": [{"value": 4}]}]}
    assert codec.decode(Tree, tree) == Tree(1, (Tree(2), Tree(3, (Tree(4),))))
    tree["below"][1]["below"][0]["value"] = "4"
    with pytest.raises(RecordError, match=r"Tree.below\[1\].below\[0\].value must be of type int, not '4'"):
        codec.decode(Tree, tree)


def test_error_of_post_init_names_the_record():
    with pytest.raises(RecordError, match=r"tuple\[1\]: low 2 is above high 1"):
        codec.check(tuple[Ends, ...], [{"low": 1, "high": 2}, {"low": 2, "high": 1}], "tuple")


def test_invalid_key_is_named():
    with pytest.raises(RecordError, match="counts key must be of type int, not 'a'"):
        codec.check(dict[int, int], {1: 1, "a": 2}, "counts")


def test_value_of_any_type_has_a_limited_depth():
    deep = functools.reduce(lambda inner, _: {"a": [inner]}, range(40), 0)
    assert codec.check(dict[str, Any], {"a": [[1], {"b": 2}]}, "spec") == {"a": [[1], {"b": 2}]}
    with pytest.raises(RecordError, match=r"spec.a is nested more than 64 levels deep"):
        codec.check(dict[str, Any], {"a": deep}, "spec")


def test_deep_or_long_value_is_shown_shortly():
    deep = functools.reduce(lambda inner, _: [inner], range(100_000), 0)
    with pytest.raises(RecordError, match="size must be of type int, not a deeply nested list"):
        codec.check(dict[str, int], {"size": deep}, "it")
    with pytest.raises(RecordError, match=r"kind is 'x+\.\.\.: it must be one of"):
        codec.decode(Outer, {**codec.encode(WHOLE), "kind": "x" * 10_000_000})


def test_value_without_json_form_is_rejected():
    with pytest.raises(RecordError, match="cannot be written as JSON"):
        codec.encode({"f": len})


def test_measurement_survives_encoding():
    measured = Measurement(
        node_id="t.py::t",
        environment=Environment("NVIDIA H200", "gpu", "tensorrt", "8.6.0"),
        figures={"ms": Estimate(1.0, 0.9, 1.1, 100)},
        spec={"precision": "fp16"},
        spec_digest="a",
        engine_digest="b",
        plan_sha256="c",
        proof={"graph": "captured"},
    )
    assert codec.decode(Measurement, json.loads(json.dumps(codec.encode(measured)))) == measured
