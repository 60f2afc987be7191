"""Test engines with state: it is declared by name, and stays where it is while a step is measured."""

from __future__ import annotations

import json
from pathlib import Path

import onnx
import pytest
from decoders import decoder
from samples.pytest_runs import error_of_each_test

GROWING = """
import pytest
DIMS = {"P": (0, 8, 64), "S": (1, 1, 8)}
pytestmark = pytest.mark.trt_engine("growing.onnx", state={"present_*": "past_*"}, dims=DIMS)
"""
FIXED = """
import pytest
from pytest_trt.errors import InputError
pytestmark = pytest.mark.trt_engine("fixed.onnx", state={"present_*": "past_*"}, write_index="position", dims={"S": 1})
"""


@pytest.fixture
def decoders(project: pytest.Pytester) -> pytest.Pytester:
    for name in ("growing", "fixed"):
        onnx.save(decoder(cache=name, capacity=16), str(project.path / f"{name}.onnx"))  # type: ignore[arg-type]
    return project


def measurements(folder: Path) -> dict[str, dict[str, object]]:
    results = json.loads((folder / "out.json").read_text())["results"]
    return {result["node_id"].partition("::")[2]: result for result in results}


def test_a_step_is_measured_at_the_fill_of_the_matrix(decoders: pytest.Pytester) -> None:
    decoders.makepyfile(
        test_growing=GROWING
        + """
@pytest.mark.trt_matrix(P=[0, 20])
@pytest.mark.trt_accuracy()
def test_step(trt_runner, trt_case):
    measurement = trt_runner.measure()
    assert measurement.proof["state"] == "4 tensors stay in place"
    assert f"past_k_0 1x2x{trt_case['P']}x8" in measurement.spec["inputs"]
    shape = trt_runner(trt_runner.generated_inputs())["present_v_1"].shape
    assert shape == (1, 2, trt_case["P"] + 1, 8)
""",
        test_fixed=FIXED
        + """
@pytest.mark.trt_matrix(position=[0, 15])
@pytest.mark.trt_accuracy()
def test_step(trt_runner, trt_case):
    trt_runner.measure()
    inputs = trt_runner.generated_inputs()
    assert inputs["position"].tolist() == [trt_case["position"]]
    with pytest.raises(InputError, match="the write index 'position' is 16, but the state holds 16 entries"):
        trt_runner({**inputs, "position": inputs["position"] * 0 + 16})
    with pytest.raises(InputError, match="the write index 'position' is -1, but .*: give an index from 0"):
        list(trt_runner.stream([inputs, {**inputs, "position": inputs["position"] * 0 - 1}]))
    changed = (trt_runner(inputs)["present_k_0"] != inputs["past_k_0"]).any(axis=(0, 1, 3))
    assert changed.nonzero()[0].tolist() == [trt_case["position"]]
""",
    )
    result = decoders.runpytest_inprocess()
    result.assert_outcomes(passed=4)
    found = measurements(decoders.path)
    assert {name: entry["verdicts"][-1]["basis"] for name, entry in found.items()} == dict.fromkeys(  # type: ignore[index]
        ("test_step[P0]", "test_step[P20]", "test_step[position0]", "test_step[position15]"), "accuracy"
    )


def test_state_that_does_not_fit_fails_the_test_with_one_message(decoders: pytest.Pytester) -> None:
    decoders.makepyfile(
        """
import pytest

@pytest.mark.trt_engine("growing.onnx", state={"presents_*": "past_*"}, dims={"P": 8, "S": 1})
def test_no_output(trt_runner): trt_runner.measure()

@pytest.mark.trt_engine("growing.onnx", state={"present_k_*": "past_*"}, dims={"P": 8, "S": 1})
def test_no_input(trt_runner): trt_runner.measure()

@pytest.mark.trt_engine("growing.onnx", state={"present_*": "past_*", "present_k_0": "past_v_0"}, dims={"P": 8, "S": 1})
def test_two(trt_runner): trt_runner.measure()

@pytest.mark.trt_engine("growing.onnx", state={"logits": "past_k_0"}, dims={"P": 8, "S": 1})
def test_rank(trt_runner): trt_runner.measure()

@pytest.mark.trt_engine("fixed.onnx", state={"present_*": "past_*"}, write_index="position", dims={"S": 1})
@pytest.mark.trt_matrix(position=[16])
def test_beyond(trt_runner): trt_runner.measure()
"""
    )
    found = error_of_each_test(decoders.runpytest_inprocess())
    assert {name: text.partition("Error: ")[2].removeprefix("trt_engine: ") for name, text in found.items()} == {
        "test_no_output": "state names output 'presents_*': the model has none of that name: its outputs are "
        "'logits', 'present_k_0', 'present_v_0', 'present_k_1', 'present_v_1'",
        "test_no_input": "state pairs output 'present_k_0' with input 'past_0': the model has none of that name: did "
        "you mean 'past_v_0'?",
        "test_two": "state pairs output 'present_k_0' with two inputs, 'past_k_0' and 'past_v_0': keep one of them",
        "test_rank": "state pairs output 'logits' with input 'past_k_0', but their shapes are (1, -1, 61) and "
        "(1, 2, -1, 8): both must have one rank",
        "test_beyond[position16]": "the write index 'position' is 16, but the state holds 16 entries along axis -2: "
        "lower it, or give the state a larger capacity",
    }
