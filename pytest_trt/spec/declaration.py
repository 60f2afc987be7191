"""What can be said: which engine, in which shape, through which pipeline, within which limits. Frozen, and checked."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from pytest_trt.core.validation import check_fields
from pytest_trt.errors import DeclarationError
from pytest_trt.spec.engine_spec import EngineSpec
from pytest_trt.spec.expectations import Accuracy, Budget, Tolerance


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
class Declaration:
    """Everything that one test says, its markers and parameters put together. `params` are the values by which
    budgets' `where` is matched and a report names the test."""

    spec: EngineSpec
    run: RunShape = RunShape()
    pipeline: PipelineOptions = PipelineOptions()
    budgets: tuple[Budget, ...] = ()
    accuracy: Accuracy | None = None
    tolerance: Tolerance = dataclasses.field(default_factory=Tolerance)
    params: Mapping[str, Any] = dataclasses.field(default_factory=dict)
