"""The frozen records that are sent between processes, written to reports, and stored in baselines.

Times are in milliseconds unless the name of a field ends in another unit; `_mb` means 10**6 bytes. Samples are tuples
of floats, so that this module does not import numpy; code that computes with them converts them to arrays.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal, get_args

from pytest_trt.core.cards import CardComparison
from pytest_trt.core.estimate import Estimate as Estimate
from pytest_trt.core.past_run import PastRun
from pytest_trt.core.stored_output import StoredOutput

SCHEMA = 1
"""The version of the form of stored records. Increase it when that form changes."""

MEASUREMENT_VERSION = 2
"""The version of the measuring method. Increase it when figures from before and after a change are not comparable."""

Status = Literal[
    "error", "invalid", "inaccurate", "over_budget", "regressed", "inconclusive", "missing", "new", "unenforced",
    "improved", "ok",
]  # fmt: skip
STATUSES: tuple[Status, ...] = get_args(Status)
"""All statuses, worst first. The status of a test is the worst status of its figures."""

ALWAYS_FAIL: frozenset[Status] = frozenset(("error", "invalid", "inaccurate", "over_budget", "regressed"))
"""The statuses that fail a test whatever the settings are."""

_IN_REPR = ("ms", "p99_ms", "throughput", "memory_mb", "host_mb")
"""The figures that the `repr` of a measurement shows."""


def worst(statuses: tuple[Status, ...]) -> Status:
    """Return the worst of the given statuses, or `ok` if there are none."""
    return min(statuses, key=STATUSES.index, default="ok")


@dataclasses.dataclass(frozen=True)
class Environment:
    """The device and the software that produced a measurement.

    Attributes:
        device: The name of the GPU or CPU, as the driver or operating system reports it.
        backend: The name of the backend, such as `tensorrt`.
        driver: The version of the GPU driver.
        compute_capability: The compute capability of the GPU, such as `9.0`.
        mig_profile: The profile of the MIG instance, if the device is one.
        device_uuid: The UUID of the GPU or of the MIG slice.
        device_memory_bytes: The total memory of the GPU.
        pci_address: The address of the GPU on the PCI bus, such as `0000:18:00.0`.
        numa_node: The NUMA node that the GPU is attached to. Its probes use the CPUs of that node.
        power_limit_w: The enforced power limit of the GPU, in W, when the run began.
        host_cpu: The name of the host's CPU.
        host_cpus: The number of CPUs that the process may use.
        host: A digest that tells hosts apart; empty if it was not recorded.
        host_name: The host elsewhere, as --trt-host names it; empty for the one that ran pytest.
        threads: The number of CPU threads that inference may use.
        plugin: The version of pytest-trt.
        measurement: The version of the measuring method (MEASUREMENT_VERSION).
        commit: The git commit of the project. It ends in `+` if there were uncommitted changes.
        notes: Conditions that may affect the figures, in words.
    """

    device: str
    kind: Literal["gpu", "cpu"]
    backend: str
    backend_version: str
    driver: str | None = None
    cuda: str | None = None
    compute_capability: str | None = None
    device_uuid: str | None = None
    mig_profile: str | None = None
    device_memory_bytes: int | None = None
    pci_address: str | None = None
    numa_node: int | None = None
    power_limit_w: float | None = None
    host_cpu: str = ""
    host_cpus: int = 0
    host: str = ""
    host_name: str = ""
    threads: int | None = None
    os: str = ""
    python: str = ""
    plugin: str = ""
    measurement: int = MEASUREMENT_VERSION
    commit: str | None = None
    notes: tuple[str, ...] = ()

    @property
    def card(self) -> str:
        """The piece of hardware among those of one name: the first digits of the GPU's UUID, or else of the host.

        It is empty if neither is known.
        """
        return self.device_uuid[:12] if self.device_uuid else f"host-{self.host[:8]}" if self.host else ""


@dataclasses.dataclass(frozen=True)
class Block:
    """Consecutive samples of one probe.

    Attributes:
        times: The samples by the name of their figure (`ms`, `gpu_ms`, ...). All figures have the same number of them.
        state: The state of the GPU after the block: clocks in MHz, power in W, temperature in degrees Celsius, and
            NVML's mask of clocks event reasons.
    """

    times: Mapping[str, tuple[float, ...]]
    seconds: float
    state: Mapping[str, float] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Samples:
    """All blocks of one probe on one side of a comparison.

    Attributes:
        probe: The number of the probe, from 0.
        build: The number of the build of the engine, from 0.
    """

    blocks: tuple[Block, ...]
    probe: int = 0
    build: int = 0


@dataclasses.dataclass(frozen=True)
class Layer:
    """One layer of an engine.

    Attributes:
        ms: The median time of the layer in one inference.
        kind: The type of the layer, such as `Convolution`.
        tactic: The kernel that the builder chose.
        precision: The type that the layer computes in.
        formats: The memory formats of the layer's inputs and outputs.
        nodes: The names of the ONNX nodes that the layer computes.
    """

    name: str
    ms: float | None = None
    kind: str = ""
    tactic: str = ""
    precision: str = ""
    formats: str = ""
    nodes: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class LayerProfile:
    """The layers of an engine with their times, measured in a separate pass.

    Attributes:
        layers: The layers, in the order in which they run.
        runs: The number of profiled inferences.
        bindings: The names of the inputs and outputs of the engine.
        inspected: The report of TensorRT's engine inspector for the shapes that were run, in the inspector's JSON
            format (`Layers`, and `Bindings` or `I/O Tensors`). It is empty for other backends.
    """

    layers: tuple[Layer, ...]
    runs: int = 0
    bindings: tuple[str, ...] = ()
    inspected: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def total_ms(self) -> float:
        """The sum of the times of all layers, in ms."""
        return sum(layer.ms or 0.0 for layer in self.layers)


@dataclasses.dataclass(frozen=True)
class Measurement:
    """All the figures of one test, with the engine, device and software that they belong to.

    A figure's value is an attribute and an item: `measurement.ms`, `measurement["p99_ms"]`. `measurement.figures["ms"]`
    is the `Estimate`, which also has the interval.

    Attributes:
        figures: The estimates by the name of the figure, such as `ms` or `memory_mb`.
        unsupported: Why a percentile is not among the figures: too few samples, by the name of the figure.
        spec: What was built and run, as text by the name of the argument.
        spec_digest: The SHA-256 of `spec`.
        engine_digest: The key of the engine in the engine cache.
        plan_sha256: The SHA-256 of the plan.
        proof: Observations that show how the engine really ran, such as `{"fp16 layers": "93%"}`.
        built: Whether this run built the engine. False if the engine came from the cache.
        warm_up_s: The time spent on warming up.
        measured_s: The time spent on sampling.
        time: When the measurement was made (UTC, ISO 8601).
        samples: The samples, one entry per probe.
        profile: The times of the layers, if they were measured.
        notes: Remarks about the engine, the device and the measurement, for reports.
        build_spread: How far builds of the same engine differ, as a share, by the name of the figure.
        outputs: Compact copies of the outputs, by name.
        step_ms: The median time of some steps of a generation in ms, by the number of tokens before the step.
    """

    node_id: str
    environment: Environment
    figures: Mapping[str, Estimate]
    spec: Mapping[str, str]
    spec_digest: str
    engine_digest: str
    plan_sha256: str
    proof: Mapping[str, str]
    built: bool = False
    warm_up_s: float = 0.0
    measured_s: float = 0.0
    time: str = ""
    samples: tuple[Samples, ...] = ()
    profile: LayerProfile | None = None
    notes: tuple[str, ...] = ()
    build_spread: Mapping[str, float] = dataclasses.field(default_factory=dict)
    outputs: Mapping[str, StoredOutput] = dataclasses.field(default_factory=dict)
    unsupported: Mapping[str, str] = dataclasses.field(default_factory=dict)
    step_ms: Mapping[str, float] = dataclasses.field(default_factory=dict)
    schema: int = SCHEMA

    def __getitem__(self, figure: str) -> float:
        """Return the value of a figure in its own unit; KeyError if it was not measured."""
        if figure in self.figures:
            return self.figures[figure].value
        if figure in self.unsupported:
            raise KeyError(f"{figure} has {self.unsupported[figure]}")
        raise KeyError(f"no figure {figure!r} was measured; there are {', '.join(self.figures) or 'none'}")

    def __getattr__(self, figure: str) -> float:
        # Read through __dict__: copy and pickle look for methods before the record has any fields.
        figures = self.__dict__.get("figures", {})
        if figure in figures:
            return self[figure]
        if figure in (unsupported := self.__dict__.get("unsupported", {})):
            raise AttributeError(f"{figure} has {unsupported[figure]}")
        known = ", ".join(figures) or "none"
        raise AttributeError(f"Measurement has no attribute or figure {figure!r}; its figures are {known}")

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *self.figures]

    def __repr__(self) -> str:
        values = {name: self[name] for name in _IN_REPR if name in self.figures}
        figures = (f"{name}={value:{'.0f' if value >= 1000 else '.4g'}}" for name, value in values.items())
        return f"<Measurement {self.node_id} on {self.environment.device}: {' '.join(figures) or 'no figures'}>"


@dataclasses.dataclass(frozen=True)
class Verdict:
    """The judgement of one figure.

    Attributes:
        basis: What the figure was judged against: a budget, the baseline, a reference output (`accuracy`), what the
            test requires of the layers, or requirements of the run itself (`run`).
        text: One sentence for a person.
        ratio: The new figure divided by the baseline's, with its interval.
        tolerance: The largest accepted change against the baseline, as a share.
        resolution: The smallest change that the measurement would have detected, as a share.
        details: Further lines for a person, such as the layers that explain most of a regression.
        causes: All layers that explain a part of a regression.
        looks: How many independent measurements gave a verdict that fails.
        departs: Whether elements of an output differ from the reference, so that some layer is the cause. A missing
            output, or one of a different shape or order, does not count.
        cards: The cards of a comparison with stored figures; None for any other verdict.
    """

    status: Status
    basis: Literal["budget", "baseline", "accuracy", "layers", "run"]
    figure: str
    text: str
    limit: float | None = None
    ratio: Estimate | None = None
    tolerance: float | None = None
    resolution: float | None = None
    details: tuple[str, ...] = ()
    causes: tuple[str, ...] = ()
    looks: int = 1
    departs: bool = False
    cards: CardComparison | None = None


@dataclasses.dataclass(frozen=True)
class Result:
    """The complete result of one test, for reports, pytest-benchmark and xdist.

    Attributes:
        measurement: The measurement. None if the test failed before it.
        baseline_time: When the baseline was measured.
        built_s: The duration of the build, or None if the engine came from the cache.
        saved: Whether and why the measurement was saved to the baseline, in words.
        seconds: The duration of the test.
        parts_s: The duration of each stage of the measurement, by name.
        reference: The measurement that this one was compared with; like `history`, only for a report that shows it.
    """

    node_id: str
    verdicts: tuple[Verdict, ...]
    measurement: Measurement | None = None
    baseline_time: str | None = None
    built_s: float | None = None
    saved: str = ""
    seconds: float = 0.0
    parts_s: Mapping[str, float] = dataclasses.field(default_factory=dict)
    reference: Measurement | None = None
    history: tuple[PastRun, ...] = ()

    @property
    def status(self) -> Status:
        """The worst status of the verdicts, or `ok` if there are none."""
        return worst(tuple(v.status for v in self.verdicts))
