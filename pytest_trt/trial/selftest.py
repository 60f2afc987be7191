"""Check what the judge notices on a device: compare an engine with itself, and with itself slowed down by a known time.

    selftest = Selftest(device, server, subject, question, comparisons=6)
    same = selftest.same()
    count = selftest.slowed(0.05)
    save(cache, environment, SelftestRecord(...))

Each comparison is that of a test: fresh probes, the same stopping rule, and a second measurement of what fails.
"""

from __future__ import annotations

import dataclasses
import statistics
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from pytest_trt.core.json_text import JsonLimits
from pytest_trt.core.records import Environment, Verdict
from pytest_trt.core.selftest_record import SelftestRecord, SlowdownCount
from pytest_trt.judge.regression import paired
from pytest_trt.judge.regression.question import RegressionQuestion
from pytest_trt.measure.engine_probe import Subject
from pytest_trt.measure.probe.factory import ProbeFactory
from pytest_trt.measure.run import MeasuredRun
from pytest_trt.measure.stopping import Resolution
from pytest_trt.trial.device_file import DeviceFile
from pytest_trt.trial.measuring import MeasuringDevice, measure_and_confirm

_FILE = DeviceFile(
    SelftestRecord,
    title="self-test",
    remedy="remove it, or run pytest-trt selftest again",
    limits=JsonLimits(text_bytes=1 << 20, memory_bytes=64 << 20),
    suffix=".selftest.json",
)


class Selftest:
    """The self-test of one engine. The device must be held `exclusively` while it runs.

    Args:
        device: Measures the engine.
        server: Forks the probes.
        subject: The engine, as a probe opens it.
        question: What every comparison decides.
        comparisons: How many comparisons each case has.
        report: Is called with a line of text after each comparison.
    """

    def __init__(
        self,
        device: MeasuringDevice,
        server: ProbeFactory,
        subject: Subject,
        question: RegressionQuestion,
        *,
        comparisons: int,
        report: Callable[[str], None] = lambda text: None,
    ) -> None:
        self._device, self._server, self._subject, self._question = device, server, subject, question
        self._comparisons, self._report = comparisons, report
        self._ms: float | None = None
        self._factor: float | None = None

    def same(self) -> Counter[str]:
        """Compare the engine with itself, and count the verdicts by status."""
        return Counter(self._compare("unchanged", self._subject, self._subject).status for _ in self._turns())

    def slowed(self, share: float) -> SlowdownCount:
        """Compare the engine with itself slowed down by `share`: first the new side is the slower one, then the old."""
        slow = self._slower(share * self._latency_ms() * self._delay_factor())
        name = f"slower by {100 * share:g} %"
        ratios: list[float] = []
        slower: Counter[str] = Counter()
        faster: Counter[str] = Counter()
        for turn in self._turns():
            forward = turn % 2 == 0
            sides = (slow, self._subject) if forward else (self._subject, slow)
            verdict = self._compare(name if forward else f"the baseline {name}", *sides)
            (slower if forward else faster)[verdict.status] += 1
            if verdict.ratio is not None:
                ratios.append(verdict.ratio.value if forward else 1 / verdict.ratio.value)
        return SlowdownCount(
            share=share,
            measured=statistics.median(ratios) - 1 if ratios else None,
            slower=sum(slower.values()),
            caught=slower["regressed"],
            faster=sum(faster.values()),
            inverted=slower["improved"] + faster["regressed"],
            inconclusive=slower["inconclusive"] + faster["inconclusive"],
        )

    def _turns(self) -> range:
        return range(self._comparisons)

    def _slower(self, delay_ms: float) -> Subject:
        return dataclasses.replace(self._subject, delay_ms=delay_ms)

    def _latency_ms(self) -> float:
        """Return the latency of the engine alone, of which slowdowns are a share."""
        if self._ms is None:
            self._ms = self._measure_ms(self._subject)
        return self._ms

    def _delay_factor(self) -> float:
        """Return by what a delay must be multiplied to add its time to the latency, from 1/4 to 4.

        A delay was timed alone, and may take another time behind an engine: its start can overlap the engine's end. The
        factor is measured with a delay as long as the latency, which stands out from the noise.
        """
        if self._factor is None:
            latency_ms = self._latency_ms()
            added_ms = self._measure_ms(self._slower(latency_ms)) - latency_ms
            self._factor = min(4.0, max(0.25, latency_ms / max(added_ms, latency_ms / 4)))
        return self._factor

    def _measure_ms(self, subject: Subject) -> float:
        run = self._device.measure([(self._server, subject)], Resolution("ms", 0.005), batch=1)
        return run.figures["ms"].value

    def _compare(self, name: str, new: Subject, old: Subject) -> Verdict:
        """Compare two engines as a test does, and return the verdict."""

        def measure(failing: Sequence[Verdict]) -> MeasuredRun:
            sides = [(self._server, subject) for subject in (new, old)]
            rule = paired.PairedRule(self._question)
            return self._device.measure(sides, rule, batch=1, spread=self._question.spread, confirming=bool(failing))

        def judge(run: MeasuredRun) -> tuple[Verdict, ...]:
            return (paired.judge_paired(self._question, *run.sampling.sides),)

        (verdict,) = measure_and_confirm(measure, judge).verdicts
        self._report(f"{name}: {verdict.text}")
        return verdict


def load(cache: Path, environment: Environment) -> SelftestRecord | None:
    """Return the last self-test of the device; None if there was none.

    Args:
        cache: The folder of the engine cache, which also contains calibrations and self-tests.
        environment: The device and the backend.

    Raises:
        CacheError: The file cannot be read, or is of another device.
    """
    return _FILE.load(_FILE.path(cache, environment), environment)


def save(cache: Path, environment: Environment, record: SelftestRecord) -> Path:
    """Write the self-test of a device, completely or not at all, and return its path.

    Raises:
        CacheError: The file cannot be written.
    """
    return _FILE.save(_FILE.path(cache, environment), record)
