"""How far two probes of one plan differ: learnt from every comparison, and stored in the engine cache's folder.

A comparison with one probe on each side cannot see the spread between probes. It widens its interval by what the
engine's earlier pairs of probes show (`core.engine_noise`), or by a default until there are any
(`measure.figures.DEFAULT_PROBE_SPREAD`). `pytest-trt calibrate` adds pairs of one plan.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from pytest_trt.core import noise_levels
from pytest_trt.core.engine_noise import LONE_PAIR, EngineNoise, PairedMedians, bounds, lone_pair
from pytest_trt.core.json_text import JsonLimits
from pytest_trt.core.records import Environment
from pytest_trt.errors import CacheError, RecordError
from pytest_trt.judge.regression import paired
from pytest_trt.judge.regression.question import RegressionQuestion
from pytest_trt.measure.engine_probe import Subject
from pytest_trt.measure.figures import DEFAULT_OPEN_ORDER_EFFECT, DEFAULT_PROBE_SPREAD
from pytest_trt.measure.probe.factory import ProbeFactory
from pytest_trt.measure.run import measure_run
from pytest_trt.measure.sampler import Limits
from pytest_trt.measure.stopping import FixedTime
from pytest_trt.trial.device_file import DeviceFile

MAX_PAIRS = 64
"""How many pairs a calibration keeps: the last ones."""

LARGEST_DIFFERENCE = math.log(1000)
"""The largest log ratio of a pair that is read. The probes of a pair run the same plan."""

MAX_ENGINES = 500
"""How many engines a calibration keeps: those that were compared last."""

BLOCKS_S = 0.25
"""How many seconds of blocks a pair is sampled for, on each side."""


@dataclasses.dataclass(frozen=True)
class Calibration:
    """A frozen record of what pairs of probes have shown on a card, as it is stored.

    Attributes:
        device: The device's own name.
        differences: For each pair of probes of one plan, the log of the latency in the probe that was opened first over
            that in the second.
        engines: What comparisons have shown, by the digest of the engine's spec, the last compared one at the end.
    """

    device: str
    differences: tuple[float, ...] = ()
    engines: Mapping[str, EngineNoise] = dataclasses.field(default_factory=dict)

    @property
    def spread(self) -> float:
        """How far two probes differ, apart from their order, as a share (`noise_levels.calibrated_spread`)."""
        return noise_levels.calibrated_spread(self.differences)

    @property
    def open_order_effect(self) -> float:
        """How far the order in which a pair is opened moves its ratio, as a share."""
        return noise_levels.calibrated_open_order_effect(self.differences)

    def with_more(self, differences: tuple[float, ...]) -> Calibration:
        """Return the calibration with further pairs."""
        return dataclasses.replace(self, differences=(*self.differences, *differences)[-MAX_PAIRS:])

    def with_comparison(self, engine: str, pairs: PairedMedians) -> Calibration:
        """Return the calibration with the pairs of one comparison of an engine."""
        others = {name: noise for name, noise in self.engines.items() if name != engine}
        noise = self.engines.get(engine, EngineNoise()).with_pairs(pairs)
        return dataclasses.replace(self, engines=dict([*others.items(), (engine, noise)][-MAX_ENGINES:]))

    def spread_of(self, engine: str, kind: Literal["gpu", "cpu"]) -> ProbeSpread:
        """Return how far two probes of an engine differ. An unknown one is expected to be like the others, with doubt.

        Args:
            engine: The digest of the engine's spec.
            kind: The kind of the device, which has the defaults.
        """
        calibrated = EngineNoise()
        for difference in self.differences:
            calibrated = calibrated.with_difference(difference)
        known = [noise for noise in (calibrated, *self.engines.values()) if noise.weight]
        share, effect = DEFAULT_PROBE_SPREAD[kind], DEFAULT_OPEN_ORDER_EFFECT[kind]
        if not known:
            return ProbeSpread(share, effect, calibrated=False)
        noise = self.engines.get(engine, EngineNoise())
        share, effect, place = bounds(noise, known, share, effect)
        return ProbeSpread(share, effect, place=place, lone_pair=lone_pair(noise))


@dataclasses.dataclass(frozen=True)
class ProbeSpread:
    """A frozen record of how far two probes of one plan differ on a device.

    Attributes:
        share: How far two probes differ, apart from the order in which they were opened, as a share.
        open_order_effect: How far the order in which a pair is opened moves its ratio, as a share.
        calibrated: Whether pairs on the device have shown it; otherwise it is the default of the device's kind.
        place: The expected log of the latency in the probe opened first over that in the second.
        lone_pair: How many times both count for a single pair of probes (`engine_noise.lone_pair`).
    """

    share: float
    open_order_effect: float
    calibrated: bool = True
    place: float = 0.0
    lone_pair: float = LONE_PAIR

    def advice(self) -> tuple[str, ...]:
        """Return what to do about a spread that is only assumed; nothing if it was measured."""
        if self.calibrated:
            return ()
        percent = f"{100 * (self.share + self.open_order_effect):.2g} %"
        return (f"two processes are assumed to differ by {percent}: pytest-trt calibrate measures it",)

    def widest(self, other: ProbeSpread) -> ProbeSpread:
        """Return the spread that covers both, for two environments whose engines take turns."""
        return ProbeSpread(
            max(self.share, other.share),
            max(self.open_order_effect, other.open_order_effect),
            self.calibrated and other.calibrated,
        )


def spread_of(cache: Path, environment: Environment, engine: str = "") -> ProbeSpread:
    """Return how far two probes of an engine differ on this card, or the default of its kind.

    Args:
        cache: The folder of the engine cache, which also contains calibrations.
        environment: The device and the backend.
        engine: The digest of the engine's spec; empty for any engine.

    Raises:
        CacheError: The calibration cannot be read.
    """
    return load(cache, environment).spread_of(engine, environment.kind)


def learn(cache: Path, environment: Environment, engine: str, pairs: PairedMedians) -> None:
    """Add the pairs of one comparison of an engine to what is known about it. The device must be locked.

    In a cache that is read-only, as for the pull requests of a shared runner, nothing is learnt: the comparison is
    valid all the same.

    Raises:
        CacheError: The calibration cannot be read.
    """
    if len(pairs.medians) > 1 or pairs.same_plan:
        known = load(cache, environment).with_comparison(engine, pairs)
        with contextlib.suppress(CacheError):
            save(cache, environment, known)


def _check(calibration: Calibration) -> None:
    """Raise RecordError if a calibration holds an impossible difference."""
    for number, difference in enumerate(calibration.differences):
        if abs(difference) > LARGEST_DIFFERENCE:
            raise RecordError(
                f"has differences[{number}] = {difference:g}: two probes of one plan never differ by a factor above "
                f"{math.exp(LARGEST_DIFFERENCE):.0f}"
            )


_FILE = DeviceFile(
    Calibration,
    title="calibration",
    remedy="remove it and calibrate again",
    limits=JsonLimits(text_bytes=256 << 10, memory_bytes=16 << 20),
    suffix=".json",
    check=_check,
)


def load(cache: Path, environment: Environment) -> Calibration:
    """Return the calibration of the card, or that of its device from before cards were told apart; else an empty one.

    Raises:
        CacheError: The file cannot be read, or is the calibration of another device.
    """
    path = _FILE.path(cache, environment, environment.card)
    if not path.exists():
        path = _FILE.path(cache, environment)
    return _FILE.load(path, environment) or Calibration(environment.device)


def save(cache: Path, environment: Environment, calibration: Calibration) -> Path:
    """Write the calibration, completely or not at all, and return its path.

    Raises:
        CacheError: The file cannot be written.
    """
    return _FILE.save(_FILE.path(cache, environment, environment.card), calibration)


def aa_pair(server: ProbeFactory, subject: Subject) -> float:
    """Measure one plan in two fresh probes that take turns, each for `BLOCKS_S`.

    Args:
        server: Forks both probes.
        subject: The engine that both open.

    Returns:
        The log of the latency in the probe that was opened first over that in the second.
    """
    limits = Limits(min_time_s=2 * BLOCKS_S, max_time_s=4 * BLOCKS_S, warm_up_s=3.0)
    run = measure_run([(server, subject)] * 2, FixedTime(2 * BLOCKS_S), limits, batch=1, spread=0.0)
    return paired.compare_paired(RegressionQuestion(spread=0.0), *run.sampling.sides).center
