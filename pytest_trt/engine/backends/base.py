"""The interface of a backend, and the lookup of a backend by name.

A backend is used in a probe or in a build process, never in pytest's process. Build jobs and reports are frozen records
that are sent between processes as JSON. An engine is loaded, used and closed within one process.
"""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

from pytest_trt.core.backends import BACKENDS
from pytest_trt.core.records import Environment, Layer
from pytest_trt.engine.tensors import Tensor
from pytest_trt.errors import BackendError
from pytest_trt.spec.engine_spec import EngineSpec
from pytest_trt.spec.shape_ranges import ShapeRange

if TYPE_CHECKING:
    from pytest_trt.engine.tensors import Arrays

Progress = Callable[[str, float], None]
"""Is called with the current step of a build and the share that is done: 0 to 1, or negative if it is not known."""

CALIBRATION_CACHE = "calibration.cache"
"""The file beside a plan with the scales of its calibration: TensorRT reads it, or writes it if it does not exist."""


@dataclasses.dataclass(frozen=True)
class BuildJob:
    """A frozen record of a build to run.

    Attributes:
        backend: The name of the backend.
        device: The device's number or UUID.
        spec: The engine to build.
        model: The ONNX file.
        output: The folder for the plan, `output`/plan, and the files beside it.
        profiles: For each optimisation profile, the (min, opt, max) shapes of every dynamic input by name.
        timing_cache: The file of the timing cache, if one is used.
        calibration: The folder with the batches for TensorRT's calibrator; it may be empty if `output` contains a
            CALIBRATION_CACHE.
        preparation_s: The time that preparing the job took; it counts towards the spec's `build_timeout_s`.
    """

    backend: str
    device: str
    spec: EngineSpec
    model: str
    output: str
    profiles: tuple[Mapping[str, ShapeRange], ...] = ()
    timing_cache: str | None = None
    calibration: str | None = None
    preparation_s: float = 0.0


@dataclasses.dataclass(frozen=True)
class BuildReport:
    """A frozen record of a build's result.

    Attributes:
        seconds: The duration of the build.
        plan_bytes: The size of the plan; ONNX Runtime counts weights in files beside it, too.
        precisions: The share of layers in each precision; empty if it is not known.
        proved_by: How the precisions are known: `inspector` (from the engine) or `model` (from a strongly typed
            network); empty if they are not.
        layers: The layers without times, if the backend reports them.
        notes: What a user should know about the build.
    """

    seconds: float
    plan_bytes: int
    precisions: Mapping[str, float] = dataclasses.field(default_factory=dict)
    proved_by: str = ""
    layers: tuple[Layer, ...] = ()
    notes: tuple[str, ...] = ()


class Engine(Protocol):
    """A loaded plan.

    Attributes:
        kind: How the engine is run: `device` by streams and addresses, `host` by a call.
        inputs: The inputs; -1 in a shape is dynamic.
        outputs: The outputs; -1 in a shape is dynamic or depends on the data.
    """

    kind: Literal["device", "host"]
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]

    def layers(self) -> tuple[Layer, ...]:
        """Return the layers in order, without times; empty if the backend does not report them."""
        ...

    def close(self) -> None:
        """Free the engine."""
        ...


class HostEngine(Engine, Protocol):
    """An engine of kind `host`.

    Attributes:
        proof: How the engine really runs, as text by name.
    """

    proof: Mapping[str, str]

    def run(self, inputs: Arrays) -> Arrays:
        """Run one inference and return the outputs by name."""
        ...

    def bind_inputs(self, inputs: Arrays) -> Callable[[], None]:
        """Return a call that runs one inference on `inputs`, without a copy of them, and returns when it has ended."""
        ...

    def step(self, inputs: Mapping[str, Any]) -> Mapping[str, Any]:
        """Run one inference on arrays, or on values that a step before returned, and return the outputs by name.

        The outputs are values of the backend, which are not copied; their method `numpy` returns an array.
        """
        ...

    def profile(self, inputs: Arrays, runs: int) -> tuple[Layer, ...]:
        """Return the layers with their median times over `runs` inferences; empty if times are not reported."""
        ...

    def memory(self) -> Mapping[str, int]:
        """Return the device memory in bytes by name; empty without a device. See `Runner.memory`."""
        ...


@runtime_checkable
class TimesItsDevice(Protocol):
    """A host engine that uses a GPU and can time it."""

    def device_times(self, inputs: Arrays, count: int) -> tuple[float, ...]:
        """Return the GPU's ms of `count` inferences, without copies from or to the host; empty without a GPU."""
        ...


class Backend(Protocol):
    """A library that builds and runs engines.

    Attributes:
        name: The name of the backend.
    """

    name: str

    def version(self) -> str:
        """Return the version of the library."""
        ...

    def device_count(self) -> int:
        """Return the number of devices that this process sees. Raises BackendError if there is none."""
        ...

    def environment(self, device: str) -> Environment:
        """Return the record of the device and the software. Raises BackendError if they do not work."""
        ...

    def preload(self) -> None:
        """Import what running engines needs, without using the device.

        The process from which probes are forked calls this, so that probes start with the libraries loaded.
        """
        ...

    def initialize_driver(self) -> None:
        """Initialise the driver in a fresh process, without using device memory.

        This is the first part of `activate`, which reports any error.
        """
        ...

    def activate(self, device: str) -> None:
        """Make the device ready for this process; on a GPU, create the CUDA context.

        Raises:
            BackendError: The device or the software does not work.
        """
        ...

    def check(self, model: Path, spec: EngineSpec) -> None:
        """Read a model as a build does, without building it.

        Args:
            model: The ONNX file.
            spec: The build options, with the model's path for errors.

        Raises:
            BuildError: The backend does not take the model.
            BackendError: The backend does not work here, or builds no engines.
        """
        ...

    def build(self, job: BuildJob, progress: Progress) -> BuildReport:
        """Build an engine and write the plan to `job.output`/plan.

        Raises:
            BuildError: The builder rejects the model or an option.
            ModelError: The model cannot be read.
        """
        ...

    def load(self, plan: Path, device: str, spec: EngineSpec) -> Engine:
        """Load a plan on a device. Raises BackendError if the backend cannot run it."""
        ...


def backend(name: str) -> Backend:
    """Return the backend with that name, and import its package.

    Raises:
        BackendError: There is no such backend, or its package is not installed.
    """
    if name not in BACKENDS:
        raise BackendError(f"there is no backend {name!r}: choose from {', '.join(BACKENDS)}")
    found: Backend = importlib.import_module(BACKENDS[name].module).open_backend(name)
    return found
