"""The complete declaration of a test: its engine, the shape that is run, its pipeline, and its limits."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from pytest_trt.core.validation import check_fields
from pytest_trt.errors import DeclarationError
from pytest_trt.spec.engine_spec import EngineSpec
from pytest_trt.spec.expectations import Accuracy, Budget, LayerLimits, Tolerance
from pytest_trt.spec.generation import Generation


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunShape:
    """The sizes of the dynamic dimensions of the inputs in a run.

    Attributes:
        batch: The size of the first dimension of every input in which that dimension is dynamic.
        dims: The sizes of dynamic dimensions, by the name that the model gives them.
    """

    batch: int | None = None
    dims: Mapping[str, int] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        check_fields(self, "run shape")
        for name, size in {**({"batch": self.batch} if self.batch is not None else {}), **self.dims}.items():
            if size < 0:
                raise DeclarationError(f"{name}={size}: a size must be at least 0")


@dataclasses.dataclass(frozen=True, kw_only=True)
class PipelineOptions:
    """How an engine is run.

    Attributes:
        cuda_graph: True captures a CUDA graph, and fails if the engine does not allow it. None captures one if
            possible, and reports it if not. False launches the layers one by one.
        contexts: The number of execution contexts that work at the same time.
        depth: The number of buffer sets of each context: how many inferences are in flight.
        pinned: Whether host buffers are page-locked.
        transfers: Whether an inference includes copying inputs to the device and outputs back.
        expose_dma: Whether copies never run at the same time as a computation or another copy, as with trtexec's
            `--exposeDMA`.
        spin_wait: Whether the host spins, rather than sleeps, while it waits for the device.
        cold_l2: Whether the L2 cache is emptied before each sample.
        postprocess_threads: The number of threads for the `postprocess` function of `stream`.
    """

    cuda_graph: bool | None = None
    contexts: int = 1
    depth: int = 2
    pinned: bool = True
    transfers: bool = True
    expose_dma: bool = False
    spin_wait: bool = False
    cold_l2: bool = False
    postprocess_threads: int = 1

    def __post_init__(self) -> None:
        check_fields(self, "trt_pipeline")
        for name in ("contexts", "depth", "postprocess_threads"):
            if not 1 <= getattr(self, name) <= 64:
                raise DeclarationError(f"trt_pipeline: {name} is {getattr(self, name)}: it must be from 1 to 64")
        if self.expose_dma and not self.transfers:
            raise DeclarationError(
                "trt_pipeline: expose_dma=True and transfers=False contradict each other: remove one"
            )
        if self.expose_dma and self.contexts > 1:
            raise DeclarationError(
                f"trt_pipeline: expose_dma=True and contexts={self.contexts} contradict each other, because the copies "
                "of one context would run beside another: remove one"
            )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Declaration:
    """Everything that the markers and parameters of one test declare.

    Attributes:
        spec: The engine.
        run: The shape that is run.
        pipeline: How the engine is run.
        budgets: The limits on figures.
        accuracy: The reference of the outputs. None if they are not checked.
        tolerance: How far the test may move from its baseline.
        generation: What is generated in a measurement. None if it has no tokens.
        layers: What the layers of the engine may be. None if they are not checked.
        params: The values of the test's parameters, which the `where` of a budget is matched against.
    """

    spec: EngineSpec
    run: RunShape = RunShape()
    pipeline: PipelineOptions = PipelineOptions()
    budgets: tuple[Budget, ...] = ()
    accuracy: Accuracy | None = None
    tolerance: Tolerance = dataclasses.field(default_factory=Tolerance)
    generation: Generation | None = None
    layers: LayerLimits | None = None
    params: Mapping[str, Any] = dataclasses.field(default_factory=dict)
