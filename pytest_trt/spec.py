"""What can be said: which engine, in which shape, through which pipeline, within which limits. Frozen, and checked."""

from __future__ import annotations

import dataclasses
import datetime
import json
from collections.abc import Callable, Mapping
from typing import Any

from pytest_trt import codec
from pytest_trt.checked import check_fields, parse_share, put
from pytest_trt.engine_spec import BackendName, EngineSpec, LayerType, Precision
from pytest_trt.errors import DeclarationError, RecordError
from pytest_trt.ranges import DimRange, Shape, ShapeRange
from pytest_trt.records import ALWAYS_FAIL, FIGURES, Status

__all__ = [
    "Accuracy", "BackendName", "Budget", "Declaration", "DimRange", "EngineSpec", "LayerType", "PipelineOptions",
    "Precision", "RunShape", "Settings", "Shape", "ShapeRange", "Tolerance", "from_json", "parse_share",
]  # fmt: skip


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunShape:
    """The shape that is run. `batch` fills the leading dimension of every input where that is dynamic."""

    batch: int | None = None
    dims: Mapping[str, int] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        check_fields(self, "run shape")
        for name, size in {**({"batch": self.batch} if self.batch is not None else {}), **self.dims}.items():
            if size < 1:
                raise DeclarationError(f"{name}={size}: a size must be at least 1")


@dataclasses.dataclass(frozen=True, kw_only=True)
class PipelineOptions:
    """How the engine is run. `cuda_graph=None` captures where it can and says where it could not; True makes that a
    failure."""

    cuda_graph: bool | None = None
    contexts: int = 1
    depth: int = 2
    pinned: bool = True
    transfers: bool = True
    spin_wait: bool = False
    cold_l2: bool = False
    postprocess_threads: int = 1

    def __post_init__(self) -> None:
        check_fields(self, "trt_pipeline")
        for name in ("contexts", "depth", "postprocess_threads"):
            if not 1 <= getattr(self, name) <= 64:
                raise DeclarationError(f"trt_pipeline: {name} is {getattr(self, name)}: it must be from 1 to 64")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Budget:
    """Limits that hold for a device (`gpu`, `cpu`, or whole words of its name) and for parameters (`where`)."""

    device: str = "gpu"
    limits: Mapping[str, float] = dataclasses.field(default_factory=dict)
    where: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        check_fields(self, "trt_budget")
        if not self.device.strip():
            raise DeclarationError("trt_budget: the device is empty: name 'gpu', 'cpu', or words of the device's name")
        if not self.limits:
            raise DeclarationError("trt_budget: no limit is given: name one, such as ms=10")
        for name, limit in self.limits.items():
            if name not in FIGURES or not FIGURES[name].budget:
                raise DeclarationError(f"trt_budget: {name!r} is no figure that has a budget")
            if limit <= 0:
                raise DeclarationError(f"trt_budget: {name} is {limit:g}: a limit must be above 0")

    @property
    def named(self) -> str:
        """What it holds for, in words."""
        where = ", ".join(f"{name}={value!r}" for name, value in sorted(self.where.items()))
        return f"{self.device!r} where {where}" if where else repr(self.device)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Accuracy:
    """What the outputs must be. `reference` is `onnxruntime`, `baseline`, a path to an .npz, or a function that takes
    the inputs by name and returns the outputs by name. `unordered` maps outputs to the axis along which
    they may be in any order, see judge.order. The rest are limits, see judge.tolerance.Allowed."""

    reference: str | Callable[..., Any] = "onnxruntime"
    rtol: float | None = None
    atol: float | None = None
    cosine: float | None = None
    psnr_db: float | None = None
    top1: float | None = None
    top5: float | None = None
    inputs: str | Callable[..., Any] | None = None
    unordered: Mapping[str, int] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        check_fields(self, "trt_accuracy")
        for name in ("rtol", "atol"):
            value = getattr(self, name)
            if value is not None and value < 0:
                raise DeclarationError(f"trt_accuracy: {name} is {value:g}: it must be 0 or above")
        for name, least in (("cosine", -1), ("top1", 0), ("top5", 0)):
            value = getattr(self, name)
            if value is not None and not least <= value <= 1:
                raise DeclarationError(f"trt_accuracy: {name} is {value:g}: it must be from {least} to 1")
        if self.reference == "baseline" and (self.top1 is not None or self.top5 is not None or self.unordered):
            raise DeclarationError(
                "trt_accuracy: a baseline keeps a sample of the outputs, of which no top1, top5 or order can be told: "
                "name another reference"
            )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tolerance:
    """How far a test may move from its baseline, as shares (0.03 is 3 %), and whether that is enforced."""

    max_slowdown: float | None = None
    max_memory_growth: float | None = None
    paired: bool | None = None
    enforce: bool = True
    until: datetime.date | None = None
    reason: str = ""

    def __post_init__(self) -> None:
        for name in ("max_slowdown", "max_memory_growth"):
            put(self, **{name: parse_share(getattr(self, name), f"trt_regression: {name}")})
        if isinstance(self.until, str):
            try:
                put(self, until=datetime.date.fromisoformat(self.until))
            except ValueError:
                message = f"trt_regression: until is {self.until!r}: write a date such as '2027-01-31'"
                raise DeclarationError(message) from None
        check_fields(self, "trt_regression")
        if not self.enforce and not (self.reason.strip() and self.until):
            raise DeclarationError("trt_regression: enforce=False needs until='YYYY-MM-DD' and a reason='...'")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Declaration:
    """Everything that one test says, its markers and parameters put together. `params` are the values by which
    budgets' `where` is matched and a report names the test."""

    spec: EngineSpec
    run: RunShape = RunShape()
    pipeline: PipelineOptions = PipelineOptions()
    budgets: tuple[Budget, ...] = ()
    accuracy: Accuracy | None = None
    tolerance: Tolerance = Tolerance()
    params: Mapping[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """The command line and the ini file, parsed once. Shares are fractions, times seconds, sizes bytes."""

    backend: BackendName = "auto"
    device: str = "0"
    require_device: str | None = None
    compute_capabilities: tuple[int, ...] = ()
    baseline_save: bool = False
    baseline_force: bool = False
    baseline_new_only: bool = False
    baseline_ref: str | None = None
    against: str | None = None
    baseline: str | None = "main"
    baseline_dir: str = ".trt-baselines"
    budgets: str | None = None
    fail_on: frozenset[Status] = frozenset()
    max_slowdown: float = 0.05
    max_memory_growth: float = 0.05
    resolution: float = 0.005
    max_time_s: float = 10.0
    min_time_s: float = 0.1
    wait_s: float = 60.0
    cache_dir: str | None = None
    cache_bytes: int = 20 * 10**9
    no_cache: bool = False
    builds: int = 1
    build_only: bool = False
    reports: tuple[tuple[str, str], ...] = ()
    only: bool = False
    skip: bool = False
    disabled: bool = False
    bisect: bool = False
    rootdir: str = "."

    @property
    def strict(self) -> bool:
        """Whether everything that is left undecided fails."""
        return self.fail_on >= {"missing", "inconclusive", "unenforced"}

    @property
    def exports_layers(self) -> bool:
        """Whether what TensorRT's inspector tells of an engine is wanted: it is long, and kept for this alone."""
        return any(form == "trtexec" for form, _path in self.reports)

    @property
    def failing(self) -> frozenset[Status]:
        """The verdicts that fail a test in this run."""
        return ALWAYS_FAIL | self.fail_on


def from_json(cls: type[Any], text: str) -> Any:
    """A record from JSON text; RecordError where it is not one."""
    try:
        return codec.decode(cls, json.loads(text))
    except (ValueError, RecursionError) as error:
        raise RecordError(f"not JSON: {error}") from error
