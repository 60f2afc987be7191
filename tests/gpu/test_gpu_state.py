"""Test engines with state on the GPU: it stays there, and every sample is the same step."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from decoders import decoder, recurrent
from gpu_workshop import Workshop

from pytest_trt.engine.backends.base import BuildJob
from pytest_trt.engine.inputs import generate_inputs
from pytest_trt.errors import InputError
from pytest_trt.pipeline.open import open_runner
from pytest_trt.spec.declaration import Declaration, PipelineOptions
from pytest_trt.spec.engine_spec import EngineSpec
from pytest_trt.spec.settings import Settings
from pytest_trt.trial.bench import Bench
from pytest_trt.trial.case import Case

STATE = {"present_*": "past_*"}
LAYERS, HEADS, SIZE, CAPACITY = 2, 4, 32, 64
PASTS = [f"past_{kind}_{layer}" for layer in range(LAYERS) for kind in "kv"]


def cache(length: int) -> tuple[int, ...]:
    return (1, HEADS, length, SIZE)


def profile(kind: str) -> dict[str, Any]:
    ids = ((1, 1), (1, 1), (1, 16))
    past = {name: (cache(0), cache(16), cache(CAPACITY)) for name in PASTS} if kind == "growing" else {}
    return {"input_ids": ids, **past}


@pytest.fixture(scope="module", params=["growing", "fixed"])
def built(request: pytest.FixtureRequest, workshop: Workshop) -> tuple[str, Path, Path]:
    """The kind of the cache, the model, and the plan."""
    kind = request.param
    path, folder = workshop.folder / f"{kind}_decoder.onnx", workshop.folder / f"{kind}_decoder"
    folder.mkdir()
    onnx.save(decoder(LAYERS, HEADS, SIZE, cache=kind, capacity=CAPACITY), str(path))
    spec = EngineSpec(optimization_level=0, tf32=False)
    job = BuildJob(workshop.name, "0", spec, str(path), str(folder), (profile(kind),))
    workshop.backend.build(job, lambda text, share: None)
    return kind, path, folder / "plan"


@pytest.fixture
def opened(built: tuple[str, Path, Path], workshop: Workshop) -> Iterator[Any]:
    """Return a function that opens a runner at a fill, and returns it with inputs."""
    parts: list[Any] = []

    def open_one(fill: int, **options: Any) -> tuple[Any, dict[str, Any]]:
        engine = workshop.load(built[2])
        parts.append(engine)
        length = fill if built[0] == "growing" else CAPACITY
        shapes: dict[str, tuple[int, ...]] = {"input_ids": (1, 1), **dict.fromkeys(PASTS, cache(length))}
        ranges = {}
        if built[0] == "fixed":
            shapes["position"], ranges["position"] = (1,), (fill, fill)
        runner = open_runner(engine, shapes, PipelineOptions(**options), state=STATE)
        parts.append(runner)
        return runner, generate_inputs(runner.inputs, 0, ranges)

    yield open_one
    for part in reversed(parts):
        part.close()


def reference(model: Path, inputs: dict[str, Any]) -> dict[str, Any]:
    session = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    wide = {name: array.astype(np.int64) if array.dtype == np.int32 else array for name, array in inputs.items()}
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, wide), strict=True))


@pytest.mark.parametrize("fill", [0, 7, CAPACITY - 1])
def test_a_step_equals_that_of_onnx_runtime(built: Any, opened: Any, fill: int) -> None:
    runner, inputs = opened(fill)
    expected = reference(built[1], inputs)
    for _ in range(3):  # the first is TensorRT's own call, the others launch a graph
        outputs = runner.infer(inputs)
        assert sorted(outputs) == sorted(expected)
        for name, value in expected.items():
            np.testing.assert_allclose(outputs[name], value, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("options", [{}, {"cuda_graph": False}, {"transfers": False}, {"contexts": 2}])
def test_samples_leave_the_state_as_it_was_and_copy_none_of_it(built: Any, opened: Any, options: Any) -> None:
    runner, inputs = opened(40, **options)
    expected = reference(built[1], inputs)
    runner.set_inputs(inputs)
    figures = runner.block(20)
    assert len(figures["gpu_ms"]) == 20
    assert runner.throughput(0.02) > 0
    lane = runner._current.lanes[0]
    copied = lane.io.input_layout.nbytes + lane.io.output_layout.nbytes
    assert copied < 4096 < lane.state.nbytes
    assert runner.proof["depth"] == "1"
    assert runner.proof["state"] == f"{2 * LAYERS} tensors stay on the device"
    assert runner.proof["graph"].startswith("captured") == options.get("cuda_graph", True)
    for name, value in lane.state.read().items():
        np.testing.assert_allclose(value, expected[name], rtol=1e-3, atol=1e-3)
    assert runner.profile(3).layers
    sizes = runner.memory()
    assert sizes["io"] == options.get("contexts", 1) * (copied + lane.state.nbytes)


@pytest.mark.parametrize("options", [{}, {"cuda_graph": False}, {"transfers": False}])
def test_a_stream_carries_its_state_on_the_device(workshop: Workshop, tmp_path: Path, options: dict[str, bool]) -> None:
    path = tmp_path / "recurrent.onnx"
    onnx.save(recurrent(), str(path))
    job = BuildJob(workshop.name, "0", EngineSpec(optimization_level=0, tf32=False), str(path), str(tmp_path), ())
    workshop.backend.build(job, lambda text, share: None)
    chunks = [{"x": np.random.default_rng(seed).standard_normal((1, 8)).astype(np.float32)} for seed in range(20)]
    state, expected = np.zeros((1, 8), np.float32), []
    for chunk in chunks:
        found = reference(path, {**chunk, "state": state})
        state = found["stateN"]
        expected.append(found["y"])
    engine = workshop.load(tmp_path / "plan")
    runner = open_runner(engine, {"x": (1, 8), "state": (1, 8)}, PipelineOptions(**options), state={"stateN": "state"})
    for _ in range(2):  # each stream starts with an empty state
        outputs = list(runner.stream(chunks))
        assert [list(one) for one in outputs] == [["y"]] * 20
        np.testing.assert_allclose([one["y"] for one in outputs], expected, atol=1e-4)
    runner.close()
    engine.close()


def test_a_fill_beyond_the_profile_is_an_error(built: Any, opened: Any) -> None:
    if built[0] == "fixed":
        pytest.skip("the capacity of a fixed cache is that of the model")
    with pytest.raises(InputError, match="no profile of the engine covers"):
        opened(CAPACITY + 1)


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    folder = tmp_path_factory.mktemp("generations")
    with Bench(Settings(cache_dir=str(folder / "cache"), wait_s=0, rootdir=str(folder))) as bench:
        yield bench


@pytest.mark.parametrize("prefill", [None, "none_decoder.onnx"])
@pytest.mark.parametrize("cuda_graph", [None, False])
def test_generated_tokens_are_those_of_onnx_runtime(
    built: Any, bench: Bench, prefill: str | None, cuda_graph: bool | None
) -> None:
    kind, path, _ = built
    if kind == "fixed" and prefill:
        pytest.skip("a prompt's model without caches writes none of a fixed capacity")
    onnx.save(decoder(LAYERS, HEADS, SIZE, cache="none"), str(path.parent / "none_decoder.onnx"))
    dims = {"S": (1, 1, 16), **({"P": (0, 16, CAPACITY)} if kind == "growing" else {})}
    found = {}
    for backend in ("tensorrt", "onnxruntime"):
        build = {"optimization_level": 0, "tf32": False} if backend == "tensorrt" else {}
        index = {"write_index": "position"} if kind == "fixed" else {}
        spec = EngineSpec(path=str(path), backend=backend, state=STATE, dims=dims, **index, **build)
        declaration = Declaration(spec=spec, pipeline=PipelineOptions(cuda_graph=cuda_graph if build else None))
        with Case(bench, "test", declaration, [path.parent]) as case:
            found[backend] = [case.generate([7, 3, 60, 1, 5], 12, prefill) for _ in range(2)]
            found[backend].append(case.generate([[1, 2, 3]], 20, prefill))
    for ours, theirs in zip(*found.values(), strict=True):
        assert ours.tokens.tolist() == theirs.tokens.tolist()
        assert ours.state_bytes == theirs.state_bytes
        assert len(ours.step_ms) == ours.tokens.shape[1] - 1
