"""Which engine: a model, and how it is built. Frozen, and checked."""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal

from pytest_trt.core import codec
from pytest_trt.core.backends import BackendName
from pytest_trt.core.validation import check_fields, set_fields
from pytest_trt.errors import DeclarationError
from pytest_trt.spec.shape_ranges import DimRange, ShapeRange, dim_ranges, shape_ranges

Precision = Literal["fp32", "fp16", "bf16", "int8", "fp8", "best"]
LayerType = Literal["fp32", "fp16", "bf16", "int8", "fp8"]
IoType = Literal["fp32", "fp16", "bf16", "fp8", "int8", "uint8", "int32", "int64", "bool"]
IoFormat = Literal[
    "linear", "chw2", "chw4", "chw16", "chw32", "hwc", "hwc8", "hwc16", "dhwc", "dhwc8", "cdhw32", "dla_linear",
    "dla_hwc4",
]  # fmt: skip
MemoryPool = Literal[
    "workspace", "tactic_dram", "tactic_shared_memory", "dla_managed_sram", "dla_local_dram", "dla_global_dram"
]

_NOT_BUILT = frozenset((
    "path", "onnx", "build", "calibration", "seed", "input_ranges", "threads", "build_timeout_s", "backend",
    "timing_cache", "timing_cache_mode", "plugins", "weight_streaming_budget", "engine_host_code_allowed",
))  # fmt: skip
"""Fields that decide nothing of what is built, or that the digest covers by the content of the file they name."""
_OF_A_GIVEN_PLAN = frozenset(("shapes", "dims", "precision", "tf32", "version_compatible", "dla_core"))
"""What is built, and tells of a plan that is given too."""
_OF_EVERY_BACKEND = frozenset((
    "path", "onnx", "build", "shapes", "dims", "precision", "calibration", "tf32", "strongly_typed", "backend", "seed",
    "input_ranges", "threads", "build_timeout_s",
))  # fmt: skip
"""Fields that mean something to ONNX Runtime too, or ask of it what it does anyhow."""
_LAYER_TYPES: Mapping[Precision, tuple[LayerType, ...]] = {
    "fp32": ("fp32",), "fp16": ("fp32", "fp16"), "bf16": ("fp32", "bf16"), "int8": ("fp32", "fp16", "int8"),
    "fp8": ("fp32", "fp16", "fp8"), "best": ("fp32", "fp16", "bf16", "int8", "fp8"),
}  # fmt: skip
"""The types that a layer may be given, by what the builder is allowed."""
_LEAST = {
    "optimization_level": 0, "workspace_mb": 1, "avg_timing_iterations": 1, "max_aux_streams": 0, "max_num_tactics": 1,
    "l2_limit_for_tiling_bytes": 0, "dla_core": 0, "threads": 1,
}  # fmt: skip
_MOST = {"optimization_level": 5, "threads": 1024, "build_timeout_s": 1e7}
"""A system does not start any number of threads, and a socket does not wait for any time."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class EngineSpec:
    """Which engine: a model and how it is built.

    One of `path` (an .onnx model, or a .plan/.engine that is given, not built), `onnx` (a function that returns a path
    or a ModelProto) and `build` (a function that returns plan bytes) names the model. `calibration` is a function that
    yields what int8 is calibrated on, arrays by input name, the same at every call; `"random"` has them drawn; another
    text is the path of a calibration cache, which TensorRT's own `calibrator` reads. Without a `calibrator`, int8 is
    Q/DQ in the model. `shapes` maps an input's name, and `dims` a dimension's name as the model gives it, to
    (min, opt, max), or to a list of such triples, one for each optimisation profile; a single shape or size stands for
    all three. `fp32` leaves TF32 on, as TensorRT does, unless `tf32=False`. `layer_precisions` and `layer_output_types`
    map a layer's name, in which `*` is any text, to what it computes in and gives. `plugins` are libraries that are
    loaded where the engine is built and where it is run. docs/reference/markers.md has the rest. Raises
    DeclarationError for what cannot be meant.
    """

    path: str | None = None
    onnx: Callable[[], Any] | None = None
    build: Callable[[], bytes] | None = None
    shapes: Mapping[str, tuple[ShapeRange, ...]] = dataclasses.field(default_factory=dict)
    dims: Mapping[str, tuple[DimRange, ...]] = dataclasses.field(default_factory=dict)
    precision: Precision = "fp32"
    calibration: str | Callable[[], Any] | None = None
    calibrator: Literal["entropy", "minmax"] | None = None
    tf32: bool = True
    strongly_typed: bool = False
    layer_precisions: Mapping[str, LayerType] = dataclasses.field(default_factory=dict)
    layer_output_types: Mapping[str, tuple[LayerType, ...]] = dataclasses.field(default_factory=dict)
    precision_constraints: Literal["obey", "prefer"] = "obey"
    io_dtypes: Mapping[str, IoType] = dataclasses.field(default_factory=dict)
    io_formats: Mapping[str, IoFormat] = dataclasses.field(default_factory=dict)
    direct_io: bool = False
    backend: BackendName = "auto"
    seed: int = 0
    input_ranges: Mapping[str, tuple[float, float]] = dataclasses.field(default_factory=dict)
    threads: int | None = None
    optimization_level: int | None = None
    workspace_mb: int | None = None
    memory_pool_bytes: Mapping[MemoryPool, int] = dataclasses.field(default_factory=dict)
    avg_timing_iterations: int | None = None
    max_aux_streams: int | None = None
    max_num_tactics: int | None = None
    tiling_optimization_level: Literal["none", "fast", "moderate", "full"] | None = None
    l2_limit_for_tiling_bytes: int | None = None
    tactic_sources: tuple[str, ...] | None = None
    preview_features: Mapping[str, bool] = dataclasses.field(default_factory=dict)
    build_route: str | None = None
    sparsity: bool = False
    version_compatible: bool = False
    exclude_lean_runtime: bool = False
    hardware_compatibility: Literal["none", "ampere_plus", "same_compute_capability"] = "none"
    compute_capabilities: tuple[int, ...] = ()
    dla_core: int | None = None
    gpu_fallback: bool = False
    refit: bool = False
    strip_weights: bool = False
    weight_streaming: bool = False
    weight_streaming_budget: int | str | None = None
    plugins: tuple[str, ...] = ()
    profiling_verbosity: Literal["detailed", "layer_names_only", "none"] = "detailed"
    timing_cache: bool | str = True
    timing_cache_mode: Literal["update", "read_only", "error_on_miss"] = "update"
    build_timeout_s: float = 3600.0
    engine_host_code_allowed: bool = False

    def __post_init__(self) -> None:
        if isinstance(self.shapes, Mapping):
            set_fields(self, shapes={name: shape_ranges(name, value) for name, value in self.shapes.items()})
        if isinstance(self.dims, Mapping):
            set_fields(self, dims={name: dim_ranges(name, value) for name, value in self.dims.items()})
        self._take_short_forms()
        check_fields(self, "trt_engine")
        for fault in self._faults():
            raise DeclarationError(f"trt_engine: {fault}")

    def _take_short_forms(self) -> None:
        """One library, one type, or a path where a list or a text is kept."""
        if isinstance(self.timing_cache, os.PathLike):
            set_fields(self, timing_cache=os.fspath(self.timing_cache))
        alone = isinstance(self.plugins, (str, os.PathLike))
        libraries = (self.plugins,) if alone else self.plugins
        if isinstance(libraries, (tuple, list)):
            set_fields(self, plugins=tuple(os.fspath(p) if isinstance(p, os.PathLike) else p for p in libraries))
        if isinstance(self.layer_output_types, Mapping):
            types = {name: (t,) if isinstance(t, str) else t for name, t in self.layer_output_types.items()}
            set_fields(self, layer_output_types=types)

    def _faults(self) -> Iterator[str]:
        sources = [name for name in ("path", "onnx", "build") if getattr(self, name) is not None]
        if len(sources) > 1:
            yield f"{' and '.join(sources)} both name the model: keep one of them"
        counts = {len(v) for v in (*self.shapes.values(), *self.dims.values())} - {1}
        if len(counts) > 1:
            yield f"shapes and dims give {sorted(counts)} profiles: give each the same number"
        for name, (low, high) in self.input_ranges.items():
            if low > high:
                yield f"input_ranges[{name!r}] is ({low}, {high}): low is above high"
        if self.build_timeout_s <= 0:
            yield f"build_timeout_s is {self.build_timeout_s}: it must be above 0"
        for name, least in _LEAST.items():
            if (value := getattr(self, name)) is not None and value < least:
                yield f"{name} is {value}: it must be at least {least}"
        for name, most in _MOST.items():
            if (getattr(self, name) or 0) > most:
                yield f"{name} is {getattr(self, name):g}: it must be at most {most:g}"
        for pool, size in self.memory_pool_bytes.items():
            if size < 1:
                yield f"memory_pool_bytes[{pool!r}] is {size}: it must be at least 1"
        yield from self._layer_faults()
        yield from self._contradictions()
        if self.is_prebuilt and (meant := sorted(self._changed() - _NOT_BUILT - _OF_A_GIVEN_PLAN)):
            yield f"the plan is given, so {', '.join(meant)} would change nothing: give the model, or drop that"

    def _layer_faults(self) -> Iterator[str]:
        allowed = _LAYER_TYPES[self.precision]
        for field in ("layer_precisions", "layer_output_types"):
            for name, types in getattr(self, field).items():
                for kind in (types,) if isinstance(types, str) else types:
                    if kind not in allowed:
                        yield (
                            f"{field}[{name!r}] is {kind!r}, which precision={self.precision!r} does not allow the "
                            f"builder (it allows {', '.join(allowed)}): ask for a precision that has both, or 'best'"
                        )

    def _contradictions(self) -> Iterator[str]:
        by_layer = self.layer_precisions or self.layer_output_types
        budget, cache = self.weight_streaming_budget, self.timing_cache
        if self.precision_constraints != "obey" and not by_layer:
            yield "precision_constraints needs layer_precisions or layer_output_types: it holds for what they name"
        if self.strongly_typed and by_layer:
            yield "strongly_typed=True leaves every type to the model: drop layer_precisions and layer_output_types"
        if self.workspace_mb is not None and "workspace" in self.memory_pool_bytes:
            yield "workspace_mb and memory_pool_bytes['workspace'] both limit the workspace: keep one of them"
        if self.exclude_lean_runtime and not self.version_compatible:
            yield "exclude_lean_runtime=True needs version_compatible=True: no other plan has a lean runtime"
        if self.gpu_fallback and self.dla_core is None:
            yield "gpu_fallback=True needs dla_core: without a DLA everything runs on the GPU"
        if budget is not None and not (self.weight_streaming or self.is_prebuilt):
            yield "weight_streaming_budget needs weight_streaming=True: no other plan streams its weights"
        if budget is not None and not _is_budget(budget):
            yield f"weight_streaming_budget is {budget!r}: give bytes, a share of the weights such as '40%', or 'auto'"
        if cache is False and self.timing_cache_mode != "update":
            yield f"timing_cache=False leaves timing_cache_mode={self.timing_cache_mode!r} nothing: drop one of them"
        if not cache and isinstance(cache, str):
            yield "timing_cache is '': name a file, or give True or False"

    def _changed(self) -> set[str]:
        """The fields that are not as they stand by default."""
        return {field.name for field in dataclasses.fields(self) if getattr(self, field.name) != _default(field)}

    @property
    def tensorrt_only_options(self) -> tuple[str, ...]:
        """The options that are given and that only TensorRT has: ONNX Runtime builds and runs without them."""
        anyhow = () if self.timing_cache else ("timing_cache",)
        return tuple(sorted(self._changed().difference(_OF_EVERY_BACKEND, anyhow)))

    @property
    def host_code_allowed(self) -> bool:
        """Whether the code that a version compatible plan carries may run here."""
        return self.version_compatible or self.engine_host_code_allowed

    @property
    def profile_count(self) -> int:
        """How many optimisation profiles the ranges give."""
        return max((len(v) for v in (*self.shapes.values(), *self.dims.values())), default=1)

    @property
    def is_prebuilt(self) -> bool:
        """Whether the engine is given as a plan, not built from a model."""
        return self.build is not None or (self.path or "").endswith((".plan", ".engine", ".trt"))

    @property
    def without_functions(self) -> EngineSpec:
        """This spec without its functions, which do not travel to another process."""
        return dataclasses.replace(self, onnx=None, build=None, calibration=None)

    def build_options(self) -> dict[str, Any]:
        """Every field that decides what is built, for the digest and for reports: not the model, nor how it is run."""
        return {name: codec.encode(getattr(self, name)) for name in codec.field_types(self) if name not in _NOT_BUILT}


def _default(field: dataclasses.Field[Any]) -> Any:
    return {} if field.default_factory is dict else field.default


def _is_budget(value: int | str) -> bool:
    if isinstance(value, int):
        return value >= 0
    return value == "auto" or re.fullmatch(r"(100|\d{1,2})(\.\d+)?%", value) is not None
