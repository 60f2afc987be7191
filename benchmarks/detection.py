"""How often the judge is right, wrong or undecided on recorded traces, and what that costs.

    python benchmarks/detection.py --trials 2000 --json detection.json
    python benchmarks/detection.py --traces other.npz --telemetry other.json
    python benchmarks/detection.py --simulate --trials 20000

Sampler, stopping rule and judge are the package's own; only the blocks come from a file.
docs/background/statistics.md explains the procedure; docs/results/ keeps what this printed.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import json
import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import replay
import simulation
import today

from pytest_trt.core import noise_levels
from pytest_trt.core.records import Block, Environment, Measurement, Verdict
from pytest_trt.judge.baselines.baseline import Baseline, update_baseline
from pytest_trt.judge.regression.paired import PairedRule, RegressionQuestion, judge_paired
from pytest_trt.judge.regression.stored import judge_stored
from pytest_trt.measure.sampler import BlockSource, Limits, Sampling, sample
from pytest_trt.measure.stopping import Resolution

TRACES = Path(__file__).parent / "traces" / "h200-resnet18" / "traces.npz"
RUN_TIME_S = 1.0  # at most, of an unpaired run
PARTS = ("paired", "same", "unpaired", "today")
FEWEST_ROUNDS = 10  # of which two stretches can be told apart
HISTORY = 8  # runs that the baseline of an unpaired comparison remembers


@dataclasses.dataclass(frozen=True)
class Answer:
    """One trial's verdict and what it cost."""

    status: str
    seconds: float
    blocks: int = 0
    resolution: float | None = None

    @classmethod
    def of(cls, verdict: Verdict, sampling: Sampling) -> Answer:
        return cls(verdict.status, sampling.seconds, sampling.blocks, verdict.resolution)


@dataclasses.dataclass(frozen=True)
class Row:
    """One question asked in many trials: shares of verdicts, and mean costs. `resolution` is the median of the smallest
    slowdowns that verdicts printed. `counted`: the truth lies far enough from the tolerance."""

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
    """Whether a verdict is wrong, given the truth."""
    if status == "regressed":
        return true_ratio <= 1 + tolerance
    if status == "improved":
        return true_ratio >= 1 / (1 + tolerance)
    return status == "ok" and true_ratio > 1 + tolerance


@dataclasses.dataclass(frozen=True)
class Asked:
    """What is asked of a trace: tolerances (shares), and how near to one a true ratio is shown but not counted."""

    tolerances: Sequence[float]
    margin: float

    @property
    def usual(self) -> float:
        """The one tolerance for what needs no more than one."""
        return self.tolerances[len(self.tolerances) // 2]

    @classmethod
    def of(cls, trace: replay.Trace, tolerances: Sequence[float] | None) -> Asked:
        scatter = [float(np.median(np.abs(r - np.median(r)))) for r in map(trace.log_ratios, trace.engines)]
        quiet = trace.question == "b1" or (trace.question != "b128" and float(np.median(scatter)) < 0.001)
        return cls(tolerances or ((0.003, 0.01, 0.02) if quiet else (0.01,)), 0.001 if quiet else 0.005)


def others(trace: replay.Trace) -> list[str]:
    return [engine for engine in trace.engines if engine != replay.REFERENCE]


class Bench:
    """Asks a trace questions, `trials` times each."""

    def __init__(self, trials: int, block_ms: float, block_samples: int, max_time_s: float, seed: int) -> None:
        self._trials, self._block, self._max_time_s = trials, (block_ms, block_samples), max_time_s
        self._generator = np.random.default_rng(seed)

    def paired(self, trace: replay.Trace, asked: Asked) -> Iterator[Row]:
        """Every engine against the reference, at each tolerance."""
        old, limits = self._blocks(trace), self._limits(trace, self._max_time_s)
        for tolerance in asked.tolerances:
            for engine in others(trace):
                new, truth = self._blocks(trace, engine), trace.true_ratio(engine)
                yield self._row(
                    trace.question, engine, truth, tolerance,
                    lambda new=new, tolerance=tolerance: self._decide(
                        tolerance, replay.PairedReplay(new, old, self._generator), limits
                    ),
                    counted=abs(truth - 1 - tolerance) > asked.margin,
                )  # fmt: skip

    def same(self, trace: replay.Trace, asked: Asked) -> Iterator[Row]:
        """A/A at tolerance 0: each rebuilt engine scaled to the reference, and the sides exchanged by chance."""
        old, limits = self._blocks(trace), self._limits(trace, self._max_time_s)
        rebuilt = [engine for engine in others(trace) if engine.startswith("rebuild")]
        for engine in rebuilt or others(trace):
            medians = map(replay.block_medians, (self._blocks(trace, engine), old))
            unlike = [ours / theirs for ours, theirs in zip(*medians, strict=False)]
            new = self._blocks(trace, engine, 1 / float(np.median(unlike)))
            yield self._row(
                f"{trace.question} A/A", engine, 1.0, 0.0,
                lambda new=new: self._decide(
                    0.0, replay.PairedReplay(new, old, self._generator, exchange=True), limits
                ),
            )  # fmt: skip

    def simulated(self, trace: replay.Trace, asked: Asked) -> Iterator[Row]:
        """Simulations fitted to each engine, where an error is easiest: A/A at tolerance 0, and a true ratio at the
        tolerance, once as the last that is `ok` and once as the first that is not."""
        tolerance, limits = asked.usual, self._limits(trace, self._max_time_s)
        for engine in others(trace):
            model = simulation.Model.of(trace, engine, *self._block)
            for limit, truth in ((0.0, 1.0), (tolerance, 1 + tolerance), (tolerance, (1 + tolerance) * (1 + 1e-9))):
                yield self._row(
                    f"{trace.question} simulated", engine, truth, limit,
                    lambda model=model, truth=truth, limit=limit: self._decide(
                        limit, simulation.Simulated(model, truth, self._generator), limits
                    ),
                )  # fmt: skip

    def unpaired(self, trace: replay.Trace, asked: Asked) -> Iterator[Row]:
        """The reference against a baseline of its own from other rounds, with the runs that it remembers: as it is, and
        slower than the tolerance by twice and three times the smallest slowdown that such comparisons print."""
        if trace.rounds < FEWEST_ROUNDS:
            return
        tolerance = asked.usual
        name = f"{trace.question} unpaired"
        old, limits = self._blocks(trace), self._limits(trace, RUN_TIME_S)
        plain = self._row(
            name, replay.REFERENCE, 1.0, tolerance, lambda: self._against_history(tolerance, old, old, limits)
        )
        yield plain
        for times in (2, 3):
            truth = (1 + tolerance) * (1 + times * (plain.resolution or 0.0))
            new = self._blocks(trace, scale=truth)
            yield self._row(
                name, f"{replay.REFERENCE} x {truth:.4f}", truth, tolerance,
                lambda new=new: self._against_history(tolerance, new, old, limits),
            )  # fmt: skip

    def today(self, trace: replay.Trace, asked: Asked) -> Iterator[Row]:
        """What people use today, asked the same questions."""
        if trace.rounds < FEWEST_ROUNDS:
            return
        for name, method in today.METHODS.items():
            for engine in others(trace):
                yield self._row(
                    f"{trace.question} today", engine, trace.true_ratio(engine), asked.usual,
                    lambda method=method, engine=engine: Answer(*today.trial(method, trace, engine, self._generator)),
                    method=name,
                )  # fmt: skip

    def _decide(self, tolerance: float, source: BlockSource, limits: Limits) -> Answer:
        """One paired question, through sampler, rule and judge; the judge is told that there is no probe level."""
        question = RegressionQuestion(tolerance=tolerance, spread=0.0)
        sampling = sample(source, PairedRule(question), limits)
        return Answer.of(judge_paired(question, *sampling.sides), sampling)

    def _blocks(self, trace: replay.Trace, engine: str = replay.REFERENCE, scale: float = 1.0) -> list[Block]:
        return trace.blocks(engine, *self._block, scale)

    def _limits(self, trace: replay.Trace, max_time_s: float) -> Limits:
        """Where recorded rounds are shorter than a block should be, the times shrink with them: more such blocks would
        only be the same few rounds drawn again."""
        whole = min(self._blocks(trace)[0].seconds * 1000 / self._block[0], 1.0)
        return Limits(min_time_s=0.1 * whole, max_time_s=max_time_s * whole)

    def _against_history(self, tolerance: float, new: Sequence[Block], old: Sequence[Block], limits: Limits) -> Answer:
        """A run from one stretch of the trace, `new`, against a baseline of runs from the rest of it, `old`, which met
        other clocks."""
        stretch = max(len(old) // 5, 1)
        here = int(self._generator.integers(len(old)))
        starts = here + self._generator.integers(stretch, len(old) - stretch + 1, size=HISTORY)
        run, *stored = (
            sample(replay.Replay(blocks, start, stretch), Resolution("ms", 0.005), limits)
            for blocks, start in ((new, here), *((old, int(start)) for start in starts))
        )
        baseline: Baseline | None = None
        for sampling in stored:
            baseline, _ = update_baseline(baseline, _measured(sampling), "ok")
        assert baseline is not None
        question = RegressionQuestion(tolerance=tolerance, spread=0.0)
        return Answer.of(judge_stored(question, _measured(run).figures["ms"], baseline), run)

    def _row(
        self, question: str, engine: str, truth: float, tolerance: float, trial: Callable[[], Answer],
        *, method: str = "pytest-trt", counted: bool = False,
    ) -> Row:  # fmt: skip
        answers = [trial() for _ in range(self._trials)]
        statuses = Counter(answer.status for answer in answers)
        wrong = sum(n for status, n in statuses.items() if contradicts(status, truth, tolerance))
        undecided = statuses["inconclusive"]
        seen = [answer.resolution for answer in answers if answer.resolution is not None]
        count = len(answers)
        return Row(
            question, method, engine, truth, tolerance,
            right=(count - wrong - undecided) / count, wrong=wrong / count, inconclusive=undecided / count,
            regressed=statuses["regressed"] / count, gpu_s=sum(a.seconds for a in answers) / count,
            blocks=sum(a.blocks for a in answers) / count, resolution=float(np.median(seen)) if seen else None,
            trials=count, counted=counted,
        )  # fmt: skip


def _measured(sampling: Sampling) -> Measurement:
    """One side's latency as what a test measures."""
    return Measurement(
        node_id="detection", environment=Environment("a trace", "gpu", "tensorrt", ""), spec={}, spec_digest="",
        figures={"ms": noise_levels.estimate("ms", sampling.sides[0])}, engine_digest="", plan_sha256="", proof={},
        time="2026-01-01T00:00:00Z",
    )  # fmt: skip


def table(rows: Iterable[Row]) -> Iterator[str]:
    """The rows as Markdown, line by line."""
    columns = "question", "method", "engine", "true", "tolerance", "right", "wrong", "inconclusive", "regressed"
    yield f"| {' | '.join(columns)} | GPU s | blocks | sees |"
    yield "|---" * (len(columns) + 3) + "|"
    for r in rows:
        sees = "" if r.resolution is None else f"{r.resolution:.2%}"
        yield (
            f"| {r.question}{'' if r.counted else ' *'} | {r.method} | {r.engine} | {r.true_ratio - 1:+.2%} "
            f"| {r.tolerance:.1%} | {r.right:.2%} | {r.wrong:.3%} | {r.inconclusive:.2%} | {r.regressed:.3%} "
            f"| {r.gpu_s:.2f} | {r.blocks:.0f} | {sees} |"
        )


def parsed(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--traces", type=Path, default=TRACES, help="an .npz of <question>/<engine>, rounds x samples")
    parser.add_argument("--telemetry", type=Path, help="default: telemetry.json beside the traces, if there is one")
    parser.add_argument("--trials", type=_count, default=2000)
    parser.add_argument("--tolerance", type=_share, action="append", help="a share; may stand more than once")
    parser.add_argument("--block-ms", type=_time, default=10.0, help="how long a block lasts at least")
    parser.add_argument("--block-samples", type=_count, default=15, help="how many samples a block has at least")
    parser.add_argument("--max-time", type=_time, default=10.0, help="seconds of blocks until a trial is given up")
    parser.add_argument("--simulate", action="store_true", help="simulations fitted to the traces, not the traces")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS, help="which rows; default: all of them")
    parser.add_argument("--seed", type=_seed, default=0)
    parser.add_argument("--json", type=Path, help="where to write the rows")
    arguments = parser.parse_args(argv)
    if arguments.json is not None and (arguments.json.is_dir() or not arguments.json.parent.is_dir()):
        parser.error(f"argument --json: {arguments.json} cannot be written: name a file in a folder that is there")
    return arguments


def _number(text: str, wanted: str, kind: Callable[[str], float], holds: Callable[[float], bool]) -> Any:
    try:
        value = kind(text)
    except ValueError:
        value = math.nan
    if not holds(value):
        raise argparse.ArgumentTypeError(f"{text!r} is not {wanted}")
    return value


_count = functools.partial(_number, wanted="a whole number from 1 on", kind=int, holds=lambda n: n >= 1)
_seed = functools.partial(_number, wanted="a whole number from 0 on", kind=int, holds=lambda n: n >= 0)
_time = functools.partial(_number, wanted="a time above 0, such as 10", kind=float, holds=lambda t: 0 < t < math.inf)
_share = functools.partial(_number, wanted="a share such as 0.01, for 1 %", kind=float, holds=lambda s: 0 <= s < 1)


def loaded(arguments: argparse.Namespace) -> list[replay.Trace]:
    beside = arguments.traces.with_name("telemetry.json")
    telemetry = arguments.telemetry or (beside if beside.exists() else None)
    return replay.load(arguments.traces, telemetry)


def rows(arguments: argparse.Namespace, traces: Iterable[replay.Trace]) -> Iterator[Row]:
    bench = Bench(arguments.trials, arguments.block_ms, arguments.block_samples, arguments.max_time, arguments.seed)
    for trace in traces:
        if trace.rounds < FEWEST_ROUNDS:
            print(f"{trace.question}: {trace.rounds} rounds are too few to be told apart: paired rows only", flush=True)
        asked = Asked.of(trace, arguments.tolerance)
        for part in ("simulated",) if arguments.simulate else arguments.parts:
            yield from getattr(bench, part)(trace, asked)


def main(argv: Sequence[str] | None = None) -> None:
    arguments = parsed(argv)
    try:
        traces = loaded(arguments)
    except replay.TraceError as error:
        raise SystemExit(f"detection.py: {error}") from error
    found: list[Row] = []

    def kept() -> Iterator[Row]:
        for row in rows(arguments, traces):
            found.append(row)
            yield row

    for line in table(kept()):
        print(line, flush=True)
    print("\n* shown, not counted: at the tolerance, or no question of the engines' own")
    if arguments.json:
        arguments.json.write_text(json.dumps([dataclasses.asdict(row) for row in found], indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
