"""What can be said of an engine, its pipeline and its limits, and what cannot."""

from __future__ import annotations

import datetime
import re

import pytest

from pytest_trt import codec
from pytest_trt.errors import DeclarationError
from pytest_trt.spec import Accuracy, Budget, EngineSpec, PipelineOptions, RunShape, Tolerance, parse_share


@pytest.mark.parametrize("written", [4, (4, 4, 4), [(4, 4, 4)]])
def test_a_single_size_stands_for_min_opt_and_max(written):
    assert EngineSpec(path="m.onnx", dims={"N": written}).dims == {"N": ((4, 4, 4),)}


def test_several_triples_are_several_profiles():
    spec = EngineSpec(path="m.onnx", dims={"N": [(1, 1, 4), (4, 8, 32)]}, shapes={"x": (1, 3)})
    assert spec.profiles == 2
    assert spec.shapes == {"x": (((1, 3), (1, 3), (1, 3)),)}


def test_the_path_tells_a_plan_that_is_given():
    assert EngineSpec(path="a/b.plan").given_plan
    assert EngineSpec(path="a/b.engine").given_plan
    assert not EngineSpec(path="a/b.onnx").given_plan


def test_a_spec_travels_to_a_build_process():
    spec = EngineSpec(path="m.onnx", dims={"N": (1, 8, 32)}, precision="fp16", input_ranges={"ids": (0, 100)})
    assert codec.decode(EngineSpec, codec.encode(spec)) == spec


def test_what_is_run_is_not_part_of_what_is_built():
    assert EngineSpec(path="a.onnx", seed=1).build_options() == EngineSpec(path="b.onnx", seed=2).build_options()
    assert EngineSpec(path="a.onnx", refit=True).build_options() != EngineSpec(path="a.onnx").build_options()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"dims": {"N": (8, 1, 32)}}, "dims['N'] is (8, 1, 32): it must be 1 <= min <= opt <= max"),
        ({"dims": {"N": (0, 1, 2)}}, "dims['N'] is (0, 1, 2)"),
        ({"dims": {"N": (1, 2)}}, "dims['N'] is (1, 2): give (min, opt, max)"),
        ({"dims": {"N": "8"}}, "dims['N'] is '8': give (min, opt, max)"),
        ({"dims": {"N": True}}, "dims['N'] is True: give (min, opt, max)"),
        ({"shapes": {"x": [(1, 3), (1, 3, 3), (1, 3)]}}, "min, opt and max differ in rank"),
        ({"shapes": {"x": [(2, 3), (1, 3), (1, 3)]}}, "it must be min <= opt <= max everywhere"),
        ({"dims": {"N": [(1, 1, 1)] * 2, "S": [(1, 1, 1)] * 3}}, "give [2, 3] profiles"),
        ({"precision": "fp17"}, "precision is 'fp17': it must be one of 'fp32', 'fp16'"),
        ({"workspace_mb": "large"}, "workspace_mb must be of type int, not 'large'"),
        ({"onnx": "m.onnx", "path": None}, "onnx must be a function, not 'm.onnx'"),
        ({"onnx": print}, "path and onnx both name the model"),
        ({"input_ranges": {"ids": (5, 1)}}, "low is above high"),
        ({"build_timeout_s": 0}, "build_timeout_s is 0.0"),
    ],
)
def test_an_engine_that_cannot_be_meant(arguments, message):
    with pytest.raises(DeclarationError, match=re.escape(message)):
        EngineSpec(**{"path": "m.onnx", **arguments})


def test_pipeline_and_run_shape_check_their_sizes():
    with pytest.raises(DeclarationError, match="contexts is 0"):
        PipelineOptions(contexts=0)
    with pytest.raises(DeclarationError, match="depth must be of type int, not 'deep'"):
        PipelineOptions(depth="deep")  # type: ignore[arg-type]
    with pytest.raises(DeclarationError, match="batch=0: a size must be at least 1"):
        RunShape(batch=0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"limits": {}}, "no limit is given"),
        ({"limits": {"mss": 1.0}}, "'mss' is no figure"),
        ({"limits": {"enqueue_ms": 1.0}}, "'enqueue_ms' is no figure that has a budget"),
        ({"limits": {"ms": -1.0}}, "ms is -1: a limit must be above 0"),
        ({"limits": {"ms": float("nan")}}, "ms is nan"),
        ({"limits": {"ms": "10"}}, "must be of type float, not '10'"),
        ({"limits": {"ms": 1}, "device": " "}, "the device is empty"),
    ],
)
def test_a_budget_that_cannot_be_meant(arguments, message):
    with pytest.raises(DeclarationError, match=message):
        Budget(**arguments)


@pytest.mark.parametrize(("written", "share"), [("3%", 0.03), (0.03, 0.03), ("0.03", 0.03), (0, 0.0), ("2.5 %", 0.025)])
def test_a_share_is_a_fraction_or_a_percentage(written, share):
    assert parse_share(written, "x") == pytest.approx(share)


def test_a_share_that_was_meant_as_a_percentage_says_so():
    with pytest.raises(DeclarationError, match="did you mean '5%'"):
        parse_share(5, "max_slowdown")
    with pytest.raises(DeclarationError, match=r"write a share such as .3%. or 0\.03"):
        parse_share("three", "max_slowdown")


def test_a_quarantine_needs_a_date_and_a_reason():
    assert Tolerance(enforce=False, until="2027-01-31", reason="driver bug").until == datetime.date(2027, 1, 31)  # type: ignore[arg-type]
    with pytest.raises(DeclarationError, match="enforce=False needs until"):
        Tolerance(enforce=False)
    with pytest.raises(DeclarationError, match="write a date such as"):
        Tolerance(until="soon")  # type: ignore[arg-type]


def test_accuracy_bounds_are_checked():
    with pytest.raises(DeclarationError, match="rtol is -1"):
        Accuracy(rtol=-1)
    with pytest.raises(DeclarationError, match="cosine is 2"):
        Accuracy(cosine=2)
