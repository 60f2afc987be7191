"""Test how a spec becomes a plan: builds, cached engines and errors. ONNX Runtime really builds."""

from __future__ import annotations

import dataclasses
import itertools
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from samples import ROOT, TESTS_FOLDER

from pytest_trt.core.records import Environment, Layer
from pytest_trt.engine.backends.base import CALIBRATION_CACHE, BuildJob, BuildReport, backend
from pytest_trt.engine.cache.store import Store
from pytest_trt.engine.convert import int8
from pytest_trt.engine.convert.run import run_conversion
from pytest_trt.engine.model.model import read_model as model_of
from pytest_trt.engine.model.model import resolve_model
from pytest_trt.engine.model.shapes import resolve_shapes
from pytest_trt.engine.provide import BuildRequest, BuildResources, ProvidedEngine, provide
from pytest_trt.errors import BuildError, CacheError, ModelError
from pytest_trt.spec.declaration import RunShape
from pytest_trt.spec.engine_spec import EngineSpec

GPU = Environment(
    device="NVIDIA L4", kind="gpu", backend="tensorrt", backend_version="10.3.0", compute_capability="8.9"
)
Save = Callable[..., Path]


class Workbench:
    """A folder of models, a cache and an environment; `jobs` are the builds that were requested."""

    def __init__(self, folder: Path, store: Store | None, environment: Environment) -> None:
        self.folder, self.store, self.environment = folder, store, environment
        self.jobs: list[BuildJob] = []
        self.seen: list[float] = []
        self.report = BuildReport(seconds=1.5, plan_bytes=4, layers=(Layer("conv"),))

    def build(self, job: BuildJob) -> BuildReport:
        self.jobs.append(job)
        if job.backend == "onnxruntime":
            return backend("onnxruntime").build(job, lambda text, share: None)
        (Path(job.output) / "plan").write_bytes(f"plan {len(self.jobs)}".encode())
        return self.report

    def provide(self, run: RunShape | None = None, **spec: Any) -> ProvidedEngine:
        fresh, typed = spec.pop("fresh", False), spec.pop("strongly_typed", False)
        declared = EngineSpec(**{"path": "m.onnx", **spec})
        with Store.temporary() as scratch:
            model = resolve_model(declared, [self.folder], self.store or scratch)
            request = BuildRequest(
                spec=declared,
                model=model,
                shapes=lambda: resolve_shapes(model, declared, run or RunShape(batch=1)),
                environment=self.environment,
                strongly_typed=typed,
            )
            resources = BuildResources(
                store=self.store, convert=run_conversion, build=self.build, report_waiting=lambda text: None
            )
            return provide(request, resources, fresh=fresh)


@pytest.fixture
def gpu(tmp_path: Path, save_model: Save) -> Iterator[Workbench]:
    """A workbench whose builds stand in for TensorRT's; their plans are never run."""
    save_model()
    with Store(tmp_path / "cache", 10**9) as store:
        yield Workbench(tmp_path, store, GPU)


@pytest.fixture
def cpu(tmp_path: Path, save_model: Save) -> Iterator[Workbench]:
    save_model()
    with Store(tmp_path / "cache", 10**9) as store:
        yield Workbench(tmp_path, store, backend("onnxruntime").environment("0"))


def outputs(plan: Path, batch: int = 2) -> Any:
    engine = backend("onnxruntime").load(plan, "0", EngineSpec(threads=1))
    inputs = np.random.default_rng(0).standard_normal((batch, 32)).astype(np.float32)
    return engine.run({"x": inputs})["y"]  # type: ignore[attr-defined]


def test_built_engine_is_found_in_the_cache(gpu: Workbench) -> None:
    first, second = gpu.provide(), gpu.provide()
    assert (first.built, second.built, len(gpu.jobs)) == (True, False, 1)
    assert dataclasses.replace(first, built=False) == second
    assert (second.build_s, second.layers) == (1.5, (Layer("conv"),))
    assert second.plan.read_bytes() == b"plan 1"


def test_job_contains_everything_that_a_build_needs(gpu: Workbench) -> None:
    gpu.provide(RunShape(batch=8), dims={"N": (1, 8, 32)}, onnx=None, calibration=list)
    (job,) = gpu.jobs
    assert job.model == str(gpu.folder / "m.onnx")
    assert job.profiles == ({"x": ((1, 32), (8, 32), (32, 32))},)
    assert job.preparation_s > 0
    assert (job.backend, job.device, job.spec.calibration) == ("tensorrt", "0", None)
    assert job.timing_cache is not None
    assert job.timing_cache.endswith("timing/10.3.0-NVIDIA-L4.cache")
    assert not Path(job.output).exists()
    gpu.provide(timing_cache=False, precision="fp16")
    assert gpu.jobs[-1].timing_cache is None


def test_only_sizes_within_one_profile_share_a_plan(gpu: Workbench) -> None:
    for batch in (1, 8, 32):
        gpu.provide(RunShape(batch=batch), dims={"N": (1, 8, 32)})
    assert len(gpu.jobs) == 1
    for batch in (1, 8):
        gpu.provide(RunShape(batch=batch))
    assert len(gpu.jobs) == 3
    with pytest.raises(ModelError, match="outside every profile"):
        gpu.provide(RunShape(batch=64), dims={"N": (1, 8, 32)})


@pytest.mark.parametrize(
    "changed",
    [
        {"precision": "fp16"}, {"workspace_mb": 64}, {"tf32": False}, {"version_compatible": True},
        {"tactic_sources": ("CUBLAS",)}, {"hardware_compatibility": "ampere_plus"}, {"optimization_level": 5},
    ],
    ids=lambda changed: next(iter(changed)),
)  # fmt: skip
def test_every_build_option_makes_another_engine(changed: dict[str, Any], gpu: Workbench) -> None:
    assert gpu.provide().digest != gpu.provide(**changed).digest
    assert len(gpu.jobs) == 2


@pytest.mark.parametrize("changed", [{"seed": 1}, {"threads": 1}, {"build_timeout_s": 5.0}, {"timing_cache": False}])
def test_run_options_do_not_change_the_digest(changed: dict[str, Any], gpu: Workbench) -> None:
    assert gpu.provide().digest == gpu.provide(**changed).digest


def test_plugin_library_is_identified_by_its_content(gpu: Workbench) -> None:
    library = gpu.folder / "lib.so"
    digests = []
    for content in (b"one", b"two"):
        library.write_bytes(content)
        digests.append(gpu.provide(plugins=str(library)).digest)
    other = library.rename(gpu.folder / "elsewhere.so")
    digests.append(gpu.provide(plugins=str(other)).digest)
    assert digests[0] != digests[1] == digests[2]
    assert gpu.jobs[-1].spec.plugins == (str(library),)


def test_own_timing_cache_is_passed_to_the_build(gpu: Workbench) -> None:
    cache = gpu.folder / "mine.cache"
    cache.write_bytes(b"timings")
    updating = gpu.provide(timing_cache=str(cache))
    assert gpu.jobs[-1].timing_cache == str(cache)
    assert updating.digest == gpu.provide().digest
    reading = gpu.provide(timing_cache=str(cache), timing_cache_mode="read_only").digest
    cache.write_bytes(b"other timings")
    again = gpu.provide(timing_cache=str(cache), timing_cache_mode="read_only").digest
    strict = gpu.provide(timing_cache=str(cache), timing_cache_mode="error_on_miss").digest
    assert len({updating.digest, reading, again, strict}) == 4


def test_onnx_runtime_notes_options_without_effect(cpu: Workbench) -> None:
    found = cpu.provide(workspace_mb=64, plugins="no/such.so", refit=True)
    assert found.notes == ("ONNX Runtime has no builder, so these are without effect: plugins, refit, workspace_mb",)
    assert cpu.provide(strongly_typed=True, timing_cache=False).notes == ()


def test_note_on_options_without_effect_follows_the_spec(cpu: Workbench) -> None:
    """Plugins and timings do not change a plan of ONNX Runtime: specs with and without them share one."""
    with_options, plain = {"plugins": "a.so", "timing_cache": "a.cache"}, {}
    found = [cpu.provide(**options) for options in (with_options, plain, with_options)]
    assert [each.built for each in found] == [True, False, False]
    note = "ONNX Runtime has no builder, so these are without effect: plugins, timing_cache"
    assert [each.notes for each in found] == [(note,), (), (note,)]


@pytest.mark.parametrize("field", ["device", "backend", "backend_version", "compute_capability", "mig_profile"])
def test_another_device_or_version_makes_another_engine(field: str, gpu: Workbench) -> None:
    gpu.provide()
    gpu.environment = dataclasses.replace(GPU, **{field: "tensorrt_rtx" if field == "backend" else "another"})
    assert gpu.provide().built


def test_compatible_engine_is_found_on_compatible_devices(gpu: Workbench) -> None:
    gpu.provide(hardware_compatibility="ampere_plus")
    gpu.provide(hardware_compatibility="same_compute_capability")
    gpu.environment = dataclasses.replace(GPU, device="NVIDIA L40S", driver="999")
    assert not gpu.provide(hardware_compatibility="ampere_plus").built
    assert not gpu.provide(hardware_compatibility="same_compute_capability").built
    gpu.environment = dataclasses.replace(GPU, device="NVIDIA A100", compute_capability="8.0")
    assert not gpu.provide(hardware_compatibility="ampere_plus").built
    assert gpu.provide(hardware_compatibility="same_compute_capability").built


def test_other_model_of_the_same_name_is_another_engine(gpu: Workbench, save_model: Save) -> None:
    before = gpu.provide()
    save_model(seed=1)
    assert gpu.provide().digest != before.digest


def test_copy_of_a_model_is_the_same_engine(gpu: Workbench, tmp_path: Path) -> None:
    gpu.provide()
    (tmp_path / "copy.onnx").write_bytes((tmp_path / "m.onnx").read_bytes())
    assert not gpu.provide(path="copy.onnx").built


def test_modified_plan_is_built_again_with_a_note(gpu: Workbench) -> None:
    gpu.provide().plan.write_bytes(b"PLAN 1")
    again = gpu.provide()
    assert again.built
    assert again.plan.read_bytes() == b"plan 2"
    assert any("is not what was saved (plan has another SHA-256)" in note for note in again.notes)
    assert gpu.provide().notes == ()


def test_fresh_build_keeps_the_cached_engine(gpu: Workbench) -> None:
    gpu.provide()
    fresh = gpu.provide(fresh=True)
    assert fresh.built
    assert fresh.plan.read_bytes() == b"plan 2"
    assert gpu.provide().plan.read_bytes() == b"plan 1"


def test_fresh_build_takes_no_lock_of_the_engine(gpu: Workbench) -> None:
    """A test that builds afresh holds the device's lock, and the process that builds the engine may wait for it."""
    assert gpu.store is not None
    cached = gpu.provide()
    with gpu.store.lock(cached.digest, lambda text: None):
        assert gpu.provide(fresh=True).built


def test_failed_build_leaves_no_files(gpu: Workbench) -> None:
    assert gpu.store is not None

    def fail(job: BuildJob) -> BuildReport:
        (Path(job.output) / "plan").write_bytes(b"half")
        raise BuildError("out of workspace")

    whole, gpu.build = gpu.build, fail  # type: ignore[method-assign]
    with pytest.raises(BuildError, match="out of workspace"):
        gpu.provide()
    assert gpu.store.list() == ()
    assert list((gpu.store.folder / "tmp").iterdir()) == []
    gpu.build = whole  # type: ignore[method-assign]
    assert gpu.provide().built


def test_build_without_a_plan_is_an_error(gpu: Workbench) -> None:
    gpu.build = lambda job: gpu.report  # type: ignore[method-assign]
    with pytest.raises(BuildError, match=r"the build of m.onnx reported success but left no plan"):
        gpu.provide()


def test_model_that_changes_during_the_build_is_an_error(gpu: Workbench, save_model: Save) -> None:
    whole = gpu.build

    def build(job: BuildJob) -> BuildReport:
        save_model(width=16)
        return whole(job)

    gpu.build = build  # type: ignore[method-assign]
    with pytest.raises(BuildError, match=r"m.onnx changed while it was built"):
        gpu.provide()
    assert gpu.store is not None
    assert gpu.store.list() == ()


def test_requested_precision_that_no_layer_has_is_an_error(gpu: Workbench) -> None:
    gpu.report = dataclasses.replace(gpu.report, precisions={"fp32": 1.0}, proved_by="inspector")
    with pytest.raises(BuildError, match=r"fp16 was requested, but no layer of m.onnx runs in it \(100% fp32\)"):
        gpu.provide(precision="fp16")
    assert gpu.provide(precision="fp32").precisions == {"fp32": 1.0}


def test_model_is_converted_for_strongly_typed_networks(gpu: Workbench) -> None:
    weakly = gpu.provide(precision="fp16")
    assert gpu.jobs[-1].model == str(gpu.folder / "m.onnx")
    seen: list[set[int]] = []
    whole = gpu.build

    def build(job: BuildJob) -> BuildReport:
        seen.append({tensor.data_type for tensor in onnx.load(job.model).graph.initializer})
        return whole(job)

    gpu.build = build  # type: ignore[method-assign]
    strongly = gpu.provide(precision="fp16", strongly_typed=True)
    assert seen == [{onnx.TensorProto.FLOAT16}]
    assert (strongly.precisions, strongly.proved_by) == ({"fp16": 1.0}, "model")
    assert strongly.digest != weakly.digest
    assert sorted(file.name for file in strongly.plan.parent.iterdir()) == ["layers.json", "meta.json", "plan"]


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"precision": "best", "strongly_typed": True}, "leaves the choice to the builder"),
        ({"precision": "fp8"}, "fp8 needs a model with Q/DQ"),
        ({"precision": "int8", "calibration": list}, "the function yielded nothing"),
    ],
)
def test_impossible_precision_is_an_error(spec: dict[str, Any], message: str, gpu: Workbench) -> None:
    with pytest.raises(BuildError, match=message):
        gpu.provide(**spec)
    assert gpu.jobs == []


def test_plan_of_onnx_runtime_runs_every_shape(cpu: Workbench) -> None:
    plan = cpu.provide(RunShape(batch=1)).plan
    assert not cpu.provide(RunShape(batch=8)).built
    assert outputs(plan, 8).shape == (8, 32)


@pytest.mark.parametrize(("precision", "away"), [("fp16", 0.01), ("int8", 0.1)])
def test_onnx_runtime_runs_converted_models_accurately(precision: str, away: float, cpu: Workbench) -> None:
    exact, other = cpu.provide(), cpu.provide(precision=precision, calibration="random")
    assert other.precisions[precision] == 1.0
    assert 0 < np.abs(outputs(exact.plan) - outputs(other.plan)).max() < away
    assert not cpu.provide(precision=precision, calibration="random").built


def test_digest_of_int8_depends_on_the_calibration(cpu: Workbench) -> None:
    def calibration() -> Iterator[dict[str, Any]]:
        yield {"x": np.full((4, 32), 3, np.float32)}

    random, own = (cpu.provide(precision="int8", calibration=one) for one in ("random", calibration))
    assert random.digest != own.digest
    assert not cpu.provide(precision="int8", calibration=calibration).built
    assert cpu.provide(precision="int8", calibration="random", seed=1).digest != random.digest


def test_int8_engine_is_shared_within_a_profile(cpu: Workbench) -> None:
    spec = {"precision": "int8", "calibration": "random", "dims": {"N": (1, 4, 8)}}
    assert len({cpu.provide(RunShape(batch=n), **spec).digest for n in (1, 8)}) == 1


def batch(value: float, count: int = 4) -> dict[str, Any]:
    return {"x": np.full((count, 32), value, np.float32)}


@pytest.fixture
def calibrating(gpu: Workbench) -> Workbench:
    """A workbench whose builds write scales beside the plan, as TensorRT's calibrators do."""
    whole = gpu.build

    def build(job: BuildJob) -> BuildReport:
        assert job.calibration is not None
        files = sorted(Path(job.calibration).glob("*.npz"))
        gpu.seen = [np.load(file)["arr_1"].mean() for file in files]
        if files:
            (Path(job.output) / CALIBRATION_CACHE).write_text("TRT-1000-EntropyCalibration2\nx: 3c010a14\n")
        assert (Path(job.output) / CALIBRATION_CACHE).is_file()
        return whole(job)

    gpu.build = build  # type: ignore[method-assign]
    return gpu


def test_tensorrt_calibration_reads_batches_and_stores_its_cache(calibrating: Workbench) -> None:
    spec = {"precision": "int8", "calibrator": "entropy", "calibration": lambda: [batch(1), batch(2)]}
    built = calibrating.provide(**spec)
    assert calibrating.seen == [1, 2]
    names = sorted(file.name for file in built.plan.parent.iterdir())
    assert names == ["calibration.cache", "layers.json", "meta.json", "plan"]
    assert not calibrating.provide(**spec).built


def test_calibration_is_shared_by_engines_with_other_options(calibrating: Workbench) -> None:
    spec = {"precision": "int8", "calibrator": "entropy", "calibration": lambda: [batch(1), batch(2)]}
    first = calibrating.provide(**spec)
    second = calibrating.provide(**spec, optimization_level=5)
    assert (second.built, calibrating.seen) == (True, [])
    assert second.digest != first.digest
    for other in ({"calibrator": "minmax"}, {"calibration": lambda: [batch(1), batch(3)]}):
        assert calibrating.provide(**{**spec, **other}).built
        assert len(calibrating.seen) == 2
    (first.plan.parent / CALIBRATION_CACHE).write_text("TRT-1000-EntropyCalibration2\n")  # no longer what was saved
    (second.plan.parent / CALIBRATION_CACHE).write_text("TRT-1000-EntropyCalibration2\n")
    calibrating.provide(**spec, optimization_level=1)
    assert calibrating.seen == [1, 2]


def test_own_calibration_cache_is_read_and_changes_the_digest(calibrating: Workbench, tmp_path: Path) -> None:
    cache = tmp_path / "m.calib"
    cache.write_text("TRT-8600-EntropyCalibration2\nx: 3c010a14\n")
    spec = {"precision": "int8", "calibrator": "entropy", "calibration": str(cache)}
    first = calibrating.provide(**spec)
    assert calibrating.seen == []
    assert (first.plan.parent / CALIBRATION_CACHE).read_bytes() == cache.read_bytes()
    cache.write_text("TRT-8600-EntropyCalibration2\nx: 3d010a14\n")
    assert calibrating.provide(**spec).digest != first.digest


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({}, "int8 needs a model with Q/DQ, or inputs to calibrate on, and m.onnx has neither: .*'random'"),
        ({"calibrator": "entropy"}, "int8 needs a model with Q/DQ, or inputs to calibrate on"),
        ({"calibration": "entropy.calib"}, "is a calibration cache, which TensorRT's own calibrators read"),
        ({"calibration": "none.calib"}, "none.calib' is no file: give a function that yields inputs, or 'random'$"),
        ({"calibration": "Random"}, "Random' is no file: write 'random' to calibrate on generated inputs"),
        ({"calibration": "x.npz"}, "x.npz' is a file of arrays: give a function that reads it and yields dicts"),
        ({"calibrator": "entropy", "calibration": "none.calib"}, "is no file: give .* or a calibration cache"),
        ({"calibrator": "minmax", "calibration": "entropy.calib"}, "is no calibration cache of the minmax calibrator"),
        (
            {"calibrator": "entropy", "calibration": "random", "strongly_typed": True},
            "TensorRT's own calibration, which TensorRT from 8.6 to before 11.0 has: leave it out",
        ),
        (
            {"calibrator": "entropy", "calibration": lambda: [batch(1), batch(1, count=3)]},
            r"batch 2: input 'x' has the shape \(3, 32\), but \(4, 32\) in the first batch",
        ),
        ({"calibrator": "entropy", "calibration": list}, "the function yielded nothing"),
        ({"calibration": lambda: [batch(float("nan"))]}, "batch 1: input 'x' holds 128 NaN"),
        (
            {"calibration": lambda: itertools.repeat(batch(1)), "build_timeout_s": 0.1},
            r"has not ended after \d+ batches and 0\.\d s \(at most 10000, and build_timeout_s=0\.1\): end it",
        ),
        (
            {"calibrator": "entropy", "calibration": lambda: itertools.repeat(batch(1)), "build_timeout_s": 0.1},
            r"build_timeout_s=0\.1\): end it",
        ),
        ({"calibration": lambda: itertools.repeat(batch(1, count=1))}, r"has not ended after 10000 batches and "),
    ],
)
def test_invalid_int8_calibrations(
    spec: dict[str, Any], message: str, gpu: Workbench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "entropy.calib").write_text("TRT-8600-EntropyCalibration2\nx: 3c010a14\n")
    np.savez(tmp_path / "x.npz", x=np.zeros((4, 32), np.float32))
    with pytest.raises(BuildError, match=message):
        gpu.provide(precision="int8", **spec)
    assert gpu.jobs == []
    assert gpu.store is not None
    assert gpu.store.list() == ()


def unused_calibration() -> Iterator[dict[str, Any]]:
    raise AssertionError("the calibration of a model that needs none was called")


def save_quantised(path: Path, float_activations: int) -> None:
    """Give the two layers of m.onnx Q/DQ; so many of them keep float activations."""
    read = int8.quantise(model_of(path), lambda: [batch(1), batch(-2)], path.with_name("q.onnx"))
    assert read.shares == {"int8": 1.0}
    made = onnx.load(str(path.with_name("q.onnx")))
    activations = [node for node in made.graph.node if node.op_type == "MatMul"][:float_activations]
    for node in activations:
        (dequantise,) = (one for one in made.graph.node if one.output[0] == node.input[0])
        (quantise,) = (one for one in made.graph.node if one.output[0] == dequantise.input[0])
        node.input[0] = quantise.input[0]
        made.graph.node.remove(dequantise)
        made.graph.node.remove(quantise)
    onnx.save(made, str(path))


def test_model_with_qdq_reports_shares_and_unused_calibration(cpu: Workbench) -> None:
    save_quantised(cpu.folder / "m.onnx", float_activations=1)
    plain, noted = cpu.provide(precision="int8"), cpu.provide(precision="int8", calibration=unused_calibration)
    assert (plain.precisions, plain.proved_by) == ({"int8": 0.5, "fp32": 0.5}, "model")
    assert (plain.built, noted.built, noted.digest) == (True, False, plain.digest)
    assert plain.notes == cpu.provide(precision="int8", calibration="random").notes == ()
    assert noted.notes == ("calibration is not used: m.onnx has Q/DQ, which defines where it is quantised",)
    assert noted.precisions == plain.precisions


@pytest.mark.parametrize("typed", [True, False])
def test_qdq_of_weights_alone_is_not_int8(typed: bool, gpu: Workbench) -> None:
    save_quantised(gpu.folder / "m.onnx", float_activations=2)
    with pytest.raises(BuildError, match="has only Q/DQ of weights, so its operators compute in float"):
        gpu.provide(precision="int8", strongly_typed=typed)
    with pytest.raises(BuildError, match=r"m.onnx has none of .*: only their weights have Q/DQ"):
        gpu.provide(precision="int8", strongly_typed=typed, calibration="random")
    assert gpu.provide().built
    assert len(gpu.jobs) == 1


def test_model_with_integer_operators_is_an_error(gpu: Workbench) -> None:
    made = onnx.load(str(gpu.folder / "m.onnx"))
    quantised = onnx.helper.make_node("DynamicQuantizeLinear", ["x"], ["a", "b", "c"])
    nodes = [quantised, onnx.helper.make_node("MatMulInteger", ["a", "w"], ["m"])]
    nodes.append(onnx.helper.make_node("Cast", ["m"], ["y"], to=onnx.TensorProto.FLOAT))
    weight = onnx.helper.make_tensor("w", onnx.TensorProto.INT8, [32, 32], [1] * 1024)
    graph = onnx.helper.make_graph(nodes, "g", made.graph.input, made.graph.output, [weight])
    opset = onnx.helper.make_opsetid("", 17)
    onnx.save(onnx.helper.make_model(graph, opset_imports=[opset], ir_version=8), str(gpu.folder / "m.onnx"))
    for calibration in (None, "random"):
        with pytest.raises(BuildError, match=r"m.onnx already computes in integers \(MatMulInteger\): request fp32"):
            gpu.provide(precision="int8", calibration=calibration)


def test_model_without_inputs_cannot_be_calibrated(gpu: Workbench) -> None:
    made = onnx.load(str(gpu.folder / "m.onnx"))
    made.graph.initializer.append(onnx.numpy_helper.from_array(np.zeros((1, 32), np.float32), "x"))
    onnx.save(made, str(gpu.folder / "m.onnx"))
    with pytest.raises(BuildError, match=r"m.onnx has no inputs, so there is nothing to calibrate int8 on"):
        gpu.provide(RunShape(), precision="int8", calibration="random")


def test_external_data_is_stored_with_the_plan(cpu: Workbench, save_model: Save, tmp_path: Path) -> None:
    made = onnx.load(str(save_model()))
    onnx.save(made, str(tmp_path / "m.onnx"), save_as_external_data=True, location="m.data", size_threshold=100)
    plan = cpu.provide().plan
    (tmp_path / "m.data").unlink()
    assert outputs(plan).shape == (2, 32)
    beside = [file for file in plan.parent.iterdir() if file.name not in ("plan", "meta.json", "layers.json")]
    assert len(beside) == 1
    with pytest.raises(ModelError, match=r"keeps weights in 'm.data', which is not in"):
        cpu.provide()


def test_prebuilt_plan_is_returned_unchanged(gpu: Workbench, tmp_path: Path) -> None:
    (tmp_path / "m.plan").write_bytes(b"prebuilt")
    prebuilt = gpu.provide(path="m.plan")
    assert (prebuilt.plan, prebuilt.built, prebuilt.build_s) == (tmp_path / "m.plan", False, None)
    assert prebuilt.digest == prebuilt.plan_sha256
    assert gpu.jobs == []


def test_without_a_cache_the_plan_lasts_as_long_as_the_process(tmp_path: Path, save_model: Save) -> None:
    save_model()
    script = f"""
from pathlib import Path
from engine.test_provide import GPU, Workbench
desk = Workbench(Path({str(tmp_path)!r}), None, GPU)
provided = desk.provide()
assert provided.plan.read_bytes() == b"plan 1"
assert desk.provide().built
print(provided.plan)
"""
    environment = {**os.environ, "PYTHONPATH": str(TESTS_FOLDER)}
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, env=environment, check=True
    )
    assert not Path(done.stdout.strip()).exists()


def test_cache_that_others_can_write_to_builds_nothing(gpu: Workbench, tmp_path: Path) -> None:
    (tmp_path / "cache").chmod(0o777)
    with pytest.raises(CacheError, match="writable by others"):
        Store(tmp_path / "cache", 10**9)
