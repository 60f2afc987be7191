"""Test a whole trial on real engines, without pytest's fixtures."""

from __future__ import annotations

import dataclasses
import datetime
import gzip
import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from samples.dlpack import ForeignArray
from samples.models import layers_model

from pytest_trt.engine.dlpack import DeviceArray
from pytest_trt.errors import BaselineError, BuildError, DeclarationError, InputError, ModelError
from pytest_trt.judge.baselines import open_baselines
from pytest_trt.spec.declaration import Declaration, PipelineOptions, RunShape
from pytest_trt.spec.engine_spec import EngineSpec
from pytest_trt.spec.expectations import Accuracy, Budget, Tolerance
from pytest_trt.spec.settings import Settings
from pytest_trt.trial import trial
from pytest_trt.trial.bench import Bench
from pytest_trt.trial.choose_comparison import choose_baseline
from pytest_trt.trial.trial import Trial

NODE = "tests/test_m.py::test_m"


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    cache = tmp_path_factory.mktemp("trial") / "cache"
    settings = Settings(
        backend="onnxruntime", cache_dir=str(cache), min_time_s=0.0, max_time_s=1.0, resolution=0.5, baseline_save=True
    )
    with Bench(settings) as bench:
        yield bench


@pytest.fixture
def folder(tmp_path):
    return open_baselines("baselines", "main", revision=None, rootdir=tmp_path)


@pytest.fixture
def measure(bench, folder, tmp_path):
    """Return a function that measures a model of so many layers in a trial of its own, and returns the result."""

    def measure(layers: int = 2, *, width: int = 256, settings: dict | None = None, **declared):
        (tmp_path / f"{layers}").mkdir(exist_ok=True)
        onnx.save(layers_model(layers=layers, width=width), str(tmp_path / f"{layers}" / "m.onnx"))
        declaration = Declaration(
            spec=EngineSpec(path="m.onnx"), run=RunShape(batch=8), **{"tolerance": Tolerance(), **declared}
        )
        own = bench
        if settings:
            own = Bench(dataclasses.replace(bench.settings, **settings))
        try:
            with Trial(own, NODE, declaration, [tmp_path / f"{layers}"], folder) as trial:
                trial.measure()
                return trial.finish()
        finally:
            if own is not bench:
                own.close()

    return measure


def statuses(result):
    return [(verdict.basis, verdict.figure, verdict.status) for verdict in result.verdicts]


def test_first_run_is_missing_and_identical_plan_is_ok(measure, folder):
    first = measure()
    assert statuses(first) == [("baseline", "", "missing")]
    folder.save(first.measurement, first.status)
    second = measure()
    assert statuses(second) == [("baseline", "ms", "ok")]
    assert "identical plan" in second.verdicts[0].text


def test_much_deeper_engine_regresses_and_its_layers_are_blamed(measure, folder):
    folder.save(measure(2).measurement, "missing")
    result = measure(12)
    (verdict,) = (v for v in result.verdicts if v.figure == "ms")
    assert verdict.status == "regressed"
    assert verdict.ratio.low > 1.05
    text = "\n".join(verdict.details)
    assert "engine against engine" in text
    assert "new layer" in text
    assert "changed since the baseline" in text
    assert "the model" in text
    assert any(cause.startswith("new layer") for cause in verdict.causes)


def test_without_the_old_plan_stored_figures_are_compared(measure, folder, bench):
    first = measure(2).measurement
    folder.save(dataclasses.replace(first, engine_digest="0" * 64), "missing")
    (verdict,) = (v for v in measure(24).verdicts if v.figure == "ms")
    assert verdict.status == "regressed"
    assert "judged against stored intervals" in "\n".join(verdict.details)


def test_each_engine_runs_in_its_own_pipeline(measure, folder, monkeypatch):
    """In an earlier version, the baseline's plan ran with the new options, so their cost was never seen."""
    first = measure(2, pipeline=PipelineOptions(depth=3), settings={"resolution": 0.05}).measurement
    folder.save(first, "missing")
    seen = []
    monkeypatch.setattr(trial, "choose_baseline", lambda *args: seen.append(choose_baseline(*args)) or seen[-1])
    verdicts = measure(2, tolerance=Tolerance(max_slowdown=0.9)).verdicts
    assert (seen[0].mode, seen[0].other.options.depth) == ("paired", 3)
    assert [v.status for v in verdicts if v.figure == "ms"] == ["ok"]


def test_new_driver_is_compared_with_stored_figures(measure, folder):
    """If the engines took turns, both would run on the new driver."""
    first = measure(2).measurement
    environment = dataclasses.replace(first.environment, driver="550.54.15")
    ms = first.figures["ms"]
    faster = {**first.figures, "ms": dataclasses.replace(ms, value=ms.value / 9, low=ms.low / 9, high=ms.high / 9)}
    folder.save(dataclasses.replace(first, environment=environment, figures=faster), "missing")
    (verdict,) = (v for v in measure(2).verdicts if v.figure == "ms")
    assert verdict.status == "regressed"
    assert "driver (550.54.15 to none)" in verdict.details[-1]


def test_faster_engine_is_improved(measure, folder):
    folder.save(measure(24).measurement, "missing")
    assert ("baseline", "ms", "improved") in statuses(measure(2))


def test_paired_measures_even_an_identical_plan(measure, folder):
    folder.save(measure(2).measurement, "missing")
    result = measure(2, tolerance=Tolerance(paired=True, max_slowdown=0.5), settings={"max_time_s": 1.0})
    (verdict,) = (v for v in result.verdicts if v.figure == "ms")
    assert verdict.status in ("ok", "inconclusive")
    assert "engine against engine" in "\n".join(verdict.details)


def test_quarantined_regression_fails_after_its_last_day(measure, folder):
    folder.save(measure(2).measurement, "missing")
    today = datetime.date.today()
    quarantine = Tolerance(enforce=False, until=today, reason="issue 7")
    (verdict,) = (v for v in measure(12, tolerance=quarantine).verdicts if v.figure == "ms")
    assert verdict.status == "unenforced"
    assert f"quarantined until {today}: issue 7" in verdict.text
    ended = dataclasses.replace(quarantine, until=today - datetime.timedelta(days=1))
    (verdict,) = (v for v in measure(12, tolerance=ended).verdicts if v.figure == "ms")
    assert verdict.status == "regressed"
    assert "its quarantine ended" in "\n".join(verdict.details)


def test_exceeded_budget_is_confirmed(measure):
    result = measure(budgets=(Budget(device="cpu", limits={"ms": 1e-6, "engine_mb": 1e-9, "host_mb": 1e6}),))
    assert {v.figure: v.status for v in result.verdicts if v.basis == "budget"} == {
        "ms": "over_budget",
        "engine_mb": "over_budget",
        "host_mb": "ok",
    }


def test_measurement_describes_what_ran(measure):
    measured = measure().measurement
    assert measured.proof["provider"] == "CPUExecutionProvider"
    assert measured.spec == {"model": "m.onnx", "precision": "fp32", "batch": "8", "inputs": "x 8x256"}
    assert measured.environment.backend == "onnxruntime"
    assert measured.figures["throughput"].value == pytest.approx(8000 / measured.figures["ms"].value)
    assert measured.figures["ms"].low <= measured.figures["ms"].value <= measured.figures["ms"].high
    assert [layer.kind for layer in measured.profile.layers].count("MatMul") == 2


def test_second_measure_in_one_test_is_an_error(bench, tmp_path):
    onnx.save(layers_model(), str(tmp_path / "m.onnx"))
    with Trial(bench, NODE, Declaration(spec=EngineSpec(path="m.onnx"), run=RunShape(batch=1)), [tmp_path]) as trial:
        trial.measure()
        with pytest.raises(DeclarationError, match="called twice"):
            trial.measure()


def test_trial_infers_and_streams_inputs(bench, tmp_path):
    onnx.save(layers_model(width=32), str(tmp_path / "m.onnx"))
    declaration = Declaration(
        spec=EngineSpec(path="m.onnx"), run=RunShape(batch=2), pipeline=PipelineOptions(postprocess_threads=3)
    )
    batches = [{"x": np.full((2, 32), i, np.float32)} for i in range(30)]
    with Trial(bench, NODE, declaration, [tmp_path]) as trial:
        one_by_one = [trial(batch)["y"].sum() for batch in batches]
        assert [out["y"].sum() for out in trial.stream(batches)] == one_by_one
        assert list(trial.stream(batches, lambda out: out["y"].sum())) == one_by_one

        def broken(outputs):
            if outputs["y"].sum() == one_by_one[7]:
                raise ValueError("the seventh")
            return outputs

        items = trial.stream(batches, broken)
        assert [next(items)["y"].sum() for _ in range(7)] == one_by_one[:7]
        with pytest.raises(ValueError, match="the seventh"):
            next(items)
        with_nan = {"x": np.where(np.arange(64).reshape(2, 32) == 3, np.nan, 1).astype(np.float32)}
        with pytest.raises(InputError, match="input 'x' holds 1 NaN of 64 values"):
            trial(with_nan)
        some = []
        with pytest.raises(InputError, match="input 'x' holds 1 NaN of 64 values"):
            some.extend(out["y"].sum() for out in trial.stream([*batches[:2], with_nan, *batches]))
        assert some == one_by_one[:2], "the error is raised at its item"
        with pytest.raises(InputError, match="input 'x' is of type list: give a numpy array"):
            trial({"x": [[1.0] * 32] * 2})
        assert trial.finish() is None


def test_inputs_are_filled_in_place_until_the_engine_is_closed(bench, tmp_path):
    onnx.save(layers_model(layers=1, width=8), str(tmp_path / "m.onnx"))
    declaration = Declaration(spec=EngineSpec(path="m.onnx"), run=RunShape(batch=2))
    with Trial(bench, NODE, declaration, [tmp_path]) as trial:
        batches = [{"x": np.full((2, 8), number, np.float32)} for number in range(8)]
        expected = [out["y"].sum() for out in trial.stream(batches)]

        def filled():
            for batch, arrays in zip(batches, trial.inputs(4), strict=False):
                arrays["x"] = batch["x"]
                yield arrays

        assert [out["y"].sum() for out in trial.stream(filled())] == expected
        assert list(trial.stream(filled(), lambda out: out["y"].sum())) == expected
        arrays = next(trial.inputs())
        arrays["x"] = batches[3]["x"]
        assert trial(arrays)["y"].sum() == expected[3]
        for wrong in (0, -1, 5000, 1.5, True, None, "2"):
            with pytest.raises(InputError, match="n must be a whole number from 1 to 1024"):
                trial.inputs(wrong)
        foreign = ForeignArray.of(batches[5]["x"])
        assert trial({"x": foreign})["y"].sum() == expected[5]
        assert [out["y"].sum() for out in trial.stream([{"x": foreign}])] == expected[5:6]
        on_gpu = DeviceArray(4096, np.dtype(np.float32), (2, 8))
        with pytest.raises(InputError, match=r"measure\(\): input 'x' is on the GPU"):
            trial.measure({"x": on_gpu})
        trial.close()
        with pytest.raises(InputError, match="belong to an engine that was closed"):
            trial(arrays)


def test_missing_models_and_dimensions_are_reported_before_the_build(bench, tmp_path):
    onnx.save(layers_model(), str(tmp_path / "m.onnx"))

    def measure(spec, run=None):
        with Trial(bench, NODE, Declaration(spec=spec, run=run or RunShape()), [tmp_path]) as trial:
            trial.measure()

    with pytest.raises(ModelError, match=r"n\.onnx"):
        measure(EngineSpec(path="n.onnx"))
    with pytest.raises(ModelError, match="'N'"):
        measure(EngineSpec(path="m.onnx"))
    with pytest.raises((ModelError, DeclarationError), match="'M'"):
        measure(EngineSpec(path="m.onnx", dims={"M": 4}), RunShape(batch=1))
    with pytest.raises(BuildError, match="fp8 needs a model with Q/DQ"):
        measure(EngineSpec(path="m.onnx", precision="fp8"), RunShape(batch=1))


def test_unreadable_baseline_names_file_and_field(measure, folder, tmp_path):
    folder.save(measure().measurement, "missing")
    (path,) = (p for p in (tmp_path / "baselines").rglob("*.json"))
    whole = json.loads(path.read_text())
    whole["figures"]["ms"]["value"] = -1
    path.write_text(json.dumps(whole))
    with pytest.raises(BaselineError, match=r"figures\.ms"):
        measure()
    path.write_text(path.read_text()[:100])
    with pytest.raises(BaselineError, match=r"\.json"):
        measure()


def test_samples_are_stored_as_gzipped_json(measure, folder, tmp_path):
    folder.save(measure().measurement, "missing")
    (data,) = (tmp_path / "baselines").rglob("*.json.gz")
    assert json.loads(gzip.decompress(data.read_bytes()))["samples"]
    (small,) = (tmp_path / "baselines").rglob("*.json")
    assert small.stat().st_size <= 8192
    assert Path(small).parent.name == "test_m.py" or "test_m" in str(small)


def test_identical_builds_are_no_lottery(measure):
    measured = measure(settings={"builds": 3}).measurement
    assert "3 builds gave one and the same plan" in measured.notes
    assert measured.build_spread == {}


def test_outputs_are_compared_with_those_of_the_baseline(measure, folder, tmp_path):
    accuracy = Accuracy(reference="baseline")
    first = measure(accuracy=accuracy)
    assert [v.status for v in first.verdicts] == ["missing"]
    folder.save(first.measurement, first.status)
    again = measure(accuracy=accuracy)
    assert [(v.basis, v.status) for v in again.verdicts] == [("baseline", "ok"), ("accuracy", "ok")]
    other = measure(3, accuracy=accuracy, tolerance=Tolerance(max_slowdown=0.99))
    assert ("accuracy", "inaccurate") in [(v.basis, v.status) for v in other.verdicts]
    for data in (tmp_path / "baselines").rglob("*.json.gz"):
        data.unlink()
    (lost,) = (v for v in measure(accuracy=accuracy).verdicts if v.basis == "accuracy")
    assert (lost.status, "has no outputs" in lost.text) == ("missing", True)


def test_batch_is_known_however_it_is_declared(bench, tmp_path):
    onnx.save(layers_model(width=32), str(tmp_path / "m.onnx"))

    def batch(spec, run=None):
        with Trial(bench, NODE, Declaration(spec=spec, run=run or RunShape()), [tmp_path]) as trial:
            return trial.batch

    assert batch(EngineSpec(path="m.onnx"), RunShape(batch=4)) == 4
    assert batch(EngineSpec(path="m.onnx", dims={"N": (1, 8, 32)})) == 8
    assert batch(EngineSpec(path="m.onnx", dims={"N": (1, 8, 32)}), RunShape(dims={"N": 2})) == 2
    onnx.save(layers_model(width=32, batch=16), str(tmp_path / "m.onnx"))
    assert batch(EngineSpec(path="m.onnx")) == 1


def test_model_with_other_inputs_is_compared_with_stored_figures(measure, folder):
    folder.save(measure(2, width=64).measurement, "missing")
    result = measure(2, width=256)
    (verdict,) = (v for v in result.verdicts if v.figure == "ms")
    assert "judged against stored intervals" in "\n".join(verdict.details)


def test_model_without_inputs_is_measured(bench, tmp_path):
    model = layers_model(batch=4)
    x = model.graph.input.pop()
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.ones((4, 32), np.float32), x.name))
    onnx.save(model, str(tmp_path / "m.onnx"))
    with Trial(bench, NODE, Declaration(spec=EngineSpec(path="m.onnx"), accuracy=Accuracy()), [tmp_path]) as trial:
        trial.measure()
        assert {v.status for v in trial.finish().verdicts} == {"ok"}
        assert trial({})["y"].shape == (4, 32)
        assert [len(outputs) for outputs in trial.stream([{}, {}])] == [1, 1]
