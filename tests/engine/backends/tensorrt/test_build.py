"""Test real ahead-of-time builds with TensorRT-RTX, which need no GPU."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from samples.models import conv_model, layers_model
from samples.rtx_builds import PROFILE, build

from pytest_trt.engine.backends import cuda
from pytest_trt.engine.backends.base import BuildJob, BuildReport, backend
from pytest_trt.engine.backends.plan_header import read_origin
from pytest_trt.engine.backends.tensorrt import build as tensorrt_build
from pytest_trt.engine.backends.tensorrt.precision import missing_precision
from pytest_trt.engine.convert.half import convert
from pytest_trt.engine.model.intermediate import TensorGraph
from pytest_trt.engine.model.model import read_model
from pytest_trt.errors import BackendError, BuildError
from pytest_trt.spec.engine_spec import EngineSpec

rtx = pytest.importorskip("tensorrt_rtx", reason="needs the package tensorrt_rtx")

LIGHT = sorted((Path(onnx.__file__).parent / "backend/test/data/light").glob("light_*.onnx"))


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "conv.onnx"
    onnx.save(conv_model(), str(path))
    return path


def test_dynamic_model_builds_with_two_profiles_and_two_capabilities(model: Path, tmp_path: Path) -> None:
    wide = {"x": ((1, 3, 16, 16), (8, 3, 16, 16), (16, 3, 16, 16))}
    report, progress = build(model, tmp_path, (PROFILE, wide), compute_capabilities=(89, 120))
    plan = (tmp_path / "plan").read_bytes()
    assert len(plan) == report.plan_bytes > 1000
    assert str(read_origin(tmp_path / "plan")) == f"TensorRT-RTX {rtx.__version__}"
    assert progress[0] == ("parsing the model", -1.0)
    assert all(-1.0 <= share <= 1.0 for _, share in progress)
    assert not (tmp_path / "timing.cache").exists()  # an ahead-of-time build measures no timings


def test_dimensions_named_question_mark_may_differ(tmp_path: Path) -> None:
    """Paddle's exporter names height and width like this. TensorRT requires dimensions of one name to be equal."""
    made = conv_model()
    for axis in (2, 3):
        made.graph.input[0].type.tensor_type.shape.dim[axis].dim_param = "?"
    onnx.save(made, str(tmp_path / "m.onnx"))
    build(tmp_path / "m.onnx", tmp_path, ({"x": ((1, 3, 16, 32), (2, 3, 16, 32), (4, 3, 48, 192))},))
    assert (tmp_path / "plan").exists()


def test_fp16_is_proved_by_the_converted_model(model: Path, tmp_path: Path) -> None:
    half = tmp_path / "half.onnx"
    convert(model, "fp16", half)
    report, _ = build(half, tmp_path, (PROFILE,), precision="fp16")
    assert report.proved_by == "model"
    assert report.precisions["fp16"] > 0.5


def test_fp16_of_an_unconverted_model_is_an_error(model: Path, tmp_path: Path) -> None:
    with pytest.raises(BuildError, match=r"precision='fp16' was requested, but no layer has it \(there is 100% fp32\)"):
        build(model, tmp_path, (PROFILE,), precision="fp16")


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"compute_capabilities": (90,)}, r"cannot build for compute capability 90: choose from 75, 80, 86, 89, 120"),
        ({"precision": "int8"}, "precision='int8' needs a quantised model"),
        ({"precision": "fp8", "compute_capabilities": (86,)}, r"needs .* 8\.9 or later, not 8\.6"),
        ({"precision": "bf16", "compute_capabilities": (89, 75)}, r"needs .* 8\.0 or later, not 7\.5"),
        ({"tactic_sources": ("CUBLAS",)}, r"tactic_sources: 'CUBLAS' .*TensorRT from 8\.6 to before 11\.0 has it"),
    ],
)
def test_unsupported_options_are_errors_before_the_build(
    model: Path, tmp_path: Path, spec: dict[str, Any], message: str
) -> None:
    with pytest.raises(BuildError, match=message):
        build(model, tmp_path, (PROFILE,), **spec)


def quantised_model(kind: int) -> onnx.ModelProto:
    """x [16, 64] -> y [16, 64]: a MatMul whose inputs are quantised to a type of 8 bits."""
    weights = np.random.default_rng(0).standard_normal((64, 64)).astype(np.float32)
    scale, zero = numpy_helper.from_array(np.float32(0.02), "s"), helper.make_tensor("z", kind, [], [0])
    nodes = []
    for name in "xw":
        nodes.append(helper.make_node("QuantizeLinear", [name, "s", "z"], [f"{name}q"]))
        nodes.append(helper.make_node("DequantizeLinear", [f"{name}q", "s", "z"], [f"{name}d"]))
    nodes.append(helper.make_node("MatMul", ["xd", "wd"], ["y"], "matmul"))
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [16, 64]) for name in "xy")
    graph = helper.make_graph(nodes, "g", [x], [y], [numpy_helper.from_array(weights, "w"), scale, zero])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9)


KINDS = {"fp8": TensorProto.FLOAT8E4M3FN, "int8": TensorProto.INT8}


@pytest.mark.parametrize("precision", KINDS)
def test_quantised_model_proves_its_precision(precision: str, tmp_path: Path) -> None:
    path = tmp_path / "q.onnx"
    onnx.save(quantised_model(KINDS[precision]), str(path))
    report, _ = build(path, tmp_path, precision=precision)
    assert report.precisions[precision] > 0
    (other,) = KINDS.keys() - {precision}
    with pytest.raises(BuildError, match=rf"precision='{other}' was requested, but no layer has it"):
        build(path, tmp_path, precision=other)


@pytest.mark.parametrize("name", ["bvlc_alexnet", "resnet50"])
def test_models_with_tensors_marked_as_outputs_build(name: str, tmp_path: Path) -> None:
    light = Path(onnx.__file__).parent / "backend/test/data/light"
    graph = TensorGraph(read_model(light / f"light_{name}.onnx"))
    marked = list(graph.tensors)[:: max(1, len(graph.tensors) // 16)]
    graph.write_marked(marked, tmp_path / "marked.onnx")
    report, _ = build(tmp_path / "marked.onnx", tmp_path)
    assert report.plan_bytes > 1000


def test_build_options_are_accepted(model: Path, tmp_path: Path) -> None:
    report, _ = build(
        model, tmp_path, (PROFILE,), optimization_level=1, workspace_mb=64, avg_timing_iterations=1, max_aux_streams=0,
        tf32=False, sparsity=True, profiling_verbosity="none",
    )  # fmt: skip
    assert report.plan_bytes > 1000


@pytest.mark.skipif(cuda.reason_unusable() is None, reason="needs a machine without a GPU")
def test_error_of_a_model_does_not_mention_the_driver(tmp_path: Path) -> None:
    x, y = (helper.make_tensor_value_info(n, TensorProto.FLOAT, [4, 4]) for n in "xy")
    sizes = numpy_helper.from_array(np.array([3, 5]), "sizes")
    graph = helper.make_graph([helper.make_node("Reshape", ["x", "sizes"], ["y"], "narrow")], "g", [x], [y], [sizes])
    path = tmp_path / "m.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(path))
    with pytest.raises(BuildError, match=r"narrow \(Reshape\): (.|\n)*Reshaping \[4,4\] to \[3,5\]") as caught:
        build(path, tmp_path)
    assert "cudaError" not in str(caught.value)


def test_unknown_operator_is_named_with_its_node(tmp_path: Path) -> None:
    nodes = [helper.make_node("Nonsense", ["x"], ["y"], "the_odd_one", domain="no.such")]
    x, y = (helper.make_tensor_value_info(n, TensorProto.FLOAT, [4]) for n in "xy")
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("no.such", 1)]
    path = tmp_path / "odd.onnx"
    onnx.save(helper.make_model(helper.make_graph(nodes, "g", [x], [y]), opset_imports=opsets, ir_version=8), str(path))
    with pytest.raises(BuildError, match=r"parser rejects odd\.onnx: node the_odd_one \(Nonsense\): "):
        build(path, tmp_path)


@pytest.mark.skipif(cuda.reason_unusable() is None, reason="needs a machine without a GPU")
@pytest.mark.parametrize("option", ["refit", "strip_weights"])
def test_options_that_need_the_gpu_are_errors_without_it(option: str, model: Path, tmp_path: Path) -> None:
    with pytest.raises(BuildError, match="with refit or strip_weights, TensorRT-RTX can build only on the GPU"):
        build(model, tmp_path, (PROFILE,), **{option: True})


def test_unsupported_operators_are_named_once(tmp_path: Path) -> None:
    """A dynamically quantised model has hundreds of such nodes."""
    node = helper.make_node
    nodes = []
    for number in range(3):
        nodes.append(node("DynamicQuantizeLinear", ["x"], [f"{kind}{number}" for kind in "qsz"], f"quantise{number}"))
        nodes.append(node("MatMulInteger", [f"q{number}", "w"], [f"y{number}"], f"matmul{number}"))
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [4, 8])
    outputs = [helper.make_tensor_value_info(f"y{number}", TensorProto.INT32, [4, 8]) for number in range(3)]
    graph = helper.make_graph(nodes, "g", [x], outputs, [numpy_helper.from_array(np.ones((8, 8), np.int8), "w")])
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(made, str(tmp_path / "m.onnx"))
    with pytest.raises(BuildError) as caught:
        build(tmp_path / "m.onnx", tmp_path)
    assert str(caught.value) == (
        "TensorRT's parser rejects m.onnx: node quantise0 (DynamicQuantizeLinear) and 2 more: TensorRT has no such "
        "operator; node matmul0 (MatMulInteger) and 2 more: TensorRT has no such operator"
    )


def test_file_that_is_no_model_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "broken.onnx"
    path.write_bytes(b"this is no model")
    with pytest.raises(BuildError, match=r"the network parsed from broken\.onnx has no outputs: is it a complete"):
        build(path, tmp_path)


def test_dynamic_inputs_without_a_profile_are_an_error(model: Path, tmp_path: Path) -> None:
    with pytest.raises(BuildError, match=r"cannot build conv\.onnx: .*profile"):
        build(model, tmp_path)


def test_shape_tensor_needs_an_input_range(tmp_path: Path) -> None:
    nodes = [helper.make_node("Expand", ["x", "shape"], ["y"], "expand")]
    inputs = [
        helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 1]),
        helper.make_tensor_value_info("shape", TensorProto.INT64, [2]),
    ]
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["a", "b"])
    path = tmp_path / "expand.onnx"
    graph = helper.make_graph(nodes, "g", inputs, [y])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(path))
    with pytest.raises(BuildError, match=r"'shape' is read by the host .*input_ranges=\{'shape': \(low, high\)\}"):
        build(path, tmp_path)
    report, _ = build(path, tmp_path, input_ranges={"shape": (1, 8)})
    assert report.plan_bytes > 100


@pytest.mark.skipif(cuda.reason_unusable() is None, reason="needs a machine without a GPU")
def test_missing_driver_is_an_error(model: Path, tmp_path: Path) -> None:
    with pytest.raises(BackendError, match="driver"):
        build(model, tmp_path, (PROFILE,), compute_capabilities=())
    with pytest.raises(BackendError, match="driver"):
        backend("tensorrt_rtx").environment("0")
    with pytest.raises(BackendError, match="driver"):
        backend("tensorrt_rtx").load(tmp_path / "plan", "0", EngineSpec())


class Timings:
    """Stands in for builds with precision flags.

    Args:
        chosen: The precision that timing chooses, with the timings of an earlier build and then without them.
        preferred: The precision of the build that prefers one, or its error.
    """

    def __init__(self, chosen: list[str], preferred: str | BuildError) -> None:
        self._chosen, self._preferred = iter(chosen), preferred
        self.jobs: list[BuildJob] = []

    def __call__(self, trt: Any, job: BuildJob, progress: Any) -> tuple[BuildReport, str]:
        self.jobs.append(job)
        result = self._preferred if job.spec.precision_constraints == "prefer" else next(self._chosen)
        if isinstance(result, BuildError):
            raise result
        report = BuildReport(1.0, 100, {result: 1.0}, "inspector", notes=("of this build",))
        return report, missing_precision(job.spec, report)

    def build(self, monkeypatch: pytest.MonkeyPatch, **spec: Any) -> BuildReport:
        monkeypatch.setattr(tensorrt_build, "_build", self)
        job = BuildJob("tensorrt", "0", EngineSpec(**spec), "m.onnx", "out", timing_cache="timing.cache")
        return tensorrt_build.build(rtx, job, lambda text, share: None)


def test_one_build_is_enough_if_timing_chooses_the_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    timings = Timings(["fp16"], "fp32")
    assert timings.build(monkeypatch, precision="fp16").notes == ("of this build",)
    assert len(timings.jobs) == 1


def test_second_build_ignores_old_timings(monkeypatch: pytest.MonkeyPatch) -> None:
    timings = Timings(["fp32", "fp16"], "fp32")
    assert timings.build(monkeypatch, precision="fp16").notes == ("of this build",)
    assert [job.timing_cache for job in timings.jobs] == ["timing.cache", None]


def test_third_build_prefers_the_precision_with_a_note(monkeypatch: pytest.MonkeyPatch) -> None:
    timings = Timings(["fp32", "fp32"], "fp16")
    report = timings.build(monkeypatch, precision="fp16")
    assert report.precisions == {"fp16": 1.0}
    assert report.notes == (
        "of this build", "timing chose fp16 for no layer: the engine was built again with fp16 preferred"
    )  # fmt: skip
    assert [job.spec.precision_constraints for job in timings.jobs] == ["obey", "obey", "prefer"]
    assert timings.jobs[-1].spec.layer_precisions == {"*": "fp16"}
    assert timings.jobs[-1].timing_cache == "timing.cache"


def test_preferred_precision_that_no_layer_has_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    timings = Timings(["fp32", "fp32"], "fp32")
    with pytest.raises(
        BuildError, match=r"'fp16' was requested, but no layer has it .*: no layer can compute in it, even"
    ):
        timings.build(monkeypatch, precision="fp16")


def test_own_layer_precisions_are_not_overridden(monkeypatch: pytest.MonkeyPatch) -> None:
    timings = Timings(["fp32", "fp32"], "fp16")
    with pytest.raises(BuildError, match=r"no layer has it .*: set 'fp16' for layers in layer_precisions, too"):
        timings.build(monkeypatch, precision="fp16", layer_precisions={"*": "fp32"})
    assert len(timings.jobs) == 2


def test_failed_build_with_preference_explains_the_attempt(monkeypatch: pytest.MonkeyPatch) -> None:
    timings = Timings(["fp32", "fp32"], BuildError("no implementation"))
    with pytest.raises(
        BuildError, match=r"'fp16' was requested, but no layer has it .*; preferring it failed: no impl"
    ):
        timings.build(monkeypatch, precision="fp16")


@pytest.mark.parametrize("dynamic", [True, False])
def test_input_that_is_also_an_output_is_an_error(dynamic: bool, tmp_path: Path) -> None:
    made = conv_model(dynamic)
    made.graph.output.append(made.graph.input[0])
    onnx.save(made, str(tmp_path / "m.onnx"))
    with pytest.raises(BuildError, match=r"'x' of m.onnx is both an input and an output.* put an Identity before"):
        build(tmp_path / "m.onnx", tmp_path, (PROFILE,) if dynamic else ())


def test_too_small_workspace_is_named(tmp_path: Path) -> None:
    onnx.save(layers_model(), str(tmp_path / "m.onnx"))
    profile = {"x": ((1, 32), (2, 32), (4, 32))}
    with pytest.raises(BuildError, match=r"the workspace is limited to 1e-06 MB: allow more with workspace_mb"):
        build(tmp_path / "m.onnx", tmp_path, (profile,), memory_pool_bytes={"workspace": 1})
