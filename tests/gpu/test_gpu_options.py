"""Test build options with TensorRT's own builder: accurate engines, or an error."""

from __future__ import annotations

import ctypes
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gpu_workshop import RANGES, Arrays, Workshop, assert_close, conv_inputs

from pytest_trt.engine.backends.base import BuildJob
from pytest_trt.engine.backends.tensorrt import versions
from pytest_trt.errors import BackendError, BuildError
from pytest_trt.pipeline.open import open_runner
from pytest_trt.spec.declaration import PipelineOptions
from pytest_trt.spec.engine_spec import EngineSpec

Reference = Callable[[str, Arrays], Arrays]
SHAPES = {"x": (4, 3, 32, 32)}


def lacks(workshop: Workshop, what: str) -> bool:
    return not versions.has(versions.import_package(workshop.name), what)


def infer(workshop: Workshop, plan: Path, inputs: Arrays, **spec: Any) -> dict[str, Any]:
    """Infer twice, the second time with a CUDA graph, and return the outputs, which must be equal."""
    engine = workshop.load(plan, **spec)
    runner = open_runner(engine, {name: array.shape for name, array in inputs.items()}, PipelineOptions())
    first, second = runner.infer(inputs), runner.infer(inputs)
    for name, array in first.items():
        np.testing.assert_array_equal(array, second[name])
    runner.close()
    engine.close()
    return dict(second)


@pytest.mark.parametrize(
    "spec",
    [
        {"optimization_level": 2},
        {"tf32": False},
        {"memory_pool_bytes": {"workspace": 2**28}},
        {"avg_timing_iterations": 1},
        {"max_aux_streams": 0},
        {"tactic_sources": ()},
        {"tactic_sources": ("CUBLAS", "CUBLAS_LT", "CUDNN", "EDGE_MASK_CONVOLUTIONS", "JIT_CONVOLUTIONS")},
        {"preview_features": {"FASTER_DYNAMIC_SHAPES_0805": True}},
        {"sparsity": True},
        {"hardware_compatibility": "ampere_plus"},
        {"refit": True},
        {"version_compatible": True},
        {"direct_io": True},
        {"strongly_typed": True},
        {"tiling_optimization_level": "fast", "l2_limit_for_tiling_bytes": 2**20},
        {"max_num_tactics": 1},
        {"strip_weights": True},
        {"weight_streaming": True, "strongly_typed": True, "weight_streaming_budget": "50%"},
        {"io_formats": {"x": "hwc", "z": "hwc"}},
    ],
    ids=lambda spec: "-".join(spec),
)
def test_option_is_accurate_or_reported_as_missing(
    workshop: Workshop, reference: Reference, spec: dict[str, Any]
) -> None:
    names = {name for name in spec if name in versions.SUPPORT}
    for name, value in spec.items():
        for part in value if isinstance(value, (tuple, dict)) else (value,):
            names |= {f"{name}={part}"} & versions.SUPPORT.keys()
    absent = [name for name in sorted(names) if lacks(workshop, name)]
    if absent:
        with pytest.raises(BuildError, match=r"is not in tensorrt .*TensorRT.* has it"):
            workshop.build("conv", (RANGES["conv"],), **spec)
        return
    _, plan = workshop.build("conv", (RANGES["conv"],), **spec)
    inputs = conv_inputs(4, seed=3)
    at_run = ("version_compatible", "weight_streaming", "weight_streaming_budget")
    run = {key: spec[key] for key in at_run if key in spec}
    assert_close(infer(workshop, plan, inputs, **run), reference("conv", inputs))


def precision_of(report: Any, node: str) -> set[str]:
    return {layer.precision for layer in report.layers if any(node in part for part in (*layer.nodes, layer.name))}


def test_layers_compute_in_their_declared_precision(workshop: Workshop) -> None:
    """Named layers have their declared precision, even if another one is faster."""
    profile, half = (RANGES["wide"],), {"precision": "fp16"}
    if lacks(workshop, "layer_precisions"):
        with pytest.raises(BuildError, match=r"layer_precisions is not in tensorrt .*to before 11\.0 has it"):
            workshop.build("wide", profile, layer_precisions={"conv1": "fp32"}, **half)
        return
    types = {"conv0": "fp16", "relu0": "fp16", "conv1": "fp32", "relu1": "fp32"}
    report, _ = workshop.build("wide", profile, layer_precisions=types, layer_output_types=types, **half)
    assert "fp32" in precision_of(report, "conv1")
    assert report.precisions["fp16"] > 0
    with pytest.raises(BuildError, match=r"'fp16' was requested, but no layer has it \(there is 100% fp32"):
        workshop.build("wide", profile, layer_precisions={"*": "fp32"}, layer_output_types={"*": "fp32"}, **half)
    with pytest.raises(BuildError, match=r"layer_precisions: no layer .* matches 'convolution': choose from conv0"):
        workshop.build("wide", profile, layer_precisions={"convolution": "fp32"}, **half)
    report, _ = workshop.build(
        "wide", profile, layer_precisions={"conv*": "fp16"}, precision_constraints="prefer", **half
    )
    assert report.precisions["fp16"] > 0


@pytest.mark.parametrize("formats", [{}, {"x": "hwc8", "z": "hwc8"}, {"x": "chw2", "z": "chw2"}], ids=str)
def test_inputs_and_outputs_have_their_declared_types_and_formats(
    workshop: Workshop, reference: Reference, formats: dict[str, Any]
) -> None:
    """x has 3 channels, which these formats pad."""
    if lacks(workshop, "io_dtypes"):
        pytest.skip("needs a TensorRT that is not strongly typed")
    types = {"x": "fp16", "z": "fp16"}
    _, plan = workshop.build("conv", (RANGES["conv"],), precision="fp16", io_dtypes=types, io_formats=formats)
    engine = workshop.load(plan)
    types_and_formats = {tensor.name: (tensor.dtype, tensor.format) for tensor in (*engine.inputs, *engine.outputs)}
    engine.close()
    assert types_and_formats["x"] == ("float16", formats.get("x", "linear"))
    assert types_and_formats["z"] == ("float16", formats.get("z", "linear"))
    assert types_and_formats["y"] == ("float32", "linear")
    inputs = conv_inputs(4, seed=7)
    got = infer(workshop, plan, {"x": inputs["x"].astype(np.float16)})
    assert got["z"].dtype == np.float16
    assert_close({name: array.astype(np.float32) for name, array in got.items()}, reference("conv", inputs), 2e-2)


def test_own_timing_cache_is_read_written_and_never_overwritten(workshop: Workshop, tmp_path: Path) -> None:
    cache = tmp_path / "mine.cache"

    def build(**spec: Any) -> None:
        engine = EngineSpec(optimization_level=1, timing_cache=str(cache), **spec)
        folder = tmp_path / "out"
        folder.mkdir(exist_ok=True)
        job = BuildJob("tensorrt", "0", engine, str(workshop.model("conv")), str(folder), (RANGES["conv"],), str(cache))
        workshop.backend.build(job, lambda text, share: None)

    build()
    timings = cache.read_bytes()
    assert len(timings) > 100
    build(timing_cache_mode="read_only")
    assert cache.read_bytes() == timings
    if lacks(workshop, "timing_cache_mode=error_on_miss"):
        with pytest.raises(BuildError, match=r"error_on_miss is not in tensorrt .*: TensorRT 9\.1 and later has it"):
            build(timing_cache_mode="error_on_miss")
    else:
        build(timing_cache_mode="error_on_miss")
    cache.write_bytes(garbage := b"this is no timing cache" * 100)
    with pytest.raises(BuildError, match=r"mine\.cache was not written by this TensorRT on this GPU: name another"):
        build()
    assert cache.read_bytes() == garbage


def test_missing_dla_is_an_error(workshop: Workshop) -> None:
    with pytest.raises(BuildError, match="dla_core=0: this device has no DLA"):
        workshop.build("conv", (RANGES["conv"],), dla_core=0, precision="fp16", gpu_fallback=True)


PLUGIN = r"""
    #include <stdint.h>
    typedef struct { int32_t count; const void* fields; } Fields;
    static Fields none = {0, 0};
    static int32_t made_with(void* self) { return MADE_WITH; }
    static const char* name(void* self) { return "PytestTrtNothing"; }
    static const char* version(void* self) { return "1"; }
    static const Fields* fields(void* self) { return &none; }
    static void* create(void* self, const char* name, const Fields* fields) { return 0; }
    static void* read(void* self, const char* name, const void* data, uint64_t length) { return 0; }
    static void enter(void* self, const char* space) {}
    static const char* space(void* self) { return ""; }
    static void destroy(void* self) {}
    static void* methods[] = {made_with, name, version, fields, create, read, enter, space, destroy, destroy};
    static void* creator[] = {methods};
    static void* creators[] = {creator};
    void** getPluginCreators(int32_t* count) { *count = 1; return creators; }
    void setLoggerFinder(void* finder) {}
"""


def test_plugin_library_is_loaded_to_build_and_to_run(workshop: Workshop, tmp_path: Path) -> None:
    """The library is in C, with the binary form of 8.6's IPluginCreator. It is loaded in a process of its own."""
    bad = tmp_path / "bad.so"
    bad.write_bytes(b"nothing")
    with pytest.raises(BackendError, match=r"the plugin library .*/bad\.so cannot be loaded by tensorrt .*bad\.so"):
        workshop.build("conv", (RANGES["conv"],), plugins=(str(bad),))
    compiler = shutil.which("cc") or shutil.which("gcc")
    version = versions.parse_version(workshop.backend.version())
    if compiler is None or version >= (10, 0):
        pytest.skip("needs a C compiler, and TensorRT 8.6, whose plugin interface this is")
    (tmp_path / "plugin.c").write_text(PLUGIN)
    library = tmp_path / "libplugin.so"
    number = "-DMADE_WITH=8600"
    subprocess.run([compiler, "-w", number, "-shared", "-fPIC", "-o", library, tmp_path / "plugin.c"], check=True)
    _, plan = workshop.build("conv", (RANGES["conv"],), plugins=(str(library),))
    code = """
import sys
from pathlib import Path
from pytest_trt.engine.backends.base import backend
from pytest_trt.spec.engine_spec import EngineSpec
backend("tensorrt").load(Path(sys.argv[1]), "0", EngineSpec(plugins=sys.argv[2])).close()
"""
    subprocess.run([sys.executable, "-c", code, str(plan), str(library)], check=True)


LIBRARIES = {
    "CUBLAS": ("libcublas.so.12", "cublasGetCudartVersion"),
    "CUBLAS_LT": ("libcublasLt.so.12", "cublasLtGetVersion"),
    "CUDNN": ("libcudnn.so.8", "cudnnGetVersion"),
}
"""The libraries of these tactic sources in TensorRT 8.6, and their functions that return a version such as 120100.

A mere stub of such a library has no version."""


def is_available(source: str) -> bool:
    """Return whether a source needs no library of its own, or its library is installed."""
    if source not in LIBRARIES:
        return True
    library, version = LIBRARIES[source]
    try:
        return int(getattr(ctypes.CDLL(library), version)()) >= 1000
    except (OSError, AttributeError):
        return False


@pytest.mark.serial
def test_tactic_sources_change_memory_use(workshop: Workshop, tmp_path: Path) -> None:
    """cuBLAS and cuDNN use device memory of the process, not of the engine.

    Each engine has one source and runs in a process of its own. The figures are printed.
    """
    if lacks(workshop, "tactic_sources=CUDNN"):
        pytest.skip("needs a TensorRT that has tactic sources to choose from")
    external = {"DISABLE_EXTERNAL_TACTIC_SOURCES_FOR_CORE_0805": False}
    external = {} if lacks(workshop, f"preview_features={next(iter(external))}") else external
    code = """
import json, sys
from pathlib import Path
from pytest_trt.engine.backends import cuda
from pytest_trt.engine.backends.base import backend
from pytest_trt.pipeline.open import open_runner
from pytest_trt.spec.declaration import PipelineOptions
from pytest_trt.spec.engine_spec import EngineSpec
import numpy as np
cuda.device("0").activate()
free, _ = cuda.memory_info()
engine = backend("tensorrt").load(Path(sys.argv[1]), "0", EngineSpec())
runner = open_runner(engine, {"x": (4, 3, 32, 32)}, PipelineOptions())
inputs = {"x": np.zeros((4, 3, 32, 32), np.float32)}
runner.infer(inputs)
runner.set_inputs(inputs)
used = free - cuda.memory_info()[0]
print(json.dumps({"process_mb": used / 1e6, "engine_mb": runner.memory()["peak"] / 1e6}))
"""
    found = {}
    for source in (None, "", "EDGE_MASK_CONVOLUTIONS", "JIT_CONVOLUTIONS", *LIBRARIES):
        spec: dict[str, Any] = {} if source is None else {"tactic_sources": (source,) * bool(source)}
        if source in LIBRARIES:
            spec["preview_features"] = external
        if source and not is_available(source):
            with pytest.raises(BuildError, match=f"tactic_sources={source} needs a library"):
                workshop.build("conv", (RANGES["conv"],), **spec)
            continue
        _, plan = workshop.build("conv", (RANGES["conv"],), **spec)
        done = subprocess.run([sys.executable, "-c", code, str(plan)], check=False, capture_output=True, text=True)
        assert done.returncode == 0, (source, done.stderr)
        found[str(source)] = json.loads(done.stdout.splitlines()[-1])
    print(json.dumps(found))
    assert {"None", "", "EDGE_MASK_CONVOLUTIONS", "JIT_CONVOLUTIONS"} <= set(found)
    assert all(sizes["process_mb"] >= found[""]["process_mb"] > 0 for name, sizes in found.items() if name in LIBRARIES)
