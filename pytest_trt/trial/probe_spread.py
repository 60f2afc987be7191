"""How far two probes of one plan differ on this device: measured by A/A pairs, kept beside the engine cache.

A comparison of one probe a side cannot see the spread between probes; what it adds to its interval comes from here, or
from figures.DEFAULT_PROBE_SPREAD until there are calibrations.
"""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path

from pytest_trt.core import codec, noise_levels
from pytest_trt.core.atomic import write_atomically
from pytest_trt.core.records import Environment
from pytest_trt.errors import CacheError, RecordError
from pytest_trt.judge.regression import paired
from pytest_trt.measure.engine_probe import Subject
from pytest_trt.measure.figures import DEFAULT_OPEN_ORDER_EFFECT, DEFAULT_PROBE_SPREAD
from pytest_trt.measure.probe.server import ProbeServer
from pytest_trt.measure.run import measure_run
from pytest_trt.measure.sampler import Limits
from pytest_trt.measure.stopping import FixedTime

MOST = 64
"""How many pairs are remembered, the last ones."""

BLOCKS_S = 0.25
"""How long the blocks of a pair are sampled, in seconds."""


@dataclasses.dataclass(frozen=True)
class Calibration:
    """The log ratios of pairs of probes that held one and the same plan, the first that was opened to the second."""

    device: str
    differences: tuple[float, ...] = ()

    @property
    def spread(self) -> float:
        """How far two probes differ but for their place, as a share (noise_levels.calibrated_spread)."""
        return noise_levels.calibrated_spread(self.differences)

    @property
    def open_order_effect(self) -> float:
        """How far the order in which they are opened moves a pair, as a share."""
        return noise_levels.calibrated_open_order_effect(self.differences)

    def with_more(self, differences: tuple[float, ...]) -> Calibration:
        return dataclasses.replace(self, differences=(*self.differences, *differences)[-MOST:])


def spread_of(cache: Path, environment: Environment) -> tuple[float, float]:
    """How far two probes differ on this device, and how far the order in which they are opened moves a pair of them:
    calibrated, or else the defaults of its kind."""
    found = load(cache, environment)
    if len(found.differences) < 2:
        return DEFAULT_PROBE_SPREAD[environment.kind], DEFAULT_OPEN_ORDER_EFFECT[environment.kind]
    return found.spread, found.open_order_effect


def advice(spread: float, open_order_effect: float) -> tuple[str, ...]:
    """What to do about a spread and an order effect that are the defaults; nothing where they were measured."""
    if all(
        (spread, open_order_effect) != (DEFAULT_PROBE_SPREAD[kind], DEFAULT_OPEN_ORDER_EFFECT[kind])
        for kind in DEFAULT_PROBE_SPREAD
    ):
        return ()
    percent = f"{100 * (spread + open_order_effect):.2g} %"
    return (f"two processes are taken to differ by {percent}: pytest-trt calibrate measures it",)


def load(cache: Path, environment: Environment) -> Calibration:
    """What is known of this device; nothing, where nothing was measured. Raises CacheError for what cannot be read."""
    path = _path(cache, environment)
    try:
        return codec.decode(Calibration, json.loads(path.read_bytes()), str(path))
    except FileNotFoundError:
        return Calibration(environment.device)
    except (OSError, ValueError, RecordError) as error:
        raise CacheError(f"the calibration {path} cannot be read ({error}): remove it and calibrate again") from error


def save(cache: Path, environment: Environment, calibration: Calibration) -> Path:
    """Write it, whole or not at all."""
    path = _path(cache, environment)
    try:
        path.parent.mkdir(mode=0o700, exist_ok=True)
        write_atomically(path, json.dumps(codec.encode(calibration)))
    except OSError as error:
        raise CacheError(f"the calibration {path} cannot be written: {error}") from error
    return path


def aa_pair(server: ProbeServer, subject: Subject, seconds: float = BLOCKS_S) -> float:
    """The log ratio of two fresh probes of one plan that take turns, the first that is opened to the second, each
    sampled for about `seconds`."""
    limits = Limits(min_time_s=2 * seconds, max_time_s=4 * seconds, warm_up_s=3.0)
    taken = measure_run([(server, subject)] * 2, FixedTime(2 * seconds), limits, batch=1, spread=0.0)
    return paired.compare_paired(paired.RegressionQuestion(spread=0.0), *taken.sampling.sides).center


def _path(cache: Path, environment: Environment) -> Path:
    name = f"{environment.device} {environment.mig_profile or ''} {environment.backend}"
    return cache / "calibration" / f"{re.sub(r'[^A-Za-z0-9.]+', '-', name).strip('-')}.json"
