"""Count false regressions of an unchanged engine that is compared with stored runs on one card.

    python benchmarks/stored_runs.py --trials 2000

The tolerance is 0, so that the true ratio lies at it. The runs are stored by the code of the package, as with
--trt-baseline-save. Then one more run is judged, once. `kept` keeps the first run as the reference; otherwise a run
that is `improved` by chance becomes the reference, as it does at a tolerance of 0.
"""

from __future__ import annotations

import argparse
import itertools
from collections import Counter
from collections.abc import Callable, Sequence

import argument_types
import numpy as np
from fleet_simulation import measure

from pytest_trt.core.records import Environment, Measurement, Verdict
from pytest_trt.judge.baselines.baseline import Baseline
from pytest_trt.judge.baselines.updating import update_baseline
from pytest_trt.judge.regression.question import RegressionQuestion
from pytest_trt.judge.regression.stored import judge_stored

QUESTION = RegressionQuestion(tolerance=0.0)
CARD = Environment(device="GPU", kind="gpu", backend="tensorrt", backend_version="8.6", device_uuid="GPU-1")

NOISES: dict[str, Callable[[np.random.Generator, int], np.ndarray]] = {
    "normal": lambda g, count: g.normal(size=count),
    "Student's t, 3 degrees": lambda g, count: g.standard_t(3, size=count) / np.sqrt(3),
    "two levels": lambda g, count: g.choice([-1.0, 1.0], size=count) + 0.05 * g.normal(size=count),
}
"""The noise of runs, by name, with a standard deviation of about 1."""


SCATTERS = (0.002, 0.01, 0.03)


def judge(baseline: Baseline, run: Measurement) -> Verdict:
    """Return the verdict of a run against the baseline."""
    return judge_stored(QUESTION, run.figures["ms"], baseline, run.environment.card)


def outcomes(
    noise: str, scatter: float, stored: int, trials: int, generator: np.random.Generator, *, kept: bool
) -> Counter[str]:
    """Count the verdicts of the run after so many stored ones."""
    counts: Counter[str] = Counter()
    for _ in range(trials):
        *earlier, last = (measure(0, scatter * log, CARD) for log in NOISES[noise](generator, stored + 1))
        baseline, _ = update_baseline(None, earlier[0], "missing")
        assert baseline is not None
        for run in earlier[1:]:
            status = "ok" if kept else judge(baseline, run).status
            baseline = update_baseline(baseline, run, status, improved=("ms",) * (status == "improved"))[0] or baseline
        counts[judge(baseline, last).status] += 1
    return counts


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=argument_types.count, default=2000, help="the trials of each row (2000)")
    parser.add_argument("--seed", type=argument_types.seed, default=0, help="the seed of the noise (0)")
    options = parser.parse_args(argv)
    generator = np.random.default_rng(options.seed)
    print("| reference | runs | scatter, % | stored | `regressed`, % | `improved`, % |\n" + "|---" * 6 + "|")
    cases = [(True, *case) for case in itertools.product(NOISES, SCATTERS)]
    for kept, noise, scatter in [*cases, *((False, "normal", scatter) for scatter in SCATTERS)]:
        for stored in (1, 4, 5, 6, 8, 10):
            counts = outcomes(noise, scatter, stored, options.trials, generator, kept=kept)
            shares = " | ".join(f"{100 * counts[status] / options.trials:.2f}" for status in ("regressed", "improved"))
            reference = "kept" if kept else "moves"
            print(f"| {reference} | {noise} | {100 * scatter:g} | {stored} | {shares} |", flush=True)


if __name__ == "__main__":
    main()
