"""Every difference between TensorRT 8.6, 10, 11, TensorRT-RTX and the lean runtime, as a capability.

What a package can do is asked of the package (does it have the name?); SUPPORT says which versions have it, for
messages and for the table of the documentation. Nothing else in this project looks at a version number.
"""

from __future__ import annotations

import dataclasses
import importlib
import re
from collections.abc import Mapping
from typing import Any

from pytest_trt.core.backends import BACKENDS
from pytest_trt.errors import BackendError, BuildError
from pytest_trt.spec.shape_ranges import Shape

Version = tuple[int, int]


@dataclasses.dataclass(frozen=True)
class Support:
    """Which versions have something: from `since` to below `before`, in TensorRT-RTX or not, in ONNX Runtime or not.
    `name` is what the package has where it can; `instead` says what is done where networks are strongly typed and it
    cannot. TensorRT-RTX has some names without what they name: there `rtx` counts."""

    attribute: str
    since: Version = (8, 6)
    before: Version | None = None
    rtx: bool = True
    onnxruntime: str = ""
    replacement: str = ""

    def includes(self, backend: str, version: Version) -> bool:
        if backend == "tensorrt_rtx":
            return self.rtx
        return self.since <= version and (self.before is None or version < self.before)

    def describe(self) -> str:
        """The versions in words."""
        since, before = (".".join(map(str, v)) for v in (self.since, self.before or (0, 0)))
        span = f"TensorRT {since} and later" if self.before is None else f"TensorRT from {since} to before {before}"
        return " and ".join([*([] if self.since >= NEVER else [span]), *(["TensorRT-RTX"] if self.rtx else [])])

    def availability(self, first: Version, last: Version) -> str:
        """Whether it is there from one version to another: `yes`, nothing, or from when on."""
        if (self.before is not None and self.before <= first) or self.since > last:
            return ""
        if self.since > first:
            return f"from {self.since[0]}.{self.since[1]}"
        return "yes"


NEVER: Version = (99, 0)
_CONFIG, _FLAG, _POOL, _PREVIEW = "IBuilderConfig", "BuilderFlag", "MemoryPoolType", "PreviewFeature"
SUPPORT: Mapping[str, Support] = {
    "fp16": Support(f"{_FLAG}.FP16", before=(11, 0), rtx=False, onnxruntime="converted", replacement="converted"),
    "bf16": Support(f"{_FLAG}.BF16", since=(9, 1), before=(11, 0), rtx=False, replacement="converted"),
    "int8": Support(f"{_FLAG}.INT8", before=(11, 0), rtx=False, onnxruntime="Q/DQ", replacement="Q/DQ"),
    "fp8": Support(f"{_FLAG}.FP8", before=(11, 0), rtx=False, replacement="Q/DQ"),
    "best": Support(f"{_FLAG}.FP16", before=(11, 0), rtx=False),
    "calibrator=entropy": Support("IInt8EntropyCalibrator2", before=(11, 0), rtx=False),
    "calibrator=minmax": Support("IInt8MinMaxCalibrator", before=(11, 0), rtx=False),
    "tf32": Support(f"{_FLAG}.TF32"),
    "strongly_typed": Support("NetworkDefinitionCreationFlag.STRONGLY_TYPED", since=(9, 1), onnxruntime="always"),
    "layer_precisions": Support("ILayer.precision", before=(11, 0), rtx=False),
    "layer_output_types": Support("ILayer.set_output_type", before=(11, 0), rtx=False),
    "precision_constraints=obey": Support(f"{_FLAG}.OBEY_PRECISION_CONSTRAINTS", before=(11, 0), rtx=False),
    "precision_constraints=prefer": Support(f"{_FLAG}.PREFER_PRECISION_CONSTRAINTS", before=(11, 0), rtx=False),
    "io_dtypes": Support("ITensor.dtype.fset", before=(11, 0), rtx=False),
    "io_formats": Support("ITensor.allowed_formats"),
    "direct_io": Support(f"{_FLAG}.DIRECT_IO"),
    "threads": Support("", since=NEVER, rtx=False, onnxruntime="yes"),
    "optimization_level": Support(f"{_CONFIG}.builder_optimization_level"),
    "workspace_mb": Support(f"{_POOL}.WORKSPACE"),
    "memory_pool_bytes=workspace": Support(f"{_POOL}.WORKSPACE"),
    "memory_pool_bytes=tactic_dram": Support(f"{_POOL}.TACTIC_DRAM"),
    "memory_pool_bytes=tactic_shared_memory": Support(f"{_POOL}.TACTIC_SHARED_MEMORY", since=(10, 0)),
    "memory_pool_bytes=dla_managed_sram": Support(f"{_POOL}.DLA_MANAGED_SRAM", rtx=False),
    "memory_pool_bytes=dla_local_dram": Support(f"{_POOL}.DLA_LOCAL_DRAM", rtx=False),
    "memory_pool_bytes=dla_global_dram": Support(f"{_POOL}.DLA_GLOBAL_DRAM", rtx=False),
    "avg_timing_iterations": Support(f"{_CONFIG}.avg_timing_iterations"),
    "max_aux_streams": Support(f"{_CONFIG}.max_aux_streams"),
    "max_num_tactics": Support(f"{_CONFIG}.max_num_tactics", since=(10, 4)),
    "tiling_optimization_level": Support(f"{_CONFIG}.tiling_optimization_level", since=(10, 8)),
    "l2_limit_for_tiling_bytes": Support(f"{_CONFIG}.l2_limit_for_tiling", since=(10, 8)),
    "tactic_sources=CUBLAS": Support("TacticSource.CUBLAS", before=(11, 0), rtx=False),
    "tactic_sources=CUBLAS_LT": Support("TacticSource.CUBLAS_LT", before=(11, 0), rtx=False),
    "tactic_sources=CUDNN": Support("TacticSource.CUDNN", before=(11, 0), rtx=False),
    "tactic_sources=EDGE_MASK_CONVOLUTIONS": Support("TacticSource.EDGE_MASK_CONVOLUTIONS"),
    "tactic_sources=JIT_CONVOLUTIONS": Support("TacticSource.JIT_CONVOLUTIONS"),
    "preview_features=FASTER_DYNAMIC_SHAPES_0805": Support(
        f"{_PREVIEW}.FASTER_DYNAMIC_SHAPES_0805", before=(10, 0), rtx=False
    ),
    "preview_features=DISABLE_EXTERNAL_TACTIC_SOURCES_FOR_CORE_0805": Support(
        f"{_PREVIEW}.DISABLE_EXTERNAL_TACTIC_SOURCES_FOR_CORE_0805", before=(10, 0), rtx=False
    ),
    "preview_features=PROFILE_SHARING_0806": Support(f"{_PREVIEW}.PROFILE_SHARING_0806", before=(11, 0), rtx=False),
    "preview_features=ALIASED_PLUGIN_IO_10_03": Support(f"{_PREVIEW}.ALIASED_PLUGIN_IO_10_03", since=(10, 3)),
    "preview_features=RUNTIME_ACTIVATION_RESIZE_10_10": Support(
        f"{_PREVIEW}.RUNTIME_ACTIVATION_RESIZE_10_10", since=(10, 10)
    ),
    "preview_features=MULTIDEVICE_RUNTIME_10_16": Support(
        f"{_PREVIEW}.MULTIDEVICE_RUNTIME_10_16", since=(10, 16), before=(11, 0), rtx=False
    ),
    "build_route": Support(f"{_CONFIG}.build_route", since=(11, 1), rtx=False),
    "sparsity": Support(f"{_FLAG}.SPARSE_WEIGHTS"),
    "version_compatible": Support(f"{_FLAG}.VERSION_COMPATIBLE", rtx=False),
    "exclude_lean_runtime": Support(f"{_FLAG}.EXCLUDE_LEAN_RUNTIME", rtx=False),
    "hardware_compatibility=ampere_plus": Support("HardwareCompatibilityLevel.AMPERE_PLUS"),
    "hardware_compatibility=same_compute_capability": Support(
        "HardwareCompatibilityLevel.SAME_COMPUTE_CAPABILITY", since=(10, 9)
    ),
    "compute_capabilities": Support(f"{_CONFIG}.set_compute_capability", since=NEVER),
    "dla_core": Support(f"{_CONFIG}.DLA_core", rtx=False),
    "gpu_fallback": Support(f"{_FLAG}.GPU_FALLBACK", rtx=False),
    "refit": Support(f"{_FLAG}.REFIT"),
    "strip_weights": Support(f"{_FLAG}.STRIP_PLAN", since=(10, 0)),
    "weight_streaming": Support(f"{_FLAG}.WEIGHT_STREAMING", since=(10, 0)),
    "weight_streaming_budget": Support("ICudaEngine.weight_streaming_budget_v2", since=(10, 1)),
    "plugins": Support("IPluginRegistry.load_library"),
    "timing_cache": Support("ITimingCache", rtx=False),
    "timing_cache_mode=error_on_miss": Support(f"{_FLAG}.ERROR_ON_TIMING_CACHE_MISS", since=(9, 1), rtx=False),
    "engine_host_code_allowed": Support("Runtime.engine_host_code_allowed"),
    "progress": Support("IProgressMonitor", since=(9, 1)),
    "weights_size": Support("ICudaEngine.get_engine_stat", since=(10, 14)),
}
"""What not every version has, or what an option of a spec needs. An option's name, or `option=value`; the rest is what
this package uses by itself."""

_DTYPES = {
    "FLOAT": "float32", "HALF": "float16", "BF16": "bfloat16", "INT8": "int8", "INT32": "int32", "INT64": "int64",
    "UINT8": "uint8", "BOOL": "bool", "FP8": "float8_e4m3fn", "INT4": "int4", "FP4": "float4_e2m1fn",
    "E8M0": "float8_e8m0fnu",
}  # fmt: skip


def import_package(name: str) -> Any:
    """The package of that backend. Raises BackendError, with what to install, where it cannot be imported."""
    try:
        return importlib.import_module(name)
    except (ImportError, OSError) as error:  # OSError: a shared library that does not load
        raise BackendError(f"{name} cannot be imported ({error}): {BACKENDS[name].install}") from error


def has(trt: Any, what: str) -> bool:
    """Whether this package has what SUPPORT knows as `what`."""
    if trt.__name__ == "tensorrt_rtx" and not SUPPORT[what].rtx:
        return False
    found = trt
    for part in SUPPORT[what].attribute.split("."):
        found = getattr(found, part, None)
        if found is None:
            return False
    return True


def require(trt: Any, what: str) -> Any:
    """What SUPPORT knows as `what`, from this package. Raises BuildError, naming the versions that have it."""
    if not has(trt, what):
        support = SUPPORT[what]
        later = (
            f"; later ones and TensorRT-RTX take it from the model ({support.replacement})"
            if support.replacement
            else ""
        )
        message = f"{what.replace('=', ' ')} is not in {trt.__name__} {trt.__version__}: {support.describe()} has it"
        raise BuildError(message + later)
    found = trt
    for part in SUPPORT[what].attribute.split("."):
        found = getattr(found, part)
    return found


def parse_version(version: str) -> Version:
    """Major and minor of a version's text."""
    found = re.match(r"(\d+)\.(\d+)", version)
    if found is None:
        raise BackendError(f"{version!r} is no version of TensorRT: it should begin with two numbers")
    return int(found.group(1)), int(found.group(2))


def strongly_typed(name: str, version: str) -> bool:
    """Whether networks have the model's own types whatever is asked for, so that another precision needs another
    model: TensorRT-RTX always, TensorRT from 11 on."""
    return name == "tensorrt_rtx" or (name == "tensorrt" and parse_version(version) >= (11, 0))


def network_flags(trt: Any, typed: bool) -> int:
    """The flags of a network: 8.6 must be told that the batch is explicit, 10 that types are."""
    flags = trt.NetworkDefinitionCreationFlag
    wanted = ["EXPLICIT_BATCH"] if parse_version(trt.__version__) < (10, 0) and trt.__name__ == "tensorrt" else []
    wanted += ["STRONGLY_TYPED"] if typed else []
    return sum(1 << int(getattr(flags, name)) for name in wanted if hasattr(flags, name))


def dtype(value: Any) -> str:
    """numpy's (or ml_dtypes') name of a TensorRT data type."""
    name = str(value).rpartition(".")[2]
    if name not in _DTYPES:
        raise BackendError(f"an input or output is of TensorRT's type {name}, which no array has")
    return _DTYPES[name]


def shape(dims: Any) -> Shape:
    """A tensor's shape. Raises BackendError where 8.6 has none: for an engine that was built without a profile, though
    a shape in it depends on the data."""
    try:
        return tuple(dims)
    except ValueError as error:
        message = "the plan tells no shapes: it has no optimisation profile, though a shape in it depends on the data"
        raise BackendError(f"{message}: build it with a profile") from error


def device_memory_bytes(engine: Any) -> int:
    """What a context for any profile needs on the device."""
    return int(engine.device_memory_size_v2 if hasattr(engine, "device_memory_size_v2") else engine.device_memory_size)


def option_table() -> str:
    """Who has which option of a spec, as a Markdown table for the documentation."""
    titles = ("8.6", "10", "11", "RTX", "ONNX Runtime")
    lines = [f"| | {' | '.join(titles)} |", f"|---|{'---|' * len(titles)}"]
    for what, support in SUPPORT.items():
        cells = [support.availability((8, 6), (8, 6)), support.availability((10, 0), (10, 99)),
                 support.availability((11, 0), (11, 99)) or support.replacement,
                 "yes" if support.rtx else support.replacement, support.onnxruntime]  # fmt: skip
        lines.append(f"| `{what}` | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"
