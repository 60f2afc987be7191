"""Count how often the judge is right on a real GPU, and measure what a comparison costs.

    python benchmarks/live.py --aa 200 --slower 50 --json live.json [--seconds 500 --cache-dir CACHE]

Each comparison runs through the same code as a test. The model is ResNet-18 in FP16. Every comparison is paired: two
fresh probes with one engine each are measured alternately. A/A compares a cached engine with itself. *Slower* compares
it with the same model plus one 1x1 convolution. benchmarks/blame.py covers other changes. The comparisons can be split
into several runs: a run keeps the comparisons in the file of --json, and the final table includes them.
"""

from __future__ import annotations

import argparse
import collections
import dataclasses
import json
import math
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import resnet18

from pytest_trt.core.records import Measurement, Result
from pytest_trt.judge.baselines import BaselineFolder, open_baselines
from pytest_trt.spec.declaration import Declaration, PipelineOptions, RunShape
from pytest_trt.spec.engine_spec import EngineSpec
from pytest_trt.spec.expectations import Tolerance
from pytest_trt.spec.settings import Settings
from pytest_trt.trial import probe_spread
from pytest_trt.trial.bench import Bench
from pytest_trt.trial.trial import Trial


@dataclasses.dataclass
class Live:
    """A network with its models and its baseline.

    Attributes:
        folder: The folder of the models.
        bench: The resources of the run.
        baselines: The baselines.
        network: The name of the network.
        transfers: Whether an inference includes copying inputs and outputs.
        until: The time (`time.monotonic`) after which no comparison starts.
    """

    folder: Path
    bench: Bench
    baselines: BaselineFolder
    network: str = "resnet18"
    transfers: bool = True
    until: float = math.inf

    def is_late(self) -> bool:
        """Return whether no further comparison may start."""
        return time.monotonic() > self.until

    def trial(
        self,
        model: str,
        *,
        batch: int = 1,
        tolerance: float = 0.01,
        paired: bool | None = True,
        **spec: Any,
    ) -> Trial:
        """Return a trial of the model in FP16 for batches of up to 128, unless `spec` overrides that."""
        declaration = Declaration(
            spec=EngineSpec(path=model, **{"dims": {"N": (1, batch, 128)}, "precision": "fp16", **spec}),
            run=RunShape(batch=batch),
            pipeline=PipelineOptions(transfers=self.transfers),
            tolerance=Tolerance(max_slowdown=tolerance, paired=paired),
        )
        node_id = f"benchmarks/live.py::{self.network}[b{batch}]"
        return Trial(self.bench, node_id, declaration, [self.folder], self.baselines)

    def measure(self, trial: Trial) -> Result:
        """Measure and judge, and return the result."""
        with trial:
            trial.measure()
            result = trial.finish()
        assert result is not None
        return result


def ms_verdict(result: Result) -> Any:
    """Return the verdict on the latency, or that on the run if it is invalid."""
    return next(v for v in result.verdicts if v.basis in ("baseline", "run"))


class Comparisons:
    """All comparisons so far, one row each. The file is written after each row; an existing file is continued."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self.rows: list[dict[str, Any]] = json.loads(path.read_text("utf-8")) if path and path.exists() else []

    def add(self, question: str, **row: Any) -> None:
        """Add the row of a comparison, and write the file."""
        self.rows.append({"question": question, **row})
        if self._path is not None:
            draft = self._path.with_suffix(".part")
            draft.write_text("[\n" + ",\n".join(map(json.dumps, self.rows)) + "\n]\n", "utf-8")
            draft.replace(self._path)

    def rows_of(self, question: str) -> list[dict[str, Any]]:
        """Return the rows of a question."""
        return [row for row in self.rows if row["question"] == question]

    def questions(self) -> list[str]:
        """Return the questions in the order in which they were first asked."""
        return list(dict.fromkeys(row["question"] for row in self.rows))


def compare(
    live: Live, comparisons: Comparisons, question: str, model: str, count: int, expected: str, **arguments: Any
) -> None:
    """Compare the model with the baseline `count` times, or until the time is up."""
    for _ in range(count):
        if live.is_late():
            print(f"{question}: no time was left", flush=True)
            return
        started = time.perf_counter()
        result = live.measure(live.trial(model, **arguments))
        wall_s = time.perf_counter() - started
        verdict, measurement = ms_verdict(result), result.measurement
        assert measurement is not None
        ratio = verdict.ratio and (verdict.ratio.value, verdict.ratio.low, verdict.ratio.high)
        comparisons.add(
            question, expected=expected, status=verdict.status, text=verdict.text, ratio=ratio, wall_s=wall_s,
            parts_s=dict(result.parts_s), resolution=verdict.resolution,
            blocks=sum(len(samples.blocks) for samples in measurement.samples), probes=len(measurement.samples),
            sm_mhz=[block.state.get("sm_mhz") for samples in measurement.samples for block in samples.blocks],
        )  # fmt: skip


def bound(errors: int, count: int, confidence: float = 0.95) -> float:
    """Return the one-sided upper limit of the error rate after `errors` in `count` trials (Clopper and Pearson 1934).

    At this rate, so few errors still have a probability of 1 - `confidence`.
    """
    low, high = 0.0, 1.0
    for _ in range(60):
        rate = (low + high) / 2
        probability = sum(math.comb(count, k) * rate**k * (1 - rate) ** (count - k) for k in range(errors + 1))
        low, high = (rate, high) if probability > 1 - confidence else (low, rate)
    return high


def lines(comparisons: Comparisons) -> Iterator[str]:
    """Yield Markdown lines: a table of verdicts and ratios by question, and then the time of each part."""
    columns = "question", "count", "verdicts", "wrong, at most (95 %)", "ratio: median [least, most]", "wall s (most)"
    yield f"| {' | '.join(columns)} |"
    yield "|---" * len(columns) + "|"
    for question in comparisons.questions():
        rows = comparisons.rows_of(question)
        counts = collections.Counter(row["status"] for row in rows)
        verdicts = ", ".join(f"{number} {name}" for name, number in counts.most_common())
        wrong = sum(row["status"] not in (row["expected"], "inconclusive") for row in rows)
        ratios = [row["ratio"][0] - 1 for row in rows if row["ratio"]]
        ratio = f"{statistics.median(ratios):+.2%} [{min(ratios):+.2%}, {max(ratios):+.2%}]" if ratios else ""
        walls = [row["wall_s"] for row in rows]
        yield (
            f"| {question} | {len(rows)} | {verdicts} | {wrong}, {bound(wrong, len(rows)):.2%} | {ratio} "
            f"| {statistics.median(walls):.2f} ({max(walls):.2f}) |"
        )
    yield ""
    for question in comparisons.questions():
        parts = [row["parts_s"] for row in comparisons.rows_of(question)]
        medians = {name: statistics.median(part.get(name, 0.0) for part in parts) for name in parts[0]}
        yield f"{question}: " + ", ".join(f"{name} {s * 1000:.0f} ms" for name, s in medians.items())


def save(live: Live, batch: int, model: str = "base.onnx", **spec: Any) -> Measurement:
    """Measure the model, save the measurement as the baseline, and return it."""
    result = live.measure(live.trial(model, batch=batch, **spec))
    assert result.measurement is not None
    live.baselines.save(result.measurement, "new", force=True)
    ms = result.measurement.figures["ms"]
    print(f"baseline b{batch}: {ms.value:.4f} ms, proof {dict(result.measurement.proof)}", flush=True)
    return result.measurement


def calibrate(live: Live, pairs: int) -> str:
    """Measure how far probes of the baseline's model differ, and save it, as `pytest-trt calibrate` does."""
    bench = live.bench
    with live.trial("base.onnx") as trial:
        environment, subject = trial.environment, trial.subject(trial.engine)
        with bench.lock(environment):
            found = tuple(probe_spread.aa_pair(bench.server(trial.backend), subject) for _ in range(pairs))
    calibration = probe_spread.Calibration(environment.device, found)
    probe_spread.save(bench.store.folder, environment, calibration)
    return (
        f"calibrated on {pairs} pairs: spread {calibration.spread:.2%}, "
        f"order effect {calibration.open_order_effect:.2%}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--single", type=int, default=10, help="tests with the baseline's own plan, in one probe (10)")
    parser.add_argument("--plain", type=int, default=0, help="A/A comparisons before the calibration (0)")
    parser.add_argument("--calibrate", type=int, default=12, help="pairs of the calibration (12)")
    parser.add_argument("--aa", type=int, default=200, help="A/A comparisons after the calibration (200)")
    parser.add_argument("--slower", type=int, default=50, help="comparisons with the slower model (50)")
    parser.add_argument("--capped", type=int, default=0, help="A/A at batch 128, at the power cap, at 2 %% (0)")
    parser.add_argument("--backend", default="auto", help="the backend (auto)")
    parser.add_argument("--max-time", type=float, default=10.0, help="the longest sampling of a comparison in s (10)")
    parser.add_argument("--seconds", type=float, default=math.inf, help="start no comparison after this many seconds")
    parser.add_argument("--cache-dir", help="an engine cache to keep (default: a temporary one)")
    parser.add_argument("--json", type=Path, help="the file of all comparisons; an existing file is continued")
    options = parser.parse_args()
    until = time.monotonic() + options.seconds
    comparisons = Comparisons(options.json)
    with tempfile.TemporaryDirectory(prefix="pytest-trt-live-") as name:
        folder = Path(name)
        resnet18.save(folder / "base.onnx")
        resnet18.save(folder / "slower.onnx", more_1x1=1)
        settings = Settings(
            backend=options.backend,
            cache_dir=options.cache_dir or str(folder / "cache"),
            max_time_s=options.max_time,
            rootdir=name,
        )
        baselines = open_baselines("baselines", "live", revision=None, rootdir=folder)
        with Bench(settings, lambda text: print(text, flush=True) if "0 s" in text else None) as bench:
            live = Live(folder, bench, baselines, until=until)
            if options.single or options.plain or options.aa or options.slower:
                save(live, 1)
            compare(live, comparisons, "b1, identical plan, one probe", "base.onnx", options.single, "ok", paired=None)
            compare(live, comparisons, "A/A b1, 1 %, not calibrated", "base.onnx", options.plain, "ok")
            if options.calibrate and (options.aa or options.slower):
                print(calibrate(live, options.calibrate), flush=True)
            if options.slower:
                live.measure(live.trial("slower.onnx"))  # Build the engine before the comparisons.
            # The questions alternate, so that a run without enough time has comparisons of each.
            for aa, slower in split(options.aa, options.slower):
                compare(live, comparisons, "A/A b1, 1 %", "base.onnx", aa, "ok")
                compare(live, comparisons, "one more 1x1 convolution b1, 1 %", "slower.onnx", slower, "regressed")
            if options.capped:
                save(live, 128)
                compare(
                    live, comparisons, "A/A b128, 2 %", "base.onnx", options.capped, "ok", batch=128, tolerance=0.02
                )
    print(*lines(comparisons), sep="\n")


def split(aa: int, slower: int, parts: int = 10) -> Iterator[tuple[int, int]]:
    """Split both numbers of comparisons into `parts` equal parts."""
    for part in range(parts):
        yield ((part + 1) * aa // parts - part * aa // parts, (part + 1) * slower // parts - part * slower // parts)


if __name__ == "__main__":
    main()
