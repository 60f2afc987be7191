"""Which engine: a model, and how it is built. Frozen, and checked."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Literal

from pytest_trt import codec
from pytest_trt.checked import check_fields, put
from pytest_trt.errors import DeclarationError
from pytest_trt.ranges import DimRange, ShapeRange, dim_ranges, shape_ranges

Precision = Literal["fp32", "fp16", "bf16", "int8", "fp8", "best"]
BackendName = Literal["auto", "tensorrt", "tensorrt_rtx", "tensorrt_lean", "onnxruntime"]

_NOT_BUILT = frozenset((
    "path", "onnx", "build", "calibration", "seed", "input_ranges", "threads", "build_timeout_s", "backend",
    "timing_cache",
))  # fmt: skip


@dataclasses.dataclass(frozen=True, kw_only=True)
class EngineSpec:
    """Which engine: a model and how it is built.

    One of `path` (an .onnx model, or a .plan/.engine that is given, not built), `onnx` (a function that returns a path
    or a ModelProto) and `build` (a function that returns plan bytes) names the model. `calibration` is a function that
    yields what int8 is calibrated on, arrays by input name, the same at every call; `"random"` has them drawn; another
    text is the path of a calibration cache, which TensorRT's own `calibrator` reads. Without a `calibrator`, int8 is
    Q/DQ in the model. `shapes` maps an input's name, and `dims` a dimension's name as the model gives it, to
    (min, opt, max), or to a list of such triples, one for each optimisation profile; a single shape or size stands for
    all three. `fp32` leaves TF32 on, as TensorRT does, unless
    `tf32=False`. Raises DeclarationError for what cannot be meant.
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
    backend: BackendName = "auto"
    seed: int = 0
    input_ranges: Mapping[str, tuple[float, float]] = dataclasses.field(default_factory=dict)
    threads: int | None = None
    optimization_level: int | None = None
    workspace_mb: int | None = None
    avg_timing_iterations: int | None = None
    max_aux_streams: int | None = None
    sparsity: bool = False
    version_compatible: bool = False
    hardware_compatibility: Literal["none", "ampere_plus", "same_compute_capability"] = "none"
    compute_capabilities: tuple[int, ...] = ()
    refit: bool = False
    profiling_verbosity: Literal["detailed", "layer_names_only", "none"] = "detailed"
    tactic_sources: tuple[str, ...] | None = None
    timing_cache: bool = True
    build_timeout_s: float = 3600.0

    def __post_init__(self) -> None:
        put(self, shapes={name: shape_ranges(name, value) for name, value in dict(self.shapes).items()})
        put(self, dims={name: dim_ranges(name, value) for name, value in dict(self.dims).items()})
        check_fields(self, "trt_engine")
        sources = [name for name in ("path", "onnx", "build") if getattr(self, name) is not None]
        if len(sources) > 1:
            raise DeclarationError(f"trt_engine: {' and '.join(sources)} both name the model: keep one of them")
        counts = {len(v) for v in (*self.shapes.values(), *self.dims.values())} - {1}
        if len(counts) > 1:
            message = f"trt_engine: shapes and dims give {sorted(counts)} profiles: give each the same number"
            raise DeclarationError(message)
        for name, (low, high) in self.input_ranges.items():
            if low > high:
                raise DeclarationError(f"trt_engine: input_ranges[{name!r}] is ({low}, {high}): low is above high")
        if self.build_timeout_s <= 0:
            raise DeclarationError(f"trt_engine: build_timeout_s is {self.build_timeout_s}: it must be above 0")

    @property
    def profiles(self) -> int:
        """How many optimisation profiles the ranges give."""
        return max((len(v) for v in (*self.shapes.values(), *self.dims.values())), default=1)

    @property
    def given_plan(self) -> bool:
        """Whether the engine is given as a plan, not built from a model."""
        return self.build is not None or (self.path or "").endswith((".plan", ".engine", ".trt"))

    @property
    def portable(self) -> EngineSpec:
        """This spec without its functions, which do not travel to another process."""
        return dataclasses.replace(self, onnx=None, build=None, calibration=None)

    def build_options(self) -> dict[str, Any]:
        """Every field that decides what is built, for the digest and for reports: not the model, nor how it is run."""
        return {name: codec.encode(getattr(self, name)) for name in codec.hints(self) if name not in _NOT_BUILT}
