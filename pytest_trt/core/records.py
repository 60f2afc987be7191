"""The frozen records that travel: between processes, to reports, into baselines.

Times are in milliseconds unless a name says otherwise; `_mb` is 10**6 bytes. Nothing here imports numpy: samples are
tuples of floats, and whoever computes with them makes an array.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

SCHEMA = 1
"""Raised when a stored record changes its form."""

MEASUREMENT_VERSION = 2
"""Raised when the way of measuring changes, so that figures before and after are not the same thing."""

Status = Literal[
    "error", "invalid", "inaccurate", "over_budget", "regressed", "inconclusive", "missing", "new", "unenforced",
    "improved", "ok",
]  # fmt: skip
STATUSES: tuple[Status, ...] = (
    "error", "invalid", "inaccurate", "over_budget", "regressed", "inconclusive", "missing", "new", "unenforced",
    "improved", "ok",
)  # fmt: skip
"""Worst first: a test has the worst of its figures'."""

ALWAYS_FAIL: frozenset[Status] = frozenset(("error", "invalid", "inaccurate", "over_budget", "regressed"))


def worst(statuses: tuple[Status, ...]) -> Status:
    """The status that stands first in STATUSES; of none, `ok`."""
    return min(statuses, key=STATUSES.index, default="ok")


@dataclasses.dataclass(frozen=True)
class Environment:
    """Where a figure was measured. `device` is the GPU's or CPU's own name."""

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
    host_cpu: str = ""
    host_cpus: int = 0
    threads: int | None = None
    os: str = ""
    python: str = ""
    plugin: str = ""
    measurement: int = MEASUREMENT_VERSION
    commit: str | None = None
    notes: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Estimate:
    """A figure with its interval, in the figure's own unit. `low` to `high` holds whenever one looks. Where too few
    samples support it, `needs_s` says how many seconds of them would, and the ends are only what was seen."""

    value: float
    low: float
    high: float
    samples: int = 1
    needs_s: float = 0.0

    @classmethod
    def exact(cls, value: float) -> Estimate:
        """A figure that has no scatter, such as a size."""
        return cls(value, value, value)


@dataclasses.dataclass(frozen=True)
class Block:
    """Consecutive samples of one probe. `times` maps a figure's name (`ms`, `gpu_ms`, ...) to its samples, all equally
    long; `state` is the GPU's state around the block (MHz, W, C, NVML's event reasons)."""

    times: Mapping[str, tuple[float, ...]]
    seconds: float
    state: Mapping[str, float] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Samples:
    """All blocks of one probe on one side of a comparison; `probe` and `build` number the levels of noise."""

    blocks: tuple[Block, ...]
    probe: int = 0
    build: int = 0


@dataclasses.dataclass(frozen=True)
class Layer:
    """One layer of an engine. `ms` is its median time an inference; `nodes` the ONNX nodes it came from."""

    name: str
    ms: float | None = None
    kind: str = ""
    tactic: str = ""
    precision: str = ""
    formats: str = ""
    nodes: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class LayerProfile:
    """Per-layer times of a pass of their own, in the order in which the layers run. `bindings` names the engine's
    inputs and outputs. `inspected` is all that TensorRT's inspector tells of the engine at the shapes that were run, in
    its own JSON (`Layers`, and `Bindings` or `I/O Tensors`); empty where there is no inspector."""

    layers: tuple[Layer, ...]
    runs: int = 0
    bindings: tuple[str, ...] = ()
    inspected: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def total_ms(self) -> float:
        """The layers' times together, in ms."""
        return sum(layer.ms or 0.0 for layer in self.layers)


@dataclasses.dataclass(frozen=True)
class StoredOutput:
    """An output, kept small. `sha256` is of its bytes; `values` is a sample of it in base64: float64, or int64 for
    integers, little-endian."""

    dtype: str
    shape: tuple[int, ...]
    sha256: str
    values: str


@dataclasses.dataclass(frozen=True)
class Measurement:
    """All the figures of one test, with the engine, device and software that they belong to.

    A figure's value is an attribute and an item: `measurement.ms`, `measurement["p99_ms"]`. `measurement.figures["ms"]`
    is the `Estimate`, which also has the interval.
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
    schema: int = SCHEMA

    def __getitem__(self, figure: str) -> float:
        """Return the value of a figure in its own unit; KeyError if it was not measured."""
        if figure in self.figures:
            return self.figures[figure].value
        raise KeyError(f"no figure {figure!r} was measured; there are {', '.join(self.figures) or 'none'}")

    def __getattr__(self, figure: str) -> float:
        # Read through __dict__: copy and pickle look for methods before the record has any fields.
        figures = self.__dict__.get("figures", {})
        if figure in figures:
            return self[figure]
        known = ", ".join(figures) or "none"
        raise AttributeError(f"Measurement has no attribute or figure {figure!r}; its figures are {known}")

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *self.figures]

    def __repr__(self) -> str:
        values = {name: self[name] for name in _IN_REPR if name in self.figures}
        figures = (f"{name}={value:{'.0f' if value >= 1000 else '.4g'}}" for name, value in values.items())
        return f"<Measurement {self.node_id} on {self.environment.device}: {' '.join(figures) or 'no figures'}>"


_IN_REPR = ("ms", "p99_ms", "throughput", "memory_mb", "host_mb")


@dataclasses.dataclass(frozen=True)
class Verdict:
    """What was judged of one figure. `basis` is `budget`, `baseline`, `accuracy` or `run`; `text` is one sentence for a
    person; `limit` stands for budgets; `ratio` is new over old, with its interval, for baselines; `causes` is all
    that blame found, of which `details` has the biggest. `departs`: the values of an
    output do, in their places, for which some layer is to answer; not its shape, its name or its order."""

    status: Status
    basis: Literal["budget", "baseline", "accuracy", "run"]
    figure: str
    text: str
    limit: float | None = None
    ratio: Estimate | None = None
    tolerance: float | None = None
    resolution: float | None = None
    details: tuple[str, ...] = ()
    causes: tuple[str, ...] = ()
    departs: bool = False


@dataclasses.dataclass(frozen=True)
class Result:
    """One test's whole outcome, as reports, pytest-benchmark and xdist see it."""

    node_id: str
    verdicts: tuple[Verdict, ...]
    measurement: Measurement | None = None
    baseline_time: str | None = None
    built_s: float | None = None
    saved: str = ""
    seconds: float = 0.0
    parts_s: Mapping[str, float] = dataclasses.field(default_factory=dict)

    @property
    def status(self) -> Status:
        """The worst of the verdicts' statuses; `ok` without any."""
        return worst(tuple(v.status for v in self.verdicts))
