"""Count how often stored figures of a fleet are judged rightly, with a known truth: cards x runs x tests.

    python benchmarks/fleet_simulation.py --trials 400
    python benchmarks/fleet_simulation.py --card-scatter 0.005 --tests 40 --runs 3 8

Cards of one name differ by a level that all tests share, and by a part that is each test's own. A run adds noise of its
own to every test, and a part that they share; a probe adds noise again. Each run is measured on a card that is chosen
at random, judged and stored by the code of the package, as CI does with --trt-baseline-save. Then a run is judged in
which a part of the tests is slower by twice the tolerance. A regression counts only if a second measurement, in
another probe of the same run, confirms it.

The plan of an unchanged test is the same in every run, as with an engine cache; with --rebuilt, each run has another.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
from collections import Counter
from collections.abc import Iterator, Sequence

import argument_types
import numpy as np

from pytest_trt.core.records import Environment, Estimate, Measurement, Result, Verdict
from pytest_trt.judge.baselines.baseline import Baseline
from pytest_trt.judge.baselines.updating import update_baseline
from pytest_trt.judge.regression.fleet import settle_cards
from pytest_trt.judge.regression.paired import confirm_regression
from pytest_trt.judge.regression.question import RegressionQuestion
from pytest_trt.judge.regression.stored import judge_stored

OWN_MARGIN = 0.001
"""How far the interval of one probe reaches on either side."""


@dataclasses.dataclass(frozen=True)
class Fleet:
    """The noise of a fleet, as standard deviations of logs.

    Attributes:
        cards: How many cards there are.
        card: How far cards differ in what all tests share.
        test: How far a card differs for one test from what it is for all.
        run: How far a test differs from run to run on one card.
        shared: How far all tests of a run differ together from those of another run on the card.
        probe: How far a test differs from probe to probe in one run.
    """

    cards: int = 4
    card: float = 0.02
    test: float = 0.001
    run: float = 0.001
    shared: float = 0.0005
    probe: float = 0.0005


class Suite:
    """The tests of a project and its baselines, on a fleet that is drawn anew for each suite."""

    def __init__(
        self,
        fleet: Fleet,
        tests: int,
        tolerance: float,
        generator: np.random.Generator,
        *,
        names_cards: bool,
        rebuilt: bool = False,
    ) -> None:
        self._fleet, self._generator, self._names_cards, self._rebuilt = fleet, generator, names_cards, rebuilt
        self._question = RegressionQuestion(tolerance=tolerance)
        levels = generator.normal(0, fleet.card, (fleet.cards, 1))
        self._levels = levels + generator.normal(0, fleet.test, (fleet.cards, tests))
        self._baselines: list[Baseline | None] = [None] * tests

    def run(self, slower: Sequence[float]) -> tuple[Sequence[Result], Sequence[str]]:
        """Measure, confirm, store and settle one run on a random card; `slower` has a log ratio for each test."""
        fleet, generator = self._fleet, self._generator
        card = int(generator.integers(fleet.cards))
        tests = len(self._baselines)
        logs = self._levels[card] + generator.normal(0, fleet.run, tests) + generator.normal(0, fleet.shared) + slower
        uuid = f"GPU-{card:08x}" if self._names_cards else None
        environment = Environment(device="GPU", kind="gpu", backend="tensorrt", backend_version="8.6", device_uuid=uuid)
        results = []
        for number, log in enumerate(logs):
            plan = f"{generator.integers(1 << 60) if self._rebuilt or slower[number] else number:016x}"
            looks = [measure(number, log + generator.normal(0, fleet.probe), environment, plan) for _ in range(2)]
            first, again = (self._judge(number, look) for look in looks)
            verdict = confirm_regression(first, again)
            result = Result(str(number), (verdict,), looks[0])
            improved = ("ms",) if result.status == "improved" else ()
            updated, _ = update_baseline(self._baselines[number], looks[0], result.status, improved=improved)
            self._baselines[number] = updated or self._baselines[number]
            results.append(result)
        return settle_cards(results)

    def _judge(self, number: int, measurement: Measurement) -> Verdict:
        baseline = self._baselines[number]
        if baseline is None:
            return Verdict("new", "baseline", "", "")
        return judge_stored(self._question, measurement.figures["ms"], baseline, measurement.environment.card)


def measure(number: int, log: float, environment: Environment, plan: str = "") -> Measurement:
    """Return the measurement of a test whose latency has this log, and whose plan has this digest."""
    ms = Estimate(*(math.exp(log + margin) for margin in (0.0, -OWN_MARGIN, OWN_MARGIN)))
    return Measurement(str(number), environment, {"ms": ms}, {}, "", "", plan, {}, time="2026-11-30T00:00:00Z")


def judge(fleet: Fleet, tests: int, runs: int, trials: int, arguments: argparse.Namespace) -> Counter[str]:
    """Count the verdicts of the run after `runs` stored ones, apart for slower and unchanged tests."""
    generator, tolerance = np.random.default_rng(arguments.seed), arguments.tolerance
    counts: Counter[str] = Counter()
    for _ in range(trials):
        suite = Suite(
            fleet, tests, tolerance, generator, names_cards=not arguments.forget_cards, rebuilt=arguments.rebuilt
        )
        for _ in range(runs):
            suite.run(np.zeros(tests))
        count = generator.binomial(1, 0.5) if tests == 1 else max(round(arguments.slower * tests), 1)
        slower = np.zeros(tests)
        slower[:count] = math.log1p(2 * tolerance)
        generator.shuffle(slower)
        results, findings = suite.run(slower)
        counts["findings"] += len(findings)
        for result, log in zip(results, slower, strict=True):
            counts[f"{'slower' if log else 'unchanged'} {result.status}"] += 1
    return counts


def lines(arguments: argparse.Namespace) -> Iterator[str]:
    """Yield a Markdown table, line by line."""
    yield "| cards differ by | tests | stored runs | tolerance | false | found | unchanged `ok` | findings |"
    yield "|---|---|---|---|---|---|---|---|"
    for scatter in arguments.card_scatter:
        fleet = Fleet(cards=arguments.cards, card=scatter, test=arguments.test_scatter, run=arguments.run_scatter)
        for tests in arguments.tests:
            for runs in arguments.runs:
                trials = max(arguments.trials // tests, 1)
                found = judge(fleet, tests, runs, trials, arguments)
                unchanged, slower = (
                    sum(count for name, count in found.items() if name.startswith(kind))
                    for kind in ("unchanged ", "slower ")
                )
                false, seen = (
                    found["unchanged regressed"] / max(unchanged, 1),
                    found["slower regressed"] / max(slower, 1),
                )
                yield (
                    f"| {scatter:.1%} | {tests} | {runs} | {arguments.tolerance:.0%} "
                    f"| {false:.2%} | {seen:.1%} "
                    f"| {found['unchanged ok'] / max(unchanged, 1):.1%} | {found['findings'] / trials:.2f} |"
                )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=argument_types.count, default=20000, help="the tests judged per line (20000)")
    parser.add_argument("--cards", type=argument_types.count, default=4, help="the number of cards (4)")
    share = argument_types.share
    parser.add_argument("--card-scatter", type=share, nargs="+", default=[0.02], help="how far cards differ (0.02)")
    parser.add_argument("--test-scatter", type=share, default=0.001, help="a card's difference by test (0.001)")
    parser.add_argument("--run-scatter", type=share, default=0.001, help="how far runs on a card differ (0.001)")
    parser.add_argument(
        "--tests", type=argument_types.count, nargs="+", default=[1, 50], help="tests of a suite (1 50)"
    )
    parser.add_argument("--runs", type=argument_types.count, nargs="+", default=[1, 3, 8], help="stored runs (1 3 8)")
    parser.add_argument("--forget-cards", action="store_true", help="do not tell the judge which card it is")
    parser.add_argument("--slower", type=share, default=0.05, help="how many tests are slower in the last run (0.05)")
    parser.add_argument("--rebuilt", action="store_true", help="every run has a plan of its own")
    parser.add_argument("--tolerance", type=share, default=0.02, help="the tolerance (0.02)")
    parser.add_argument("--seed", type=argument_types.seed, default=0, help="the seed of the noise (0)")
    for line in lines(parser.parse_args()):
        print(line, flush=True)


if __name__ == "__main__":
    main()
