"""From a spec to a plan: what is built again, what is found, and what is refused. Built by ONNX Runtime, for real."""

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


class Desk:
    """One folder of models, one cache, one environment; `jobs` is what was built."""

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
            resources = BuildResources(store=self.store, build=self.build, report_waiting=lambda text: None)
            return provide(request, resources, fresh=fresh)


@pytest.fixture
def gpu(tmp_path: Path, save_model: Save) -> Iterator[Desk]:
    """Builds of TensorRT, whose plans are only kept here, never run."""
    save_model()
    with Store(tmp_path / "cache", 10**9) as store:
        yield Desk(tmp_path, store, GPU)


@pytest.fixture
def cpu(tmp_path: Path, save_model: Save) -> Iterator[Desk]:
    save_model()
    with Store(tmp_path / "cache", 10**9) as store:
        yield Desk(tmp_path, store, backend("onnxruntime").environment("0"))


def outputs(plan: Path, batch: int = 2) -> Any:
    engine = backend("onnxruntime").load(plan, "0", EngineSpec(threads=1))
    inputs = np.random.default_rng(0).standard_normal((batch, 32)).astype(np.float32)
    return engine.run({"x": inputs})["y"]  # type: ignore[attr-defined]


def test_what_was_built_is_found(gpu: Desk) -> None:
    first, second = gpu.provide(), gpu.provide()
    assert (first.built, second.built, len(gpu.jobs)) == (True, False, 1)
    assert dataclasses.replace(first, built=False) == second
    assert (second.build_s, second.layers) == (1.5, (Layer("conv"),))
    assert second.plan.read_bytes() == b"plan 1"


def test_the_job_says_all_that_a_build_needs(gpu: Desk) -> None:
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


def test_sizes_within_the_profile_share_one_plan_and_others_do_not(gpu: Desk) -> None:
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
def test_every_build_option_makes_another_engine(changed: dict[str, Any], gpu: Desk) -> None:
    assert gpu.provide().digest != gpu.provide(**changed).digest
    assert len(gpu.jobs) == 2


@pytest.mark.parametrize("changed", [{"seed": 1}, {"threads": 1}, {"build_timeout_s": 5.0}, {"timing_cache": False}])
def test_what_does_not_change_the_build_does_not_build(changed: dict[str, Any], gpu: Desk) -> None:
    assert gpu.provide().digest == gpu.provide(**changed).digest


def test_a_plugin_library_is_known_by_its_content(gpu: Desk) -> None:
    library = gpu.folder / "lib.so"
    digests = []
    for content in (b"one", b"two"):
        library.write_bytes(content)
        digests.append(gpu.provide(plugins=str(library)).digest)
    other = library.rename(gpu.folder / "elsewhere.so")
    digests.append(gpu.provide(plugins=str(other)).digest)
    assert digests[0] != digests[1] == digests[2]
    assert gpu.jobs[-1].spec.plugins == (str(library),)


def test_a_timing_cache_that_is_given_goes_to_the_build(gpu: Desk) -> None:
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


def test_onnx_runtime_says_what_it_does_without(cpu: Desk) -> None:
    found = cpu.provide(workspace_mb=64, plugins="no/such.so", refit=True)
    assert found.notes == ("ONNX Runtime has no builder, so these are without effect: plugins, refit, workspace_mb",)
    assert cpu.provide(strongly_typed=True, timing_cache=False).notes == ()


def test_what_is_without_effect_is_said_of_the_spec_that_asks_for_it(cpu: Desk) -> None:
    """Plugins and timings are of no plan of ONNX Runtime's: specs with and without them share one."""
    asked, plain = {"plugins": "a.so", "timing_cache": "a.cache"}, {}
    found = [cpu.provide(**options) for options in (asked, plain, asked)]
    assert [each.built for each in found] == [True, False, False]
    said = "ONNX Runtime has no builder, so these are without effect: plugins, timing_cache"
    assert [each.notes for each in found] == [(said,), (), (said,)]


@pytest.mark.parametrize("field", ["device", "backend", "backend_version", "compute_capability", "mig_profile"])
def test_another_device_or_version_makes_another_engine(field: str, gpu: Desk) -> None:
    gpu.provide()
    gpu.environment = dataclasses.replace(GPU, **{field: "tensorrt_rtx" if field == "backend" else "another"})
    assert gpu.provide().built


def test_a_compatible_engine_is_found_on_the_devices_that_it_is_for(gpu: Desk) -> None:
    gpu.provide(hardware_compatibility="ampere_plus")
    gpu.provide(hardware_compatibility="same_compute_capability")
    gpu.environment = dataclasses.replace(GPU, device="NVIDIA L40S", driver="999")
    assert not gpu.provide(hardware_compatibility="ampere_plus").built
    assert not gpu.provide(hardware_compatibility="same_compute_capability").built
    gpu.environment = dataclasses.replace(GPU, device="NVIDIA A100", compute_capability="8.0")
    assert not gpu.provide(hardware_compatibility="ampere_plus").built
    assert gpu.provide(hardware_compatibility="same_compute_capability").built


def test_another_model_of_the_same_name_is_another_engine(gpu: Desk, save_model: Save) -> None:
    before = gpu.provide()
    save_model(seed=1)
    assert gpu.provide().digest != before.digest


def test_a_copy_elsewhere_is_the_same_engine(gpu: Desk, tmp_path: Path) -> None:
    gpu.provide()
    (tmp_path / "copy.onnx").write_bytes((tmp_path / "m.onnx").read_bytes())
    assert not gpu.provide(path="copy.onnx").built


def test_a_plan_that_was_changed_is_built_again_and_said(gpu: Desk) -> None:
    gpu.provide().plan.write_bytes(b"PLAN 1")
    again = gpu.provide()
    assert again.built
    assert again.plan.read_bytes() == b"plan 2"
    assert any("is not what was saved (plan has another SHA-256)" in note for note in again.notes)
    assert gpu.provide().notes == ()


def test_a_fresh_build_leaves_the_cached_one(gpu: Desk) -> None:
    gpu.provide()
    fresh = gpu.provide(fresh=True)
    assert fresh.built
    assert fresh.plan.read_bytes() == b"plan 2"
    assert gpu.provide().plan.read_bytes() == b"plan 1"


def test_a_fresh_build_waits_for_nobody(gpu: Desk) -> None:
    """Whoever asks for one holds the device; whoever builds may be waiting for that."""
    assert gpu.store is not None
    cached = gpu.provide()
    with gpu.store.lock(cached.digest, lambda text: None):
        assert gpu.provide(fresh=True).built


def test_a_failed_build_leaves_nothing_and_the_next_one_builds(gpu: Desk) -> None:
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


def test_a_build_without_a_plan_is_an_error(gpu: Desk) -> None:
    gpu.build = lambda job: gpu.report  # type: ignore[method-assign]
    with pytest.raises(BuildError, match=r"the build of m.onnx reported success but left no plan"):
        gpu.provide()


def test_a_model_that_changes_while_it_is_built_is_an_error(gpu: Desk, save_model: Save) -> None:
    whole = gpu.build

    def build(job: BuildJob) -> BuildReport:
        save_model(width=16)
        return whole(job)

    gpu.build = build  # type: ignore[method-assign]
    with pytest.raises(BuildError, match=r"m.onnx changed while it was built"):
        gpu.provide()
    assert gpu.store is not None
    assert gpu.store.list() == ()


def test_asking_for_a_precision_and_getting_none_is_an_error(gpu: Desk) -> None:
    gpu.report = dataclasses.replace(gpu.report, precisions={"fp32": 1.0}, proved_by="inspector")
    with pytest.raises(BuildError, match=r"fp16 was requested, but no layer of m.onnx runs in it \(100% fp32\)"):
        gpu.provide(precision="fp16")
    assert gpu.provide(precision="fp32").precisions == {"fp32": 1.0}


def test_where_networks_are_strongly_typed_the_model_is_converted(gpu: Desk) -> None:
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
    ("spec", "said"),
    [
        ({"precision": "best", "strongly_typed": True}, "leaves the choice to the builder"),
        ({"precision": "fp8"}, "fp8 needs a model with Q/DQ"),
        ({"precision": "int8", "calibration": list}, "the function yielded nothing"),
    ],
)
def test_a_precision_that_nobody_can_make_is_told(spec: dict[str, Any], said: str, gpu: Desk) -> None:
    with pytest.raises(BuildError, match=said):
        gpu.provide(**spec)
    assert gpu.jobs == []


def test_onnx_runtimes_plan_runs_and_serves_every_shape(cpu: Desk) -> None:
    plan = cpu.provide(RunShape(batch=1)).plan
    assert not cpu.provide(RunShape(batch=8)).built
    assert outputs(plan, 8).shape == (8, 32)


@pytest.mark.parametrize(("precision", "away"), [("fp16", 0.01), ("int8", 0.1)])
def test_onnx_runtime_in_other_precisions_is_converted_and_right(precision: str, away: float, cpu: Desk) -> None:
    exact, other = cpu.provide(), cpu.provide(precision=precision, calibration="random")
    assert other.precisions[precision] == 1.0
    assert 0 < np.abs(outputs(exact.plan) - outputs(other.plan)).max() < away
    assert not cpu.provide(precision=precision, calibration="random").built


def test_int8_follows_what_it_is_calibrated_on(cpu: Desk) -> None:
    def calibration() -> Iterator[dict[str, Any]]:
        yield {"x": np.full((4, 32), 3, np.float32)}

    drawn, given = (cpu.provide(precision="int8", calibration=one) for one in ("random", calibration))
    assert drawn.digest != given.digest
    assert not cpu.provide(precision="int8", calibration=calibration).built
    assert cpu.provide(precision="int8", calibration="random", seed=1).digest != drawn.digest


def test_int8_of_sizes_that_share_a_profile_is_one_engine(cpu: Desk) -> None:
    said = {"precision": "int8", "calibration": "random", "dims": {"N": (1, 4, 8)}}
    assert len({cpu.provide(RunShape(batch=n), **said).digest for n in (1, 8)}) == 1


def batch(value: float, count: int = 4) -> dict[str, Any]:
    return {"x": np.full((count, 32), value, np.float32)}


@pytest.fixture
def calibrating(gpu: Desk) -> Desk:
    """Builds that leave scales beside the plan, as TensorRT's calibrators do."""
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


def test_tensorrts_own_calibration_gets_the_batches_and_keeps_its_cache(calibrating: Desk) -> None:
    said = {"precision": "int8", "calibrator": "entropy", "calibration": lambda: [batch(1), batch(2)]}
    built = calibrating.provide(**said)
    assert calibrating.seen == [1, 2]
    names = sorted(file.name for file in built.plan.parent.iterdir())
    assert names == ["calibration.cache", "layers.json", "meta.json", "plan"]
    assert not calibrating.provide(**said).built


def test_a_calibration_serves_every_engine_that_differs_in_other_options_alone(calibrating: Desk) -> None:
    said = {"precision": "int8", "calibrator": "entropy", "calibration": lambda: [batch(1), batch(2)]}
    first = calibrating.provide(**said)
    second = calibrating.provide(**said, optimization_level=5)
    assert (second.built, calibrating.seen) == (True, [])
    assert second.digest != first.digest
    for other in ({"calibrator": "minmax"}, {"calibration": lambda: [batch(1), batch(3)]}):
        assert calibrating.provide(**{**said, **other}).built
        assert len(calibrating.seen) == 2
    (first.plan.parent / CALIBRATION_CACHE).write_text("TRT-1000-EntropyCalibration2\n")  # not what was saved
    (second.plan.parent / CALIBRATION_CACHE).write_text("TRT-1000-EntropyCalibration2\n")
    calibrating.provide(**said, optimization_level=1)
    assert calibrating.seen == [1, 2]


def test_a_given_calibration_cache_is_read_and_part_of_the_digest(calibrating: Desk, tmp_path: Path) -> None:
    cache = tmp_path / "m.calib"
    cache.write_text("TRT-8600-EntropyCalibration2\nx: 3c010a14\n")
    said = {"precision": "int8", "calibrator": "entropy", "calibration": str(cache)}
    first = calibrating.provide(**said)
    assert calibrating.seen == []
    assert (first.plan.parent / CALIBRATION_CACHE).read_bytes() == cache.read_bytes()
    cache.write_text("TRT-8600-EntropyCalibration2\nx: 3d010a14\n")
    assert calibrating.provide(**said).digest != first.digest


@pytest.mark.parametrize(
    ("spec", "said"),
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
def test_int8_that_cannot_be_calibrated_is_told(
    spec: dict[str, Any], said: str, gpu: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "entropy.calib").write_text("TRT-8600-EntropyCalibration2\nx: 3c010a14\n")
    np.savez(tmp_path / "x.npz", x=np.zeros((4, 32), np.float32))
    with pytest.raises(BuildError, match=said):
        gpu.provide(precision="int8", **spec)
    assert gpu.jobs == []
    assert gpu.store is not None
    assert gpu.store.list() == ()


def unasked() -> Iterator[dict[str, Any]]:
    raise AssertionError("the calibration of a model that needs none was called")


def save_quantised(path: Path, float_activations: int) -> None:
    """m.onnx, two layers, with Q/DQ of its own; of weights alone in so many."""
    read = int8.quantise(model_of(path), lambda: [batch(1), batch(-2)], path.with_name("q.onnx"))
    assert read.shares == {"int8": 1.0}
    made = onnx.load(str(path.with_name("q.onnx")))
    activations = [node for node in made.graph.node if node.op_type == "MatMul"][:float_activations]
    for node in activations:
        (back,) = (one for one in made.graph.node if one.output[0] == node.input[0])
        (forth,) = (one for one in made.graph.node if one.output[0] == back.input[0])
        node.input[0] = forth.input[0]
        made.graph.node.remove(back)
        made.graph.node.remove(forth)
    onnx.save(made, str(path))


def test_a_model_that_comes_with_its_q_dq_tells_its_shares_and_that_calibration_is_not_used(cpu: Desk) -> None:
    save_quantised(cpu.folder / "m.onnx", float_activations=1)
    plain, noted = cpu.provide(precision="int8"), cpu.provide(precision="int8", calibration=unasked)
    assert (plain.precisions, plain.proved_by) == ({"int8": 0.5, "fp32": 0.5}, "model")
    assert (plain.built, noted.built, noted.digest) == (True, False, plain.digest)
    assert plain.notes == cpu.provide(precision="int8", calibration="random").notes == ()
    assert noted.notes == ("calibration is not used: m.onnx has Q/DQ, which defines where it is quantised",)
    assert noted.precisions == plain.precisions


@pytest.mark.parametrize("typed", [True, False])
def test_q_dq_of_weights_alone_is_no_int8(typed: bool, gpu: Desk) -> None:
    save_quantised(gpu.folder / "m.onnx", float_activations=2)
    with pytest.raises(BuildError, match="has only Q/DQ of weights, so its operators compute in float"):
        gpu.provide(precision="int8", strongly_typed=typed)
    with pytest.raises(BuildError, match=r"m.onnx has none of .*: only their weights have Q/DQ"):
        gpu.provide(precision="int8", strongly_typed=typed, calibration="random")
    assert gpu.provide().built
    assert len(gpu.jobs) == 1


def test_a_model_of_integer_operators_is_told_as_that(gpu: Desk) -> None:
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


def test_a_model_without_inputs_cannot_be_calibrated(gpu: Desk) -> None:
    made = onnx.load(str(gpu.folder / "m.onnx"))
    made.graph.initializer.append(onnx.numpy_helper.from_array(np.zeros((1, 32), np.float32), "x"))
    onnx.save(made, str(gpu.folder / "m.onnx"))
    with pytest.raises(BuildError, match=r"m.onnx has no inputs, so there is nothing to calibrate int8 on"):
        gpu.provide(RunShape(), precision="int8", calibration="random")


def test_external_data_goes_with_the_plan(cpu: Desk, save_model: Save, tmp_path: Path) -> None:
    made = onnx.load(str(save_model()))
    onnx.save(made, str(tmp_path / "m.onnx"), save_as_external_data=True, location="m.data", size_threshold=100)
    plan = cpu.provide().plan
    (tmp_path / "m.data").unlink()
    assert outputs(plan).shape == (2, 32)
    beside = [file for file in plan.parent.iterdir() if file.name not in ("plan", "meta.json", "layers.json")]
    assert len(beside) == 1
    with pytest.raises(ModelError, match=r"keeps weights in 'm.data', which is not in"):
        cpu.provide()


def test_given_plans_pass_through(gpu: Desk, tmp_path: Path) -> None:
    (tmp_path / "m.plan").write_bytes(b"given")
    given = gpu.provide(path="m.plan")
    assert (given.plan, given.built, given.build_s) == (tmp_path / "m.plan", False, None)
    assert given.digest == given.plan_sha256
    assert gpu.jobs == []


def test_without_a_cache_the_plan_lasts_as_long_as_the_process(tmp_path: Path, save_model: Save) -> None:
    save_model()
    script = f"""
from pathlib import Path
from engine.test_provide import GPU, Desk
desk = Desk(Path({str(tmp_path)!r}), None, GPU)
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


def test_a_cache_that_others_can_write_to_builds_nothing(gpu: Desk, tmp_path: Path) -> None:
    (tmp_path / "cache").chmod(0o777)
    with pytest.raises(CacheError, match="writable by others"):
        Store(tmp_path / "cache", 10**9)
