"""The differences between TensorRT 8.6, 10, 11, TensorRT-RTX and the lean runtime.

Whether a package has a capability is found out from the package itself: `has` looks for an attribute. The table SUPPORT
says which versions have it, for error messages and for the documentation. No other module compares version numbers of
TensorRT.
"""

from __future__ import annotations

import dataclasses
import importlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

from pytest_trt.core.backends import BACKENDS
from pytest_trt.errors import BackendError, BuildError
from pytest_trt.spec.shape_ranges import Shape

Version = tuple[int, int]
"""Major and minor."""

NEVER: Version = (99, 0)
"""The `since` of a capability that no version of TensorRT has."""


@dataclasses.dataclass(frozen=True)
class Support:
    """A frozen record of the versions that have a capability.

    Attributes:
        attribute: The attribute of the package that exists if the capability does, such as "BuilderFlag.FP16".
        since: The first version of TensorRT that has it.
        before: The first version of TensorRT that no longer has it; None if the newest still does.
        rtx: Whether TensorRT-RTX has it. TensorRT-RTX has some attributes without the capability, so this takes
            precedence over the attribute.
        onnxruntime: How ONNX Runtime supports it, as text for the documentation.
        replacement: How it is achieved in a strongly typed network that lacks it: `converted` (the model is converted)
            or `Q/DQ` (the model is quantised).
    """

    attribute: str
    since: Version = (8, 6)
    before: Version | None = None
    rtx: bool = True
    onnxruntime: str = ""
    replacement: str = ""

    def includes(self, backend: str, version: Version) -> bool:
        """Return whether that version of that backend has the capability."""
        if backend == "tensorrt_rtx":
            return self.rtx
        return self.since <= version and (self.before is None or version < self.before)

    def describe(self) -> str:
        """Return the versions in words, such as "TensorRT 9.1 and later and TensorRT-RTX"."""
        since, before = (".".join(map(str, v)) for v in (self.since, self.before or (0, 0)))
        span = f"TensorRT {since} and later" if self.before is None else f"TensorRT from {since} to before {before}"
        return " and ".join([*([] if self.since >= NEVER else [span]), *(["TensorRT-RTX"] if self.rtx else [])])

    def availability(self, first: Version, last: Version) -> str:
        """Return whether the versions from `first` to `last` have it: "yes", "from 10.4", or an empty string."""
        if (self.before is not None and self.before <= first) or self.since > last:
            return ""
        if self.since > first:
            return f"from {self.since[0]}.{self.since[1]}"
        return "yes"


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
"""The capabilities that not every version has, or that an option of a spec needs. A key is the name of an option or
`option=value`; the other keys are capabilities that this package uses by itself."""

_DTYPES = {
    "FLOAT": "float32", "HALF": "float16", "BF16": "bfloat16", "INT8": "int8", "INT32": "int32", "INT64": "int64",
    "UINT8": "uint8", "BOOL": "bool", "FP8": "float8_e4m3fn", "INT4": "int4", "FP4": "float4_e2m1fn",
    "E8M0": "float8_e8m0fnu",
}  # fmt: skip
"""The names of NumPy and ml_dtypes for TensorRT's data types."""


def import_package(name: str) -> Any:
    """Import the package with that name. Raises BackendError, with the command that installs it, if that fails."""
    try:
        return importlib.import_module(name)
    except (ImportError, OSError) as error:  # OSError: a shared library cannot be loaded.
        raise BackendError(f"{name} cannot be imported ({error}): {BACKENDS[name].install}") from error


def has(trt: Any, what: str) -> bool:
    """Return whether a package has the capability `what`, a key of SUPPORT."""
    if trt.__name__ == "tensorrt_rtx" and not SUPPORT[what].rtx:
        return False
    value = trt
    for part in SUPPORT[what].attribute.split("."):
        value = getattr(value, part, None)
        if value is None:
            return False
    return True


def require(trt: Any, what: str) -> Any:
    """Return the attribute of the capability `what`, a key of SUPPORT, such as a builder flag.

    Raises:
        BuildError: The package lacks the capability; the error names the versions that have it.
    """
    if not has(trt, what):
        support = SUPPORT[what]
        message = f"{what.replace('=', ' ')} is not in {trt.__name__} {trt.__version__}: {support.describe()} has it"
        if support.replacement:
            message += f"; on later versions and on TensorRT-RTX, the model decides it ({support.replacement})"
        raise BuildError(message)
    value = trt
    for part in SUPPORT[what].attribute.split("."):
        value = getattr(value, part)
    return value


def parse_version(version: str) -> Version:
    """Return major and minor of a version such as "10.16.1.11". Raises BackendError if it has no such form."""
    match = re.match(r"(\d+)\.(\d+)", version)
    if match is None:
        raise BackendError(f"{version!r} is not a version of TensorRT: it must begin with two numbers")
    return int(match.group(1)), int(match.group(2))


def strongly_typed(name: str, version: str) -> bool:
    """Return whether all networks are strongly typed: TensorRT-RTX, and TensorRT from 11 on.

    A strongly typed network has the data types of the model, so another precision needs another model.
    """
    return name == "tensorrt_rtx" or (name == "tensorrt" and parse_version(version) >= (11, 0))


def network_flags(trt: Any, typed: bool) -> int:
    """Return the flags to create a network with.

    Before TensorRT 10, the batch dimension is explicit only with a flag. Before TensorRT 11, a network is strongly
    typed only with a flag.

    Args:
        trt: The module of the package.
        typed: Whether the network is to be strongly typed.
    """
    flags = trt.NetworkDefinitionCreationFlag
    names = ["EXPLICIT_BATCH"] if parse_version(trt.__version__) < (10, 0) and trt.__name__ == "tensorrt" else []
    names += ["STRONGLY_TYPED"] if typed else []
    return sum(1 << int(getattr(flags, name)) for name in names if hasattr(flags, name))


def dtype(value: Any) -> str:
    """Return the name of NumPy or ml_dtypes for one of TensorRT's data types. Raises BackendError if there is none."""
    name = str(value).rpartition(".")[2]
    if name not in _DTYPES:
        raise BackendError(
            f"an input or output has TensorRT's data type {name}, which no NumPy array can hold: build the engine with "
            "another type in io_dtypes, or convert the model"
        )
    return _DTYPES[name]


def shape(dims: Any) -> Shape:
    """Return one of TensorRT's shapes as a tuple.

    Raises:
        BackendError: TensorRT 8.6 reports no shape, because the engine was built without an optimisation profile
        although
            a shape depends on the data.
    """
    try:
        return tuple(dims)
    except ValueError as error:
        raise BackendError(
            "the plan reports no shapes, because it has no optimisation profile although a shape depends on the data: "
            "build it with a profile"
        ) from error


def aliases(engine: Any, outputs: Sequence[str]) -> dict[str, str]:
    """Return the input whose memory an output must share, by the name of the output.

    Only caches that IKVCacheUpdateLayer updates in place have one, in TensorRT 10.15 and later.
    """
    if not hasattr(engine, "get_aliased_input_tensor"):
        return {}
    found = {name: engine.get_aliased_input_tensor(name) for name in outputs}
    return {name: str(source) for name, source in found.items() if source}


def device_memory_bytes(engine: Any) -> int:
    """Return the device memory that a context needs, whatever its profile."""
    return int(engine.device_memory_size_v2 if hasattr(engine, "device_memory_size_v2") else engine.device_memory_size)


def option_table() -> str:
    """Return the versions that have each capability, as a Markdown table for the documentation."""
    titles = ("8.6", "10", "11", "RTX", "ONNX Runtime")
    lines = [f"| | {' | '.join(titles)} |", f"|---|{'---|' * len(titles)}"]
    for what, support in SUPPORT.items():
        cells = [support.availability((8, 6), (8, 6)), support.availability((10, 0), (10, 99)),
                 support.availability((11, 0), (11, 99)) or support.replacement,
                 "yes" if support.rtx else support.replacement, support.onnxruntime]  # fmt: skip
        lines.append(f"| `{what}` | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"
