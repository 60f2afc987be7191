"""Count how engines are judged whose spread is learnt from comparisons, or calibrated with another engine.

    python benchmarks/spread_simulation.py --trials 1500 --runs 12

The first table compares an engine after twelve pairs of another one were calibrated. Its rows "before" let that
calibration hold for every engine, and one pair of probes decide alone, as an earlier version did. The second table has
a suite of unchanged engines without a calibration, run after run: the pairs of probes for each test. The third compares
an engine after some runs without a change: at the tolerance, and unchanged.
"""

from __future__ import annotations

import argparse
import itertools
import math
from collections import Counter
from collections.abc import Iterator, Sequence

import argument_types
import coverage
import numpy as np

from pytest_trt.core import noise_levels
from pytest_trt.core.engine_noise import PairedMedians
from pytest_trt.judge.regression import paired
from pytest_trt.judge.regression.question import RegressionQuestion
from pytest_trt.measure.sampler import Limits, sample
from pytest_trt.trial.probe_spread import Calibration

TOLERANCE = 0.01
ORDER_EFFECTS = ((0.002,), (0.004,), (0.011, 0.011, 0.011, 0.019))
COMPARISONS_A_HISTORY = 10
HISTORIES = ((0.0005, 0.0005), (0.0007, 0.0007), (0.001, 0.001), (0.002, 0.002), (0.0005, 0.001))
CALIBRATED_SCATTER, CALIBRATED_EFFECT, CALIBRATED_PAIRS = 0.0005, 0.0015, 12


def question_of(calibration: Calibration, engine: str) -> RegressionQuestion:
    """Return the question about an engine, as a test asks it."""
    spread = calibration.spread_of(engine, "gpu")
    return RegressionQuestion(
        tolerance=TOLERANCE,
        spread=spread.share,
        open_order_effect=spread.open_order_effect,
        place=spread.place,
        lone_pair=spread.lone_pair,
    )


def earlier_question(differences: Sequence[float]) -> RegressionQuestion:
    """Return the question as an earlier version asked it: the calibration of any engine holds."""
    effect = noise_levels.calibrated_open_order_effect(differences)
    return RegressionQuestion(
        tolerance=TOLERANCE,
        spread=noise_levels.calibrated_spread(differences),
        open_order_effect=effect,
        lone_pair=1.0,
    )


def with_calibration_of_another(
    ratio: float,
    scatter: float,
    effects: Sequence[float],
    trials: int,
    generator: np.random.Generator,
    *,
    earlier: bool,
) -> Counter[str]:
    """Count the verdicts on an engine with a true ratio, and the pairs of probes."""
    counts: Counter[str] = Counter()
    for _ in range(trials):
        noise = generator.normal(0, CALIBRATED_SCATTER * math.sqrt(2), CALIBRATED_PAIRS)
        differences = tuple((noise - CALIBRATED_EFFECT).tolist())
        asked = earlier_question(differences) if earlier else question_of(Calibration("GPU", differences), "engine")
        probes = coverage.Probes(ratio, scatter, effects, generator)
        sampling = sample(probes, paired.PairedRule(asked), Limits(max_time_s=10.0))
        counts.update([sampling.stop_reason, *["pairs"] * len(sampling.sides[0])])
    return counts


def pairs_of_a_suite(
    scatters: Sequence[float], runs: int, generator: np.random.Generator
) -> Iterator[tuple[float, int]]:
    """Yield for each run of a suite the pairs of probes for each test, and the tests that were not `ok`."""
    calibration, effects = Calibration("GPU"), generator.uniform(0, 0.004, len(scatters))
    for _ in range(runs):
        pairs, other = 0, 0
        for number, (scatter, effect) in enumerate(zip(scatters, effects, strict=True)):
            asked = question_of(calibration, str(number))
            probes = coverage.Probes(1.0, scatter, (float(effect),), generator)
            sampling = sample(probes, paired.PairedRule(asked), Limits(max_time_s=10.0))
            medians = paired.pair_medians(asked, sampling.sides)
            if len(medians) > 1:
                calibration = calibration.with_comparison(str(number), PairedMedians(medians))
            pairs += len(sampling.sides[0])
            other += sampling.stop_reason != "decided: ok"
        yield pairs / len(scatters), other


def after_runs(
    runs: int, scatters: tuple[float, float], trials: int, generator: np.random.Generator
) -> tuple[Counter[str], Counter[str]]:
    """Count the verdicts on an engine whose own pairs are known: at the tolerance, and unchanged.

    Args:
        runs: The earlier runs, in which the engine did not change.
        scatters: The scatter of a probe in these runs, and afterwards.
        trials: The comparisons. Ten of them have the same earlier runs.
        generator: The source of the noise.
    """
    counts: tuple[Counter[str], Counter[str]] = (Counter(), Counter())
    for _ in range(trials // COMPARISONS_A_HISTORY):
        calibration, effect = Calibration("GPU"), float(generator.uniform(0.001, 0.004))
        for _ in range(runs):
            asked = question_of(calibration, "engine")
            probes = coverage.Probes(1.0, scatters[0], (effect,), generator)
            medians = paired.pair_medians(
                asked, sample(probes, paired.PairedRule(asked), Limits(max_time_s=10.0)).sides
            )
            if len(medians) > 1:
                calibration = calibration.with_comparison("engine", PairedMedians(medians))
        asked = question_of(calibration, "engine")
        for _ in range(COMPARISONS_A_HISTORY):
            for ratio, count in zip((1 + TOLERANCE, 1.0), counts, strict=True):
                probes = coverage.Probes(ratio, scatters[1], (effect,), generator)
                sampling = sample(probes, paired.PairedRule(asked), Limits(max_time_s=10.0))
                count.update([sampling.stop_reason, *["pairs"] * len(sampling.sides[0])])
    return counts


def lines(arguments: argparse.Namespace) -> Iterator[str]:
    """Yield both tables as Markdown, line by line."""
    generator, trials = np.random.default_rng(arguments.seed), arguments.trials
    yield "| judged | order effect | scatter | true ratio | ok | regressed | improved | pairs |"
    yield "|---" * 8 + "|"
    for earlier, effects, scatter, ratio in itertools.product(
        (True, False), ORDER_EFFECTS, (0.0005, 0.002), (1 + TOLERANCE, 1.0)
    ):
        found = with_calibration_of_another(ratio, scatter, effects, trials, generator, earlier=earlier)
        shares = " | ".join(f"{found[f'decided: {word}'] / trials:.2%}" for word in ("ok", "regressed", "improved"))
        yield (
            f"| {'before' if earlier else 'now'} | {effects[0]:.1%} to {effects[-1]:.1%} | {scatter:.2%} "
            f"| {ratio - 1:.0%} | {shares} | {found['pairs'] / trials:.2f} |"
        )
    yield ""
    yield f"| scatter | {' | '.join(f'run {n + 1}' for n in range(arguments.runs))} | not ok |"
    yield "|---" * (arguments.runs + 2) + "|"
    mixed = np.exp(generator.uniform(math.log(0.0005), math.log(0.002), arguments.tests)).tolist()
    for name, scatters in (
        ("0.05 %", [0.0005] * arguments.tests),
        ("0.1 %", [0.001] * arguments.tests),
        ("mixed", mixed),
    ):
        found_runs = list(pairs_of_a_suite(scatters, arguments.runs, generator))
        yield f"| {name} | {' | '.join(f'{pairs:.2f}' for pairs, _ in found_runs)} | {sum(n for _, n in found_runs)} |"
    yield ""
    yield "| runs before | scatter before | scatter now | at the tolerance: ok | regressed | unchanged: ok | pairs |"
    yield "|---" * 7 + "|"
    for runs, scatters in itertools.product((4, 10, 20), HISTORIES):
        (at, unchanged), tried = (
            after_runs(runs, scatters, trials, generator),
            trials // COMPARISONS_A_HISTORY * COMPARISONS_A_HISTORY,
        )
        yield (
            f"| {runs} | {scatters[0]:.2%} | {scatters[1]:.2%} | {at['decided: ok'] / tried:.2%} "
            f"| {at['decided: regressed'] / tried:.2%} | {unchanged['decided: ok'] / tried:.2%} "
            f"| {unchanged['pairs'] / tried:.2f} |"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=argument_types.count, default=1500, help="comparisons per line (1500)")
    parser.add_argument("--tests", type=argument_types.count, default=20, help="the tests of the suite (20)")
    parser.add_argument("--runs", type=argument_types.count, default=12, help="the runs of the suite (12)")
    parser.add_argument("--seed", type=argument_types.seed, default=0, help="the seed of the noise (0)")
    for line in lines(parser.parse_args()):
        print(line, flush=True)


if __name__ == "__main__":
    main()
