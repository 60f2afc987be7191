"""Ask a trace questions, and count how often the judge is right, wrong or undecided."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import other_methods
import replay
import simulation

from pytest_trt.core import noise_levels
from pytest_trt.core.records import Block, Environment, Measurement, Verdict
from pytest_trt.judge.baselines.baseline import Baseline
from pytest_trt.judge.baselines.updating import update_baseline
from pytest_trt.judge.regression.paired import PairedRule, judge_paired
from pytest_trt.judge.regression.question import RegressionQuestion
from pytest_trt.judge.regression.stored import judge_stored
from pytest_trt.measure.sampler import BlockSource, Limits, Sampling, sample
from pytest_trt.measure.stopping import Resolution

RUN_TIME_S = 1.0  # the longest unpaired run
FEWEST_ROUNDS = 10  # the fewest rounds that contain two separate stretches
PAIR_SCATTER, PAIR_DIFFERENCE = 0.014, 0.01  # the pairs of `needed`: those of batch 128 scatter about as much
HISTORY = 8  # the number of runs in the history of an unpaired comparison's baseline


@dataclasses.dataclass(frozen=True)
class Answer:
    """The verdict of one trial, and what it cost."""

    status: str
    seconds: float
    blocks: int = 0
    resolution: float | None = None

    @classmethod
    def from_sampling(cls, verdict: Verdict, sampling: Sampling) -> Answer:
        return cls(verdict.status, sampling.seconds, sampling.blocks, verdict.resolution)


@dataclasses.dataclass(frozen=True)
class Row:
    """The result of many trials of one question.

    Attributes:
        question: The name of the trace, and of the kind of comparison.
        method: What judged: `pytest-trt`, or another method.
        engine: The engine that was compared with the reference.
        true_ratio: The true ratio of the latencies.
        tolerance: The tolerance, as a share.
        right: The share of right verdicts.
        wrong: The share of wrong verdicts.
        inconclusive: The share of undecided trials.
        regressed: The share of verdicts that report a regression.
        gpu_s: The mean GPU time of a trial, in seconds.
        blocks: The mean number of blocks.
        resolution: The median of the smallest detectable slowdowns that the verdicts report, as a share.
        trials: The number of trials.
        counted: Whether the truth lies far enough from the tolerance for the row to count.
    """

    question: str
    method: str
    engine: str
    true_ratio: float
    tolerance: float
    right: float
    wrong: float
    inconclusive: float
    regressed: float
    gpu_s: float
    blocks: float
    resolution: float | None
    trials: int
    counted: bool


def contradicts(status: str, true_ratio: float, tolerance: float) -> bool:
    """Return whether a verdict is wrong, given the true ratio."""
    if status == "regressed":
        return true_ratio <= 1 + tolerance
    if status == "improved":
        return true_ratio >= 1 / (1 + tolerance)
    return status == "ok" and true_ratio > 1 + tolerance


@dataclasses.dataclass(frozen=True)
class Questions:
    """The questions about a trace.

    Attributes:
        tolerances: The tolerances, as shares.
        margin: A true ratio that is nearer to the tolerance than this is shown, but not counted.
    """

    tolerances: Sequence[float]
    margin: float

    @property
    def main_tolerance(self) -> float:
        """The tolerance of the questions that need only one."""
        return self.tolerances[len(self.tolerances) // 2]

    @classmethod
    def for_trace(cls, trace: replay.Trace, tolerances: Sequence[float] | None) -> Questions:
        """Return the given tolerances, or those that fit the noise of the trace."""
        scatter = [float(np.median(np.abs(r - np.median(r)))) for r in map(trace.log_ratios, trace.engines)]
        quiet = trace.question == "b1" or (trace.question != "b128" and float(np.median(scatter)) < 0.001)
        return cls(tolerances or ((0.003, 0.01, 0.02) if quiet else (0.01,)), 0.001 if quiet else 0.005)


def other_engines(trace: replay.Trace) -> list[str]:
    """Return all engines but the reference."""
    return [engine for engine in trace.engines if engine != replay.REFERENCE]


class DetectionBench:
    """Asks questions about a trace, each in `trials` trials."""

    def __init__(self, trials: int, block_ms: float, block_samples: int, max_time_s: float, seed: int) -> None:
        self._trials, self._block, self._max_time_s = trials, (block_ms, block_samples), max_time_s
        self._generator = np.random.default_rng(seed)

    def paired(self, trace: replay.Trace, questions: Questions) -> Iterator[Row]:
        """Compare every engine with the reference, at each tolerance."""
        old, limits = self._blocks(trace), self._limits(trace, self._max_time_s)
        for tolerance in questions.tolerances:
            for engine in other_engines(trace):
                new, truth = self._blocks(trace, engine), trace.true_ratio(engine)
                yield self._row(
                    trace.question, engine, truth, tolerance,
                    lambda new=new, tolerance=tolerance: self._decide_paired(
                        tolerance, replay.PairedReplay(new, old, self._generator), limits
                    ),
                    counted=abs(truth - 1 - tolerance) > questions.margin,
                )  # fmt: skip

    def same(self, trace: replay.Trace, questions: Questions) -> Iterator[Row]:
        """Compare equals at tolerance 0: rebuilt engines, scaled to the reference, with sides exchanged at random."""
        old, limits = self._blocks(trace), self._limits(trace, self._max_time_s)
        rebuilt = [engine for engine in other_engines(trace) if engine.startswith("rebuild")]
        for engine in rebuilt or other_engines(trace):
            medians = map(replay.block_medians, (self._blocks(trace, engine), old))
            ratios = [ours / theirs for ours, theirs in zip(*medians, strict=False)]
            new = self._blocks(trace, engine, 1 / float(np.median(ratios)))
            yield self._row(
                f"{trace.question} A/A", engine, 1.0, 0.0,
                lambda new=new: self._decide_paired(
                    0.0, replay.PairedReplay(new, old, self._generator, exchange=True), limits
                ),
            )  # fmt: skip

    def simulated(self, trace: replay.Trace, questions: Questions) -> Iterator[Row]:
        """Judge simulations that are fitted to each engine, with the truths that are the easiest to misjudge.

        They are a ratio of 1 at tolerance 0, the largest ratio that is `ok`, and the smallest that is not.
        """
        tolerance, limits = questions.main_tolerance, self._limits(trace, self._max_time_s)
        for engine in other_engines(trace):
            model = simulation.Model.fit(trace, engine, *self._block)
            for limit, truth in ((0.0, 1.0), (tolerance, 1 + tolerance), (tolerance, (1 + tolerance) * (1 + 1e-9))):
                yield self._row(
                    f"{trace.question} simulated", engine, truth, limit,
                    lambda model=model, truth=truth, limit=limit: self._decide_paired(
                        limit, simulation.Simulated(model, truth, self._generator), limits
                    ),
                )  # fmt: skip

    def unpaired(self, trace: replay.Trace, questions: Questions) -> Iterator[Row]:
        """Compare the reference with a stored baseline that has a history, both from the same trace.

        The reference is compared unchanged, and then slower than the tolerance by two and three times the smallest
        slowdown that such comparisons detect.
        """
        if trace.rounds < FEWEST_ROUNDS:
            return
        tolerance = questions.main_tolerance
        name = f"{trace.question} unpaired"
        old, limits = self._blocks(trace), self._limits(trace, RUN_TIME_S)
        plain = self._row(
            name, replay.REFERENCE, 1.0, tolerance, lambda: self._decide_stored(tolerance, old, old, limits)
        )
        yield plain
        for times in (2, 3):
            truth = (1 + tolerance) * (1 + times * (plain.resolution or 0.0))
            new = self._blocks(trace, scale=truth)
            yield self._row(
                name, f"{replay.REFERENCE} x {truth:.4f}", truth, tolerance,
                lambda new=new: self._decide_stored(tolerance, new, old, limits),
            )  # fmt: skip

    def needed(self) -> Iterator[Row]:
        """Count the pairs that a question needs if the truth is PAIR_DIFFERENCE from the tolerance, on either side.

        The pairs are independent and normal. With a known scatter, a sequential test needs 28 pairs.
        """
        for tolerance, truth in ((PAIR_DIFFERENCE, 1.0), (0.0, 1 + PAIR_DIFFERENCE)):
            yield self._row(
                "pairs needed", "normal", truth, tolerance,
                lambda tolerance=tolerance, truth=truth: self._decide_paired(
                    tolerance, simulation.Pairs(truth, PAIR_SCATTER, self._generator), Limits(max_time_s=60.0)
                ),
            )  # fmt: skip

    def today(self, trace: replay.Trace, questions: Questions) -> Iterator[Row]:
        """Ask other methods in common use the same questions."""
        if trace.rounds < FEWEST_ROUNDS:
            return
        for name, method in other_methods.METHODS.items():
            for engine in other_engines(trace):
                yield self._row(
                    f"{trace.question} today", engine, trace.true_ratio(engine), questions.main_tolerance,
                    lambda method=method, engine=engine: Answer(
                        *other_methods.trial(method, trace, engine, self._generator)
                    ),
                    method=name,
                )  # fmt: skip

    def _decide_paired(self, tolerance: float, source: BlockSource, limits: Limits) -> Answer:
        """Decide one paired question with the sampler, the stopping rule and the judge.

        A trace has no differences between probes, so the spread is 0.
        """
        question = RegressionQuestion(tolerance=tolerance, spread=0.0)
        sampling = sample(source, PairedRule(question), limits)
        return Answer.from_sampling(judge_paired(question, *sampling.sides), sampling)

    def _blocks(self, trace: replay.Trace, engine: str = replay.REFERENCE, scale: float = 1.0) -> list[Block]:
        return trace.blocks(engine, *self._block, scale)

    def _limits(self, trace: replay.Trace, max_time_s: float) -> Limits:
        """Return the time limits, shortened if the recorded rounds are shorter than a block.

        Otherwise, a trial would use the same few rounds again and again.
        """
        share = min(self._blocks(trace)[0].seconds * 1000 / self._block[0], 1.0)
        return Limits(min_time_s=0.1 * share, max_time_s=max_time_s * share)

    def _decide_stored(self, tolerance: float, new: Sequence[Block], old: Sequence[Block], limits: Limits) -> Answer:
        """Judge a run from one stretch of `new` against a baseline whose runs come from the other stretches of `old`.

        The clocks in the other stretches were different.
        """
        stretch = max(len(old) // 5, 1)
        run_start = int(self._generator.integers(len(old)))
        starts = run_start + self._generator.integers(stretch, len(old) - stretch + 1, size=HISTORY)
        run, *stored = (
            sample(replay.Replay(blocks, start, stretch), Resolution("ms", 0.005), limits)
            for blocks, start in ((new, run_start), *((old, int(start)) for start in starts))
        )
        baseline: Baseline | None = None
        for sampling in stored:
            baseline, _ = update_baseline(baseline, _measurement(sampling), "ok")
        assert baseline is not None
        question = RegressionQuestion(tolerance=tolerance, spread=0.0)
        return Answer.from_sampling(judge_stored(question, _measurement(run).figures["ms"], baseline), run)

    def _row(
        self, question: str, engine: str, truth: float, tolerance: float, trial: Callable[[], Answer],
        *, method: str = "pytest-trt", counted: bool = False,
    ) -> Row:  # fmt: skip
        answers = [trial() for _ in range(self._trials)]
        statuses = Counter(answer.status for answer in answers)
        wrong = sum(n for status, n in statuses.items() if contradicts(status, truth, tolerance))
        undecided = statuses["inconclusive"]
        resolutions = [answer.resolution for answer in answers if answer.resolution is not None]
        count = len(answers)
        return Row(
            question, method, engine, truth, tolerance,
            right=(count - wrong - undecided) / count, wrong=wrong / count, inconclusive=undecided / count,
            regressed=statuses["regressed"] / count, gpu_s=sum(a.seconds for a in answers) / count,
            blocks=sum(a.blocks for a in answers) / count,
            resolution=float(np.median(resolutions)) if resolutions else None, trials=count, counted=counted,
        )  # fmt: skip


def _measurement(sampling: Sampling) -> Measurement:
    """Return the latency of one side in the form of a test's measurement."""
    return Measurement(
        node_id="detection", environment=Environment("a trace", "gpu", "tensorrt", ""), spec={}, spec_digest="",
        figures={"ms": noise_levels.estimate("ms", sampling.sides[0])}, engine_digest="", plan_sha256="", proof={},
        time="2026-01-01T00:00:00Z",
    )  # fmt: skip
