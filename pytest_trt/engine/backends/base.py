"""What every backend offers, and the lookup of one by name.

A backend lives in a process of its own (a probe or a build), never in pytest's. Jobs and reports are frozen records
that travel as JSON; an engine is loaded, used and gone within one process.
"""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

from pytest_trt.core.backends import BACKENDS
from pytest_trt.core.records import Environment, Layer
from pytest_trt.engine.tensors import Tensor
from pytest_trt.errors import BackendError
from pytest_trt.spec.engine_spec import EngineSpec
from pytest_trt.spec.shape_ranges import ShapeRange

if TYPE_CHECKING:
    from pytest_trt.engine.tensors import Arrays

Progress = Callable[[str, float], None]
"""Called with what a build is doing and the share that is done (0 to 1; below 0 where that is not known)."""


CALIBRATION_CACHE = "calibration.cache"
"""The file beside a plan that has the scales which TensorRT found for it, or is to take."""


@dataclasses.dataclass(frozen=True)
class BuildJob:
    """What a build process is told. `model` is a file; the engine goes to `output`/plan, with its data beside it.
    `profiles` gives, for each optimisation profile, the (min, opt, max) shapes of every dynamic input. `calibration` is
    where the batches are that TensorRT calibrates on; none need be there if `output` has a CALIBRATION_CACHE.
    `preparation_s` is what making all that took of the spec's build_timeout_s."""

    backend: str
    device: str
    spec: EngineSpec
    model: str
    output: str
    profiles: tuple[Mapping[str, ShapeRange], ...] = ()
    timing_cache: str | None = None
    calibration: str | None = None
    preparation_s: float = 0.0


UNREPORTED = "untold"
"""Stands among precisions for layers into which the builder fused a whole part of the network, and of which it tells
only what goes in and out."""


@dataclasses.dataclass(frozen=True)
class BuildReport:
    """What a build says of what it built. `precisions` maps a precision to the share of layers that run in it, or is
    empty where nothing can tell; `proved_by` says how it is known (`inspector`, `model`)."""

    seconds: float
    plan_bytes: int
    precisions: Mapping[str, float] = dataclasses.field(default_factory=dict)
    proved_by: str = ""
    layers: tuple[Layer, ...] = ()
    notes: tuple[str, ...] = ()


class Engine(Protocol):
    """A plan, loaded. `kind` says which runner drives it: `device` by streams and addresses, `host` by a call."""

    kind: Literal["device", "host"]
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]

    def layers(self) -> tuple[Layer, ...]:
        """The layers in their order, without times; empty where the plan does not tell."""
        ...

    def close(self) -> None: ...


class HostEngine(Engine, Protocol):
    """An engine of kind `host`. `proof` says what really runs, as text by name."""

    proof: Mapping[str, str]

    def run(self, inputs: Arrays) -> Arrays: ...

    def bind_inputs(self, inputs: Arrays) -> Callable[[], None]:
        """A call that infers on `inputs` where they lie, and returns when it is done."""
        ...

    def profile(self, inputs: Arrays, runs: int) -> tuple[Layer, ...]:
        """The layers with their median time over `runs`; empty where nothing tells."""
        ...

    def memory(self) -> Mapping[str, int]:
        """Bytes of device memory by name, where there is a device (see Runner.memory)."""
        ...


class Backend(Protocol):
    """One way of building and running engines."""

    name: str

    def version(self) -> str: ...

    def environment(self, device: str) -> Environment:
        """The device and the software. Raises BackendError, with the remedy, where they do not work."""
        ...

    def preload(self) -> None:
        """Import what running engines takes, in the process that probes are forked from: the device is not touched."""
        ...

    def initialize_driver(self) -> None:
        """In a fresh process: what making the device ready begins with, as far as it takes none of its memory. What is
        amiss is `activate`'s to say."""
        ...

    def activate(self, device: str) -> None:
        """Make the device ready for this process: on a GPU, its CUDA context. Raises as `environment` does."""
        ...

    def build(self, job: BuildJob, progress: Progress) -> BuildReport:
        """Write `job.output`/plan. Raises BuildError or ModelError with the builder's own words."""
        ...

    def load(self, plan: Path, device: str, spec: EngineSpec) -> Engine: ...


def backend(name: str) -> Backend:
    """The backend of that name. Imports its package; raises BackendError where that is not installed."""
    if name not in BACKENDS:
        raise BackendError(f"there is no backend {name!r}: choose from {', '.join(BACKENDS)}")
    found: Backend = importlib.import_module(BACKENDS[name].module).open_backend(name)
    return found
