"""Test how outputs are compared with references, and what a failure suggests."""

from __future__ import annotations

import dataclasses

import numpy as np
import onnx
import pytest
from samples.models import layers_model

from pytest_trt.errors import InputError, ModelError
from pytest_trt.spec.declaration import Declaration, RunShape
from pytest_trt.spec.engine_spec import EngineSpec
from pytest_trt.spec.expectations import Accuracy
from pytest_trt.spec.settings import Settings
from pytest_trt.trial.bench import Bench
from pytest_trt.trial.bisection import bisect
from pytest_trt.trial.lineup import Lineup
from pytest_trt.trial.trial import Trial

NODE = "tests/test_m.py::test_m"


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    cache = tmp_path_factory.mktemp("accuracy") / "cache"
    settings = Settings(backend="onnxruntime", cache_dir=str(cache), min_time_s=0.0, max_time_s=1.0, resolution=0.5)
    with Bench(settings) as bench:
        yield bench


def test_references_from_onnx_runtime_a_file_and_a_function(bench, tmp_path):
    onnx.save(layers_model(width=32), str(tmp_path / "m.onnx"))
    inputs = {"x": np.ones((2, 32), np.float32)}
    np.savez(tmp_path / "inputs.npz", **inputs)

    def run(accuracy):
        declaration = Declaration(spec=EngineSpec(path="m.onnx"), run=RunShape(batch=2), accuracy=accuracy)
        with Trial(bench, NODE, declaration, [tmp_path]) as trial:
            trial.measure()
            return [(v.figure, v.status) for v in trial.finish().verdicts if v.basis == "accuracy"]

    with Trial(bench, NODE, Declaration(spec=EngineSpec(path="m.onnx"), run=RunShape(batch=2)), [tmp_path]) as trial:
        expected = trial(inputs)["y"]
    np.savez(tmp_path / "expected.npz", y=expected)
    np.savez(tmp_path / "wrong.npz", y=expected + 1)
    assert run(Accuracy()) == [("y", "ok")]
    assert run(Accuracy(reference="expected.npz", inputs="inputs.npz")) == [("y", "ok")]
    assert run(Accuracy(reference="wrong.npz", inputs="inputs.npz")) == [("y", "inaccurate")]
    assert run(Accuracy(reference=lambda inputs: {"y": 2 * expected}, inputs=lambda: inputs)) == [("y", "inaccurate")]
    reversed_order = Accuracy(reference=lambda inputs: {"y": expected[:, ::-1]}, inputs="inputs.npz")
    assert run(reversed_order) == [("y", "inaccurate")]
    assert run(dataclasses.replace(reversed_order, unordered={"y": 1})) == [("y", "ok")]
    with pytest.raises(InputError, match=r"unordered: there is no output 'z': there are 'y'"):
        run(dataclasses.replace(reversed_order, unordered={"z": 1}))
    with pytest.raises(InputError, match=r"there is no file nowhere\.npz .* or give the reference 'onnxruntime'"):
        run(Accuracy(reference="nowhere.npz"))
    with pytest.raises(InputError, match="must be a mapping of names to numpy arrays, not list"):
        run(Accuracy(reference=lambda inputs: [expected]))
    (tmp_path / "broken.npz").write_bytes(b"PK nonsense")
    with pytest.raises(InputError, match=r"broken\.npz is no \.npz file"):
        run(Accuracy(reference="broken.npz"))


def test_outputs_without_a_stored_baseline_are_missing_not_ok(bench, tmp_path):
    """In an earlier version, the test was `ok` with --trt-baseline=off, although nothing was compared."""
    onnx.save(layers_model(width=32), str(tmp_path / "m.onnx"))
    declaration = Declaration(
        spec=EngineSpec(path="m.onnx"), run=RunShape(batch=2), accuracy=Accuracy(reference="baseline")
    )
    with Trial(bench, NODE, declaration, [tmp_path]) as trial:
        trial.measure()
        (verdict,) = trial.finish().verdicts
    assert verdict.status == "missing"
    assert verdict.text.startswith("the outputs were compared with nothing: this run reads no stored baseline")


def test_failed_bisection_keeps_the_verdict(bench, tmp_path):
    """The calibration works as often as the engine needs it, and fails in the bisection."""
    onnx.save(layers_model(width=32), str(tmp_path / "m.onnx"))
    calls = []

    def calibration():
        calls.append(1)
        if len(calls) > 2:
            raise OSError("the disk with the pictures is gone")
        yield {"x": np.full((2, 32), 1e-3, np.float32)}

    spec = EngineSpec(path="m.onnx", precision="int8", calibration=calibration)
    declaration = Declaration(spec=spec, run=RunShape(batch=2), accuracy=Accuracy())
    settings = dataclasses.replace(bench.settings, bisect=True)
    with Bench(settings) as bisecting, Trial(bisecting, NODE, declaration, [tmp_path]) as trial:
        trial.measure()
        (verdict,) = [verdict for verdict in trial.finish().verdicts if verdict.basis == "accuracy"]
    assert verdict.status == "inaccurate"
    assert verdict.details[-1].startswith("the first layer that departs cannot be found: int8 calibration of m.onnx: ")


def test_reference_with_other_names_suggests_no_bisection(bench, tmp_path):
    onnx.save(layers_model(width=32), str(tmp_path / "m.onnx"))
    accuracy = Accuracy(reference=lambda inputs: {"z": np.ones((2, 32))})
    declaration = Declaration(spec=EngineSpec(path="m.onnx"), run=RunShape(batch=2), accuracy=accuracy)
    with Trial(bench, NODE, declaration, [tmp_path]) as trial:
        trial.measure()
        (verdict,) = [verdict for verdict in trial.finish().verdicts if verdict.basis == "accuracy"]
    assert verdict.text == "there is no output 'z', which the reference function has: the engine's outputs are 'y'"
    assert not any("--trt-bisect" in line for line in verdict.details)


def test_output_in_another_order_suggests_no_bisection(bench, tmp_path):
    onnx.save(layers_model(width=32), str(tmp_path / "m.onnx"))
    inputs = {"x": np.ones((2, 32), np.float32)}
    declaration = Declaration(spec=EngineSpec(path="m.onnx"), run=RunShape(batch=2))
    with Trial(bench, NODE, declaration, [tmp_path]) as trial:
        expected = trial(inputs)["y"]

    def suggests_bisection(reference):
        accuracy = Accuracy(reference=lambda inputs: {"y": reference}, inputs=lambda: inputs)
        with Trial(bench, NODE, dataclasses.replace(declaration, accuracy=accuracy), [tmp_path]) as trial:
            trial.measure()
            (verdict,) = [verdict for verdict in trial.finish().verdicts if verdict.basis == "accuracy"]
        assert verdict.status == "inaccurate"
        return any("--trt-bisect" in line for line in verdict.details)

    assert not suggests_bisection(expected[:, ::-1])
    assert not suggests_bisection(expected[:1])
    assert suggests_bisection(expected + 1)


def test_model_with_random_numbers_is_reported_and_not_bisected(bench, tmp_path):
    """No bisection is suggested or made: each run would find another layer, or none."""
    model = layers_model(width=32)
    last = model.graph.output[0].name
    for node in model.graph.node:
        node.output[:] = ["plain" if name == last else name for name in node.output]
    model.graph.node.append(onnx.helper.make_node("RandomNormalLike", ["plain"], ["n"], "noise", seed=3.0))
    model.graph.node.append(onnx.helper.make_node("Add", ["plain", "n"], [last]))
    onnx.save(model, str(tmp_path / "m.onnx"))
    declaration = Declaration(spec=EngineSpec(path="m.onnx"), run=RunShape(batch=2), accuracy=Accuracy())
    with Bench(dataclasses.replace(bench.settings, bisect=True)) as bisecting:
        with Trial(bisecting, NODE, declaration, [tmp_path]) as trial:
            trial.measure()
            (verdict,) = [verdict for verdict in trial.finish().verdicts if verdict.basis == "accuracy"]
        assert verdict.status == "inaccurate"
        assert verdict.details[-1].startswith("m.onnx draws random numbers (RandomNormalLike 'noise'), so its outputs")
        row = Lineup(declaration, bisecting, [tmp_path]).row("x", declaration.spec)
        assert row.status == "unchecked"
        assert row.notes[-1].startswith("compared with nothing: m.onnx draws random numbers")
        with pytest.raises(ModelError, match=r"m\.onnx draws random numbers"):
            bisect(bisecting, declaration, [tmp_path])
