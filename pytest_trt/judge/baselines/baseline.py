"""The records of a baseline. When its reference moves, and where it is stored, is elsewhere."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from pytest_trt.core.records import (
    SCHEMA,
    Environment,
    Estimate,
    LayerProfile,
    Measurement,
    Samples,
)
from pytest_trt.core.stored_output import StoredOutput
from pytest_trt.core.thinning import thin_out
from pytest_trt.errors import BaselineError
from pytest_trt.judge.baselines.run import COMMIT, DIGEST, MOST, TIME, check_names, check_text
from pytest_trt.judge.baselines.run import Run as Run

WHOLE_BLOCKS = 32
"""The most blocks of a probe that are stored with all their samples."""


@dataclasses.dataclass(frozen=True)
class Baseline:
    """The reference that a test is compared with, and the test's last runs.

    Attributes:
        node_id: The test's node id.
        environment: Where the reference was measured.
        spec: The reference's declaration as text, by name.
        spec_digest: The digest of the spec.
        figures: The reference's figures.
        engine_digest: The digest of the reference's engine in the cache.
        plan_sha256: The SHA-256 of the reference's plan.
        proof: What really ran, as text by name.
        time: When the reference was measured, an ISO 8601 time.
        history: The last runs, the oldest first.
        build_spread: How far builds of the engine differ, as shares by figure; empty if that was not measured.
        schema: The version of the file format.

    Raises:
        ValueError: A figure, time, commit or digest is not valid.
    """

    node_id: str
    environment: Environment
    spec: Mapping[str, str]
    spec_digest: str
    figures: Mapping[str, Estimate]
    engine_digest: str
    plan_sha256: str
    proof: Mapping[str, str]
    time: str
    history: tuple[Run, ...] = ()
    build_spread: Mapping[str, float] = dataclasses.field(default_factory=dict)
    schema: int = SCHEMA

    def __post_init__(self) -> None:
        check_text(TIME, "time", self.time)
        for name in ("spec_digest", "engine_digest", "plan_sha256"):
            check_text(DIGEST, name, getattr(self, name))
        check_text(COMMIT, "environment.commit", self.environment.commit or "")
        if not self.figures:
            raise ValueError("figures is empty: nothing can be compared with it")
        check_names(self.figures)
        for name, estimate in self.figures.items():
            if not 0 <= estimate.low <= estimate.value <= estimate.high <= MOST:
                raise ValueError(
                    f"figures.{name} is {estimate.value:g} in {estimate.low:g} to {estimate.high:g}: its value must "
                    f"lie in its interval, and the interval between 0 and {MOST:g}"
                )

    @property
    def commit(self) -> str | None:
        """The commit that the reference measured, if known."""
        return self.environment.commit


@dataclasses.dataclass(frozen=True)
class ListedBaseline:
    """A baseline's file in a folder.

    Attributes:
        path: Its path in the storage.
        content: The baseline, or the error that says why it cannot be read.
    """

    path: str
    content: Baseline | BaselineError


@dataclasses.dataclass(frozen=True)
class BaselineData:
    """The data of a reference that are too large to review. They belong to the baseline with the same time.

    Attributes:
        node_id: The test's node id.
        time: The reference's time.
        samples: The reference's samples. Of many blocks, some have all their samples, the others only their medians.
        profile: The reference's layer times.
        outputs: What is stored of the reference's outputs, by name.
        schema: The version of the file format.
    """

    node_id: str
    time: str
    samples: tuple[Samples, ...] = ()
    profile: LayerProfile | None = None
    outputs: Mapping[str, StoredOutput] = dataclasses.field(default_factory=dict)
    schema: int = SCHEMA


def baseline_of(
    measurement: Measurement, history: tuple[Run, ...] = (), build_spread: Mapping[str, float] | None = None
) -> Baseline:
    """Return a baseline with this measurement as its reference.

    Raises:
        ValueError: A figure, time, commit or digest of the measurement is not valid.
    """
    return Baseline(
        node_id=measurement.node_id,
        environment=measurement.environment,
        spec=measurement.spec,
        spec_digest=measurement.spec_digest,
        figures=measurement.figures,
        engine_digest=measurement.engine_digest,
        plan_sha256=measurement.plan_sha256,
        proof=measurement.proof,
        time=measurement.time,
        history=history,
        build_spread=build_spread or {},
    )


def measurement_of(baseline: Baseline) -> Measurement:
    """Return the reference as a measurement, without the fields that a baseline does not store."""
    return Measurement(
        node_id=baseline.node_id,
        environment=baseline.environment,
        figures=baseline.figures,
        spec=baseline.spec,
        spec_digest=baseline.spec_digest,
        engine_digest=baseline.engine_digest,
        plan_sha256=baseline.plan_sha256,
        proof=baseline.proof,
        time=baseline.time,
    )


def data_of(measurement: Measurement) -> BaselineData:
    """Return the data to store beside a baseline that has this measurement as its reference."""
    samples, profile = tuple(thin_out(one, WHOLE_BLOCKS) for one in measurement.samples), measurement.profile
    if profile is not None:  # blame needs only the layers
        profile = dataclasses.replace(profile, inspected={})
    return BaselineData(measurement.node_id, measurement.time, samples, profile, measurement.outputs)
