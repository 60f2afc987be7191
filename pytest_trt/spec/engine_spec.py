"""The specification of an engine: its model, and how it is built."""

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
from pytest_trt.spec.name_pairs import pattern_problems
from pytest_trt.spec.shape_ranges import DimRange, ShapeRange, dim_ranges, shape_ranges

Precision = Literal["fp32", "fp16", "bf16", "int8", "fp8", "best"]
LayerType = Literal["fp32", "fp16", "bf16", "int8", "fp8"]
IoType = Literal["fp32", "fp16", "bf16", "fp8", "int8", "uint8", "int32", "int64", "bool"]
IoFormat = Literal[
    "linear", "chw2", "chw4", "chw16", "chw32", "hwc", "hwc8", "hwc16", "dhwc", "dhwc8", "cdhw32", "dla_linear",
    "dla_hwc4",
]  # fmt: skip
Role = Literal["tokens", "position", "total", "mask", "flag", "zero", "constant", "logits"]
MemoryPool = Literal[
    "workspace", "tactic_dram", "tactic_shared_memory", "dla_managed_sram", "dla_local_dram", "dla_global_dram"
]

_NOT_BUILD_OPTIONS = frozenset((
    "path", "onnx", "build", "calibration", "seed", "input_ranges", "threads", "build_timeout_s", "backend",
    "device", "cpu_nodes", "timing_cache", "timing_cache_mode", "plugins", "weight_streaming_budget",
    "engine_host_code_allowed", "state", "write_index", "roles",
))  # fmt: skip
"""Fields that do not change what is built, or whose file is part of the cache key by its content."""

_ALLOWED_FOR_PLANS = frozenset(("shapes", "dims", "precision", "tf32", "version_compatible", "dla_core"))
"""Build options that also apply to a prebuilt plan."""

_FOR_EVERY_BACKEND = frozenset((
    "path", "onnx", "build", "shapes", "dims", "precision", "calibration", "tf32", "strongly_typed", "backend",
    "device", "cpu_nodes", "seed", "input_ranges", "threads", "build_timeout_s", "state", "write_index",
    "roles",
))  # fmt: skip
"""Fields that ONNX Runtime supports too, or that request what it does in any case."""

_LAYER_TYPES: Mapping[Precision, tuple[LayerType, ...]] = {
    "fp32": ("fp32",), "fp16": ("fp32", "fp16"), "bf16": ("fp32", "bf16"), "int8": ("fp32", "fp16", "int8"),
    "fp8": ("fp32", "fp16", "fp8"), "best": ("fp32", "fp16", "bf16", "int8", "fp8"),
}  # fmt: skip
"""The types that the builder may use for a layer, by the precision of the engine."""

STATE_AXIS = -2
"""The axis of a cache that its write index counts along: caches of keys and values are (..., length, size)."""

_MINIMUM = {
    "optimization_level": 0, "workspace_mb": 1, "avg_timing_iterations": 1, "max_aux_streams": 0, "max_num_tactics": 1,
    "l2_limit_for_tiling_bytes": 0, "dla_core": 0, "threads": 1,
}  # fmt: skip

_MAXIMUM = {"optimization_level": 5, "threads": 1024, "build_timeout_s": 1e7}
"""The limits on threads and time are what a system can start, and how long a socket can wait."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class EngineSpec:
    """The specification of an engine: a model, and how it is built.

    Name the model by one of `path`, `onnx` and `build`. docs/reference/markers.md describes every field in detail.

    Attributes:
        path: The path of an .onnx model, or of a prebuilt plan (.plan, .engine or .trt).
        onnx: A function that returns the path of a model or a ModelProto.
        build: A function that returns the bytes of a plan.
        shapes: The range of an input's shape, by the name of the input: a (min, opt, max) triple of shapes, a single
            shape, or a list of triples, one per optimisation profile.
        dims: The range of a dimension, by the name that the model gives it, in the same notations.
        state: The outputs that become inputs of the next step, such as `{"present_*": "past_*"}`: the input of each
            output. `*` is the same text on both sides. State stays on the device.
        write_index: The input that says where a step writes into state of a fixed capacity, with the axis of the
            state that it counts along; a name alone means axis -2. `trt_matrix` sets it by its name.
        roles: What inputs, and the output of logits, are for in a generation, where their names do not say it.
        precision: The precision of the engine. `best` lets the builder choose.
        calibration: The data for int8: a function that yields dicts of arrays by input name, the same at every call;
            `"random"` for generated arrays; or, with `calibrator`, the path of a calibration cache.
        calibrator: The calibration algorithm of TensorRT. Without one, int8 is added to the model as Q/DQ nodes.
        tf32: Whether fp32 may be computed as TF32. TensorRT allows it by default.
        strongly_typed: Whether every layer computes in the type that the model declares.
        layer_precisions: The type that a layer computes in, by the name of the layer. `*` matches any text.
        layer_output_types: The type of a layer's output, or one type for each output, by the name of the layer.
        precision_constraints: Whether the builder must obey these two, or may deviate from them.
        io_dtypes: The type of an input or output, by its name.
        io_formats: The memory format of an input or output, by its name.
        direct_io: Whether the build fails if an input or output needs a reformat.
        backend: The backend for this engine. `auto` means the setting of the run.
        device: Words of the name of the device that the test runs on. None means the kind of the run's first device.
        seed: The seed of generated inputs.
        input_ranges: The range (low, high) of a generated input, by its name. For integers, both ends are included.
        threads: The number of CPU threads of ONNX Runtime.
        cpu_nodes: The names or operators of the nodes that may run on the CPU with ONNX Runtime on a GPU. `*` matches
            any text.
        build_timeout_s: The longest time that a build may take, including conversion and calibration.
        timing_cache: Whether to use the shared timing cache, or the path of another one.
        timing_cache_mode: Whether the timing cache is read and updated, only read, or must contain every timing.
        weight_streaming_budget: How much of the weights stays on the device: bytes, a share such as `"40%"`, or
            `"auto"`.
        plugins: Libraries of plugins, loaded wherever the engine is built or run.
        compute_capabilities: The compute capabilities that TensorRT-RTX builds for ahead of time, such as (89, 120).
        engine_host_code_allowed: Whether the code inside a version compatible plan may run. Only for trusted plans.

    The other fields are options of TensorRT's builder.

    Raises:
        DeclarationError: A field is invalid, or fields contradict each other.
    """

    path: str | None = None
    onnx: Callable[[], Any] | None = None
    build: Callable[[], bytes] | None = None
    shapes: Mapping[str, tuple[ShapeRange, ...]] = dataclasses.field(default_factory=dict)
    dims: Mapping[str, tuple[DimRange, ...]] = dataclasses.field(default_factory=dict)
    state: Mapping[str, str] = dataclasses.field(default_factory=dict)
    write_index: Mapping[str, int] = dataclasses.field(default_factory=dict)
    roles: Mapping[str, Role] = dataclasses.field(default_factory=dict)
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
    device: str | None = None
    seed: int = 0
    input_ranges: Mapping[str, tuple[float, float]] = dataclasses.field(default_factory=dict)
    threads: int | None = None
    cpu_nodes: tuple[str, ...] = ()
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
        self._expand_short_forms()
        check_fields(self, "trt_engine")
        for problem in self._problems():
            raise DeclarationError(f"trt_engine: {problem}")

    def _expand_short_forms(self) -> None:
        """Replace a single library, a single type, a path object or a lone name by what the field holds."""
        if isinstance(self.write_index, str):
            set_fields(self, write_index={self.write_index: STATE_AXIS})
        if isinstance(self.timing_cache, os.PathLike):
            set_fields(self, timing_cache=os.fspath(self.timing_cache))
        alone = isinstance(self.plugins, (str, os.PathLike))
        libraries = (self.plugins,) if alone else self.plugins
        if isinstance(libraries, (tuple, list)):
            set_fields(self, plugins=tuple(os.fspath(p) if isinstance(p, os.PathLike) else p for p in libraries))
        if isinstance(self.cpu_nodes, str):
            set_fields(self, cpu_nodes=(self.cpu_nodes,))
        if isinstance(self.layer_output_types, Mapping):
            types = {name: (t,) if isinstance(t, str) else t for name, t in self.layer_output_types.items()}
            set_fields(self, layer_output_types=types)

    def _problems(self) -> Iterator[str]:
        sources = [name for name in ("path", "onnx", "build") if getattr(self, name) is not None]
        if len(sources) > 1:
            yield f"{' and '.join(sources)} both name the model: keep one of them"
        counts = {len(v) for v in (*self.shapes.values(), *self.dims.values())} - {1}
        if len(counts) > 1:
            yield f"shapes and dims define {sorted(counts)} optimisation profiles: define the same number for each"
        for name, (low, high) in self.input_ranges.items():
            if low > high:
                yield f"input_ranges[{name!r}] is ({low}, {high}): low must not be above high"
        if self.device is not None and (self.device.strip().isdecimal() or not re.search("[A-Za-z]", self.device)):
            yield f"device is {self.device!r}: give words of a device's name, such as 'H200', and no number"
        if self.build_timeout_s <= 0:
            yield f"build_timeout_s is {self.build_timeout_s}: it must be above 0"
        for name, minimum in _MINIMUM.items():
            if (value := getattr(self, name)) is not None and value < minimum:
                yield f"{name} is {value}: it must be at least {minimum}"
        for name, maximum in _MAXIMUM.items():
            if (getattr(self, name) or 0) > maximum:
                yield f"{name} is {getattr(self, name):g}: it must be at most {maximum:g}"
        for pool, size in self.memory_pool_bytes.items():
            if size < 1:
                yield f"memory_pool_bytes[{pool!r}] is {size}: it must be at least 1"
        yield from pattern_problems(self.state)
        for field in ("write_index", "roles"):
            if (names := getattr(self, field)) and not self.state:
                yield f"{field}={', '.join(names)} has no effect without state: declare state, or remove it"
        yield from self._layer_problems()
        yield from self._contradictions()
        ineffective = sorted(self._changed() - _NOT_BUILD_OPTIONS - _ALLOWED_FOR_PLANS)
        if self.is_prebuilt and ineffective:
            yield (
                f"the engine is a prebuilt plan, so {', '.join(ineffective)} would have no effect: name the model "
                "instead of the plan, or remove these arguments"
            )

    def _layer_problems(self) -> Iterator[str]:
        allowed = _LAYER_TYPES[self.precision]
        for field in ("layer_precisions", "layer_output_types"):
            for name, types in getattr(self, field).items():
                for kind in (types,) if isinstance(types, str) else types:
                    if kind not in allowed:
                        yield (
                            f"{field}[{name!r}] is {kind!r}, but precision={self.precision!r} allows only "
                            f"{', '.join(allowed)}: choose a precision that allows it, such as 'best'"
                        )

    def _contradictions(self) -> Iterator[str]:
        by_layer = self.layer_precisions or self.layer_output_types
        budget, cache = self.weight_streaming_budget, self.timing_cache
        if self.precision_constraints != "obey" and not by_layer:
            yield "precision_constraints needs layer_precisions or layer_output_types: it applies only to their layers"
        if self.strongly_typed and by_layer:
            yield "strongly_typed=True takes every type from the model: remove layer_precisions and layer_output_types"
        if self.workspace_mb is not None and "workspace" in self.memory_pool_bytes:
            yield "workspace_mb and memory_pool_bytes['workspace'] both limit the workspace: keep one of them"
        if self.exclude_lean_runtime and not self.version_compatible:
            yield "exclude_lean_runtime=True needs version_compatible=True: no other plan contains a lean runtime"
        if self.gpu_fallback and self.dla_core is None:
            yield "gpu_fallback=True needs dla_core: without a DLA everything runs on the GPU"
        if budget is not None and not (self.weight_streaming or self.is_prebuilt):
            yield "weight_streaming_budget needs weight_streaming=True: no other plan streams its weights"
        if budget is not None and not _is_budget(budget):
            yield f"weight_streaming_budget is {budget!r}: give bytes, a share of the weights such as '40%', or 'auto'"
        if cache is False and self.timing_cache_mode != "update":
            yield f"timing_cache_mode={self.timing_cache_mode!r} has no effect with timing_cache=False: remove either"
        if not cache and isinstance(cache, str):
            yield "timing_cache is '': name a file, or give True or False"

    def _changed(self) -> set[str]:
        """Return the names of the fields that differ from their defaults."""
        return {field.name for field in dataclasses.fields(self) if getattr(self, field.name) != _default(field)}

    @property
    def tensorrt_only_options(self) -> tuple[str, ...]:
        """The names of the options that are set and that only TensorRT has. ONNX Runtime ignores them."""
        satisfied = () if self.timing_cache else ("timing_cache",)  # ONNX Runtime never has a timing cache.
        return tuple(sorted(self._changed().difference(_FOR_EVERY_BACKEND, satisfied)))

    @property
    def host_code_allowed(self) -> bool:
        """Whether the code inside a version compatible plan may run."""
        return self.version_compatible or self.engine_host_code_allowed

    @property
    def profile_count(self) -> int:
        """The number of optimisation profiles that `shapes` and `dims` define."""
        return max((len(v) for v in (*self.shapes.values(), *self.dims.values())), default=1)

    @property
    def is_prebuilt(self) -> bool:
        """Whether the engine is a prebuilt plan, rather than built from a model."""
        return self.build is not None or (self.path or "").endswith((".plan", ".engine", ".trt"))

    @property
    def without_functions(self) -> EngineSpec:
        """This spec without its functions, which cannot be sent to another process."""
        return dataclasses.replace(self, onnx=None, build=None, calibration=None)

    def build_options(self) -> dict[str, Any]:
        """Return every field that changes what is built, except the model, as JSON values by name."""
        return {
            name: codec.encode(getattr(self, name))
            for name in codec.field_types(self)
            if name not in _NOT_BUILD_OPTIONS
        }


def _default(field: dataclasses.Field[Any]) -> Any:
    return {} if field.default_factory is dict else field.default


def _is_budget(value: int | str) -> bool:
    if isinstance(value, int):
        return value >= 0
    return value == "auto" or re.fullmatch(r"(100|\d{1,2})(\.\d+)?%", value) is not None
