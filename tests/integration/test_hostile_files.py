"""Read hostile variants of every file that the plugin reads: each is valid, or an error of the plugin's own.

With the environment variable CI, 2,000 variants of each are read.
"""

from __future__ import annotations

import dataclasses
import gzip
import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import helper, numpy_helper
from samples.models import conv_model
from samples.mutations import bounded_memory, bounded_time, fuzzed, mutate, mutate_json
from samples.records import blocks, measurement
from samples.reports import RUN, read_json

from pytest_trt.core import codec
from pytest_trt.core.records import Environment, Layer, LayerProfile, Samples
from pytest_trt.engine.backends.plan_header import HEADER_BYTES, check_origin
from pytest_trt.engine.cache import entry
from pytest_trt.engine.cache.digest import file_sha256
from pytest_trt.engine.cache.entry import Meta
from pytest_trt.engine.convert import calibration_data
from pytest_trt.engine.model.model import read_model
from pytest_trt.engine.model.shapes import resolve_shapes
from pytest_trt.errors import TrtError
from pytest_trt.judge.accuracy import stored_outputs
from pytest_trt.judge.accuracy.allowed_error import DEFAULTS
from pytest_trt.judge.baselines import file_format
from pytest_trt.judge.baselines.baseline import Run, baseline_of, data_of
from pytest_trt.judge.regression.blame import blame
from pytest_trt.report import result_json, result_line
from pytest_trt.report.result_json import RunFile
from pytest_trt.spec.budget_file import read_budgets
from pytest_trt.spec.declaration import RunShape
from pytest_trt.spec.description import parse_pipeline
from pytest_trt.spec.engine_spec import EngineSpec
from pytest_trt.trial import probe_spread
from pytest_trt.trial.probe_spread import Calibration
from pytest_trt.trial.reference_outputs import accuracy_inputs

pytestmark = pytest.mark.filterwarnings("ignore")  # numpy and onnx warn about some of the files

OUTPUTS = {"y": np.linspace(0, 1, 50, dtype=np.float32).reshape(5, 10)}
LAYERS = tuple(Layer(f"conv{number}", 0.1, "Convolution", "kernel", "fp16", "a -> b", ("n",)) for number in range(4))
MEASUREMENT = dataclasses.replace(
    measurement(),
    outputs=stored_outputs.store(OUTPUTS),
    profile=LayerProfile(LAYERS, 10),
    samples=(Samples(blocks(0.272, count=2, size=3)),) * 2,
)
RESULTS = tuple(dataclasses.replace(result, measurement=MEASUREMENT) for result in RUN[:1])
GPU = Environment("NVIDIA H200", "gpu", "tensorrt", "8.6.0")
BUDGETS = b"""
[[budget]]
test = "tests/test_models.py::test_resnet18[fp16-*]"
device = "H200"
ms = 0.31
where = { batch = 1, precision = "fp16" }

[[budget]]
test = "tests/*"
throughput = 1000
"""


@dataclasses.dataclass(frozen=True)
class Format:
    """A frozen record of a file format.

    Attributes:
        make: Returns the bytes of a hostile file, made from a number.
        read: Reads the file at a path as the plugin does.
    """

    make: Callable[[int], bytes]
    read: Callable[[Path], object]


def of_json(record: Any) -> Callable[[int], bytes]:
    encoded = codec.encode(record)
    return lambda seed: mutate_json(encoded, seed)


def of_bytes(original: bytes) -> Callable[[int], bytes]:
    return lambda seed: mutate(original, seed)


def read_baseline(path: Path) -> None:
    baseline = file_format.parse(path.read_bytes(), path.name)
    assert file_format.parse(file_format.render(baseline), "again").node_id == baseline.node_id
    parse_pipeline(baseline.spec)


def make_data(seed: int) -> bytes:
    packed = gzip.compress(mutate_json(codec.encode(data_of(MEASUREMENT)), seed), 1)
    return mutate(packed, seed) if seed % 8 == 0 else packed


def read_data(path: Path) -> None:
    data = file_format.parse_data(path.read_bytes(), path.name)
    stored_outputs.judge(OUTPUTS, data.outputs, DEFAULTS["fp16"], "the baseline")
    if data.profile is not None:
        blame(data.profile, LayerProfile(LAYERS, 10), delta_ms=0.1).lines()


def read_run(path: Path) -> None:
    results = tuple(RunFile(path))
    assert read_json("".join(result_json.document(map(result_line.render, results), None))) == results


def read_budget_file(path: Path) -> None:
    budgets = read_budgets(path)
    budgets.merge((), "tests/test_models.py::test_resnet18[fp16-b8]")
    tuple(budgets.unmatched_where({"tests/test_models.py::test_resnet18[fp16-b8]": {"batch": 8}}))


def read_layers(path: Path) -> None:
    folder = path.parent / ("0" * 64)
    folder.mkdir(exist_ok=True)
    (folder / "plan").write_bytes(b"plan")
    path.replace(folder / "layers.json")
    files = {name: file_sha256(folder / name) for name in ("plan", "layers.json")}
    meta = Meta(folder.name, {}, GPU, 1.0, files=files)
    (folder / "meta.json").write_text(json.dumps(codec.encode(meta)))
    entry.read(folder)


def read_meta(path: Path) -> None:
    path.replace(path.parent / "meta.json")
    codec.encode(entry.read_meta(path.parent))


def read_calibration(path: Path) -> None:
    stored = probe_spread.save(path.parent, GPU, Calibration(GPU.device))
    path.replace(stored)
    assert probe_spread.spread_of(path.parent, GPU).share < 1e6


def make_npz(seed: int) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, x=np.ones((2, 3), np.float32), y=np.arange(4))
    return mutate(buffer.getvalue(), seed)


def make_model(seed: int) -> bytes:
    """Return a model of convolutions, or one with a function, a branch and a sparse weight."""
    return mutate(MODELS[seed % 2], seed)


def _control_model() -> onnx.ModelProto:
    x, y = (helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["N", 4]) for name in "xy")
    branches = [
        helper.make_graph(
            [helper.make_node(op, ["x"], [op])],
            op,
            [],
            [helper.make_tensor_value_info(op, onnx.TensorProto.FLOAT, None)],
        )
        for op in ("Relu", "Abs")
    ]
    nodes = [
        helper.make_node("If", ["c"], ["b"], then_branch=branches[0], else_branch=branches[1]),
        helper.make_node("Add", ["b", "w"], ["s"]),
        helper.make_node("twice", ["s"], ["y"], domain="local"),
    ]
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("local", 1)]
    twice = helper.make_function("local", "twice", ["a"], ["r"], [helper.make_node("Add", ["a", "a"], ["r"])], opsets)
    graph = helper.make_graph(nodes, "graph", [x], [y], [numpy_helper.from_array(np.array(True), "c")])
    sparse = graph.sparse_initializer.add(dims=[1, 4])
    sparse.values.CopyFrom(numpy_helper.from_array(np.ones(1, np.float32), "w"))
    sparse.indices.CopyFrom(numpy_helper.from_array(np.array([2]), "i"))
    return helper.make_model(graph, opset_imports=opsets, functions=[twice], ir_version=8)


MODELS = (conv_model().SerializeToString(), _control_model().SerializeToString())


def read_onnx(path: Path) -> None:
    model = read_model(path)
    resolve_shapes(model, EngineSpec(path=str(path)), RunShape(batch=2))


PLAN = b"vtrt" + bytes(12) + (1000).to_bytes(8, "little") + bytes([1, 7, 1, 116]) + b"vtrt" + bytes([24, 0, 0, 0])

FORMATS = {
    "baseline": Format(
        of_json(
            dataclasses.replace(baseline_of(MEASUREMENT), history=(Run("2026-07-01T12:00:00", None, {"ms": 1.0}),))
        ),
        read_baseline,
    ),
    "_data": Format(make_data, read_data),
    "run": Format(of_json({"schema": 1, "results": RESULTS}), read_run),
    "budgets": Format(of_bytes(BUDGETS), read_budget_file),
    "layers.json": Format(of_json(LAYERS), read_layers),
    "meta.json": Format(of_json(Meta("0" * 64, {"dims": {"N": [1, 8]}}, GPU, 1.0, {"fp16": 1.0})), read_meta),
    "calibration": Format(of_json(Calibration(GPU.device, (0.001, -0.002, 0.0005))), read_calibration),
    "calibration cache": Format(
        of_bytes(b"TRT-8600-EntropyCalibration2\nx: 3c010a14\n"),
        lambda path: calibration_data.read_cache(path, "entropy"),
    ),
    "plan": Format(
        of_bytes(PLAN.ljust(HEADER_BYTES, b"\0") + bytes(936)),
        lambda path: check_origin("tensorrt_rtx", "1.7.1", path, host_code=False),
    ),
    "npz": Format(make_npz, lambda path: accuracy_inputs(path.name, [path.parent])),
    "onnx": Format(make_model, read_onnx),
}


@pytest.fixture(autouse=True)
def memory() -> Iterator[None]:
    with bounded_memory():
        yield


@pytest.mark.parametrize("name", FORMATS)
def test_hostile_file_is_read_or_an_error_of_ours(name: str, tmp_path: Path) -> None:
    outcomes = check(name, tmp_path, fuzzed)
    assert len(outcomes) == 2, "all files were read, or none: the mutations show nothing"


def check(name: str, folder: Path, settings: Any) -> set[bool]:
    """Read the hostile files of a format. Return whether some of them were read, and whether some were errors."""
    form, file, outcomes = FORMATS[name], folder / "hostile", set[bool]()

    @settings
    @given(st.integers(0, 2**63))
    def read(seed: int) -> None:
        file.write_bytes(form.make(seed))
        with bounded_time():
            try:
                form.read(file)
            except TrtError as error:
                assert str(error)  # noqa: PT017 - most files are errors, and some can be read
                outcomes.add(False)
            else:
                outcomes.add(True)

    read()
    return outcomes
