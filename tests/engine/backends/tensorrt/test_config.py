"""Test every build option in real ahead-of-time builds with TensorRT-RTX, which need no GPU."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import onnx
import pytest
from onnx import TensorProto, helper
from samples.models import conv_model
from samples.rtx_builds import PROFILE, build

from pytest_trt.engine.backends import cuda
from pytest_trt.errors import BackendError, BuildError

rtx = pytest.importorskip("tensorrt_rtx", reason="needs the package tensorrt_rtx")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "conv.onnx"
    onnx.save(conv_model(), str(path))
    return path


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The plan without any option."""
    folder = tmp_path_factory.mktemp("plain")
    onnx.save(conv_model(), str(folder / "conv.onnx"))
    build(folder / "conv.onnx", folder, (PROFILE,))
    return (folder / "plan").read_bytes()


@pytest.mark.parametrize(
    "spec",
    [
        {"optimization_level": 0},
        {"workspace_mb": 64},
        {"memory_pool_bytes": {"workspace": 2**26, "tactic_dram": 2**33, "tactic_shared_memory": 48 * 2**10}},
        {"avg_timing_iterations": 2},
        {"max_aux_streams": 0},
        {"max_num_tactics": 1},
        {"tiling_optimization_level": "fast", "l2_limit_for_tiling_bytes": 2**20},
        {"tactic_sources": ("EDGE_MASK_CONVOLUTIONS", "jit_convolutions")},
        {"tactic_sources": ()},
        {"preview_features": {"RUNTIME_ACTIVATION_RESIZE_10_10": True, "aliased_plugin_io_10_03": False}},
        {"sparsity": True},
        {"tf32": False},
        {"strongly_typed": True},
        {"hardware_compatibility": "ampere_plus"},
        {"direct_io": True, "io_formats": {"x": "hwc"}},
        {"weight_streaming": True},
        {"profiling_verbosity": "none"},
    ],
    ids=lambda spec: "-".join(spec),
)
def test_option_is_accepted(model: Path, tmp_path: Path, spec: dict[str, Any]) -> None:
    report, _ = build(model, tmp_path, (PROFILE,), **spec)
    assert report.plan_bytes > 1000
    assert report.notes == ()


@pytest.mark.parametrize(
    "spec",
    [{"io_formats": {"x": "hwc"}}, {"weight_streaming": True}, {"memory_pool_bytes": {"tactic_shared_memory": 49152}}],
    ids=lambda spec: "-".join(spec),
)
def test_option_changes_the_plan(model: Path, tmp_path: Path, plain: bytes, spec: dict[str, Any]) -> None:
    """TensorRT-RTX builds the same plan from the same model and options."""
    build(model, tmp_path, (PROFILE,))
    assert (tmp_path / "plan").read_bytes() == plain
    build(model, tmp_path, (PROFILE,), **spec)
    assert (tmp_path / "plan").read_bytes() != plain


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"layer_precisions": {"conv": "fp32"}}, r"layer_precisions is not in .*: TensorRT from 8\.6 to before 11\.0"),
        ({"layer_output_types": {"conv": "fp32"}}, r"layer_output_types is not in .*: TensorRT from 8\.6"),
        ({"io_dtypes": {"x": "fp16"}}, r"io_dtypes is not in .*: TensorRT from 8\.6 to before 11\.0 has it"),
        ({"io_formats": {"z": "hwc"}}, r"io_formats: the network has no input or output 'z': choose from x, y"),
        ({"io_formats": {"x": "chw4"}}, r"cannot build conv\.onnx: .*unsupported by tensor's allowed TensorFormats"),
        ({"tactic_sources": ("CUDNN",)}, r"'CUDNN' is not in .*\(TensorRT from 8\.6 to before 11\.0 has it\)"),
        ({"tactic_sources": ("NONSENSE",)}, r"'NONSENSE' is not in tensorrt_rtx .*: choose from EDGE_MASK"),
        ({"preview_features": {"FASTER_DYNAMIC_SHAPES_0805": True}}, r"\(TensorRT from 8\.6 to before 10\.0 has it\)"),
        ({"dla_core": 0}, r"dla_core is not in tensorrt_rtx .*: TensorRT 8\.6 and later has it"),
        ({"version_compatible": True}, r"version_compatible is not in tensorrt_rtx .*: TensorRT 8\.6 and later"),
        ({"build_route": "-name=value"}, r"build_route is not in tensorrt_rtx .*: TensorRT 11\.1 and later has it"),
        ({"timing_cache": "mine.cache"}, r"timing_cache is not in tensorrt_rtx .*: TensorRT 8\.6 and later has it"),
        ({"timing_cache_mode": "error_on_miss"}, r"timing_cache is not in tensorrt_rtx"),
        ({"memory_pool_bytes": {"dla_local_dram": 4096}}, r"dla_local_dram is not in tensorrt_rtx"),
        (
            {"memory_pool_bytes": {"tactic_dram": 1000}},
            r"memory_pool_bytes tactic_dram=1000 was rejected by TensorRT \(it stays \d+",
        ),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_unsupported_and_rejected_options_are_errors(
    model: Path, tmp_path: Path, spec: dict[str, Any], message: str
) -> None:
    with pytest.raises(BuildError, match=message):
        build(model, tmp_path, (PROFILE,), **spec)
    assert not (tmp_path / "plan").exists()


def test_too_small_workspace_is_named(model: Path, tmp_path: Path) -> None:
    with pytest.raises(BuildError, match=r"workspace.*limited to 1 MB: allow more with workspace_mb"):
        build(model, tmp_path, (PROFILE,), workspace_mb=1)


@pytest.mark.skipif(cuda.reason_unusable() is None, reason="needs a machine without a GPU")
@pytest.mark.parametrize("spec", [{"strip_weights": True}, {"refit": True}], ids=lambda spec: next(iter(spec)))
def test_refit_needs_a_gpu(model: Path, tmp_path: Path, spec: dict[str, Any]) -> None:
    """TensorRT-RTX compiles these engines on the device: the builder accepts the option and reports the missing GPU."""
    with pytest.raises(BuildError, match=r"cannot build conv\.onnx: .*CUDA_SUCCESS"):
        build(model, tmp_path, (PROFILE,), **spec)
    assert not (tmp_path / "plan").exists()


class TestPlugins:
    """A library in C, with the binary form of TensorRT's plugin interface: one creator, whose plugins do not work."""

    SOURCE = r"""
        #include <stdint.h>
        typedef struct { const char* kind; int32_t major, minor; } Info;
        typedef struct { int32_t count; const void* fields; } Fields;
        static Fields none = {0, 0};
        static int32_t language(void* self) { return 0; }
        static Info info(void* self) { Info made = {"PLUGIN CREATOR_V3ONE", 1, 0}; return made; }
        static void destroy(void* self) {}
        static void* create(void* self, const char* name, const Fields* fields, int32_t phase) { return 0; }
        static const Fields* fields(void* self) { return &none; }
        static const char* name(void* self) { return "PytestTrtNothing"; }
        static const char* version(void* self) { return "1"; }
        static const char* space(void* self) { return ""; }
        static void* methods[] = {language, info, destroy, destroy, create, fields, name, version, space};
        static void* creator[] = {methods};
        static void* creators[] = {creator};
        void** getCreators(int32_t* count) { *count = 1; return creators; }
        void setLoggerFinder(void* finder) {}
    """

    @pytest.fixture
    def library(self, tmp_path: Path) -> Path:
        compiler = shutil.which("cc") or shutil.which("gcc")
        if compiler is None:
            pytest.skip("needs a C compiler")
        (tmp_path / "plugin.c").write_text(self.SOURCE)
        made = tmp_path / "libplugin.so"
        subprocess.run([compiler, "-w", "-shared", "-fPIC", "-o", made, tmp_path / "plugin.c"], check=True)
        return made

    def plugin_model(self, folder: Path) -> Path:
        node = helper.make_node("PytestTrtNothing", ["x"], ["y"], "the_plugin", domain="no.such")
        x, y = (helper.make_tensor_value_info(n, TensorProto.FLOAT, [4]) for n in "xy")
        opsets = [helper.make_opsetid("", 17), helper.make_opsetid("no.such", 1)]
        path = folder / "plugged.onnx"
        made = helper.make_model(helper.make_graph([node], "g", [x], [y]), opset_imports=opsets, ir_version=8)
        onnx.save(made, str(path))
        return path

    def test_library_is_loaded_and_its_plugins_are_found(self, library: Path, tmp_path: Path) -> None:
        """Without the library, the parser finds no such plugin; with it, it finds one that creates nothing."""
        plugged = self.plugin_model(tmp_path)
        with pytest.raises(BuildError, match=r"the_plugin \(PytestTrtNothing\).*([Pp]lugin not found|not supported)"):
            build(plugged, tmp_path)
        with pytest.raises(BuildError) as refused:
            build(plugged, tmp_path, plugins=(str(library),))
        assert "lugin not found" not in str(refused.value)

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (None, r"the plugin library .*/bad\.so does not exist"),
            (b"nothing", r"bad\.so cannot be loaded by tensorrt_rtx 1.*: .*file too short"),
        ],
    )
    def test_library_that_cannot_be_loaded_is_an_error(
        self, model: Path, tmp_path: Path, content: bytes | None, message: str
    ) -> None:
        bad = tmp_path / "bad.so"
        if content is not None:
            bad.write_bytes(content)
        with pytest.raises(BackendError, match=message):
            build(model, tmp_path, (PROFILE,), plugins=(str(bad),))
        assert not (tmp_path / "plan").exists()
