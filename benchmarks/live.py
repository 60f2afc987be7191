"""The judge on a real GPU, through the very course that a test takes: how often it is right, and what it costs.

    python benchmarks/live.py --aa 200 --slower 50 --json live.json [--seconds 500 --cache-dir CACHE]

ResNet-18 FP16, every comparison paired: two fresh probes, one engine each, taking turns. A/A is one cached engine
against itself; slower is the same model with one 1x1 convolution more. benchmarks/blame.py asks what else may change.
Comparisons can be made in shares: what --json has is kept, and the table at the end is of all of them.
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
    """Models, a cache and the baseline of a network in one folder."""

    folder: Path
    bench: Bench
    baselines: BaselineFolder
    network: str = "resnet18"
    transfers: bool = True
    until: float = math.inf

    def is_late(self) -> bool:
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
        """A trial of the model in FP16 for batches to 128, unless `spec` says otherwise."""
        declaration = Declaration(
            spec=EngineSpec(path=model, **{"dims": {"N": (1, batch, 128)}, "precision": "fp16", **spec}),
            run=RunShape(batch=batch),
            pipeline=PipelineOptions(transfers=self.transfers),
            tolerance=Tolerance(max_slowdown=tolerance, paired=paired),
        )
        node_id = f"benchmarks/live.py::{self.network}[b{batch}]"
        return Trial(self.bench, node_id, declaration, [self.folder], self.baselines)

    def measure(self, trial: Trial) -> Result:
        with trial:
            trial.measure()
            result = trial.finish()
        assert result is not None
        return result


def ms_verdict(result: Result) -> Any:
    return next(v for v in result.verdicts if v.basis in ("baseline", "run"))


class Book:
    """What was asked so far, one row a comparison, on disk after each. A file that is there already goes on: many
    comparisons can be made in shares."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self.rows: list[dict[str, Any]] = json.loads(path.read_text("utf-8")) if path and path.exists() else []

    def add(self, question: str, **row: Any) -> None:
        self.rows.append({"question": question, **row})
        if self._path is not None:
            draft = self._path.with_suffix(".part")
            draft.write_text("[\n" + ",\n".join(map(json.dumps, self.rows)) + "\n]\n", "utf-8")
            draft.replace(self._path)

    def of(self, question: str) -> list[dict[str, Any]]:
        return [row for row in self.rows if row["question"] == question]

    def questions(self) -> list[str]:
        return list(dict.fromkeys(row["question"] for row in self.rows))


def ask(live: Live, book: Book, question: str, model: str, count: int, expected: str, **arguments: Any) -> None:
    """Ask the same question `count` times, until the bench's time is up."""
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
        book.add(
            question, expected=expected, status=verdict.status, text=verdict.text, ratio=ratio, wall_s=wall_s,
            parts_s=dict(result.parts_s), resolution=verdict.resolution,
            blocks=sum(len(samples.blocks) for samples in measurement.samples), probes=len(measurement.samples),
            sm_mhz=[block.state.get("sm_mhz") for samples in measurement.samples for block in samples.blocks],
        )  # fmt: skip


def bound(errors: int, count: int, confidence: float = 0.95) -> float:
    """The largest rate at which so few errors in `count` are still as likely as 1 - `confidence` (Clopper and Pearson
    1934, one-sided)."""
    low, high = 0.0, 1.0
    for _ in range(60):
        rate = (low + high) / 2
        likely = sum(math.comb(count, k) * rate**k * (1 - rate) ** (count - k) for k in range(errors + 1))
        low, high = (rate, high) if likely > 1 - confidence else (low, rate)
    return high


def lines(book: Book) -> Iterator[str]:
    """Markdown: verdicts and ratios by question, then where the time of a comparison goes."""
    columns = "question", "asked", "verdicts", "wrong, at most (95 %)", "ratio: median [least, most]", "wall s (most)"
    yield f"| {' | '.join(columns)} |"
    yield "|---" * len(columns) + "|"
    for question in book.questions():
        rows = book.of(question)
        counts = collections.Counter(row["status"] for row in rows)
        said = ", ".join(f"{number} {name}" for name, number in counts.most_common())
        wrong = sum(row["status"] not in (row["expected"], "inconclusive") for row in rows)
        ratios = [row["ratio"][0] - 1 for row in rows if row["ratio"]]
        shown = f"{statistics.median(ratios):+.2%} [{min(ratios):+.2%}, {max(ratios):+.2%}]" if ratios else ""
        walls = [row["wall_s"] for row in rows]
        yield (
            f"| {question} | {len(rows)} | {said} | {wrong}, {bound(wrong, len(rows)):.2%} | {shown} "
            f"| {statistics.median(walls):.2f} ({max(walls):.2f}) |"
        )
    yield ""
    for question in book.questions():
        parts = [row["parts_s"] for row in book.of(question)]
        middle = {name: statistics.median(part.get(name, 0.0) for part in parts) for name in parts[0]}
        yield f"{question}: " + ", ".join(f"{name} {s * 1000:.0f} ms" for name, s in middle.items())


def save(live: Live, batch: int, model: str = "base.onnx", **spec: Any) -> Measurement:
    """Measure the model, and make that the baseline."""
    result = live.measure(live.trial(model, batch=batch, **spec))
    assert result.measurement is not None
    live.baselines.save(result.measurement, "new", force=True)
    ms = result.measurement.figures["ms"]
    print(f"baseline b{batch}: {ms.value:.4f} ms, proof {dict(result.measurement.proof)}", flush=True)
    return result.measurement


def calibrate(live: Live, pairs: int) -> str:
    """Make known to what follows how probes of the baseline's model differ, as `pytest-trt calibrate` does."""
    bench = live.bench
    with live.trial("base.onnx") as trial:
        environment, subject = trial.environment, trial.subject(trial.engine)
        with bench.lock(environment):
            found = tuple(probe_spread.aa_pair(bench.server(trial.backend), subject) for _ in range(pairs))
    known = probe_spread.Calibration(environment.device, found)
    probe_spread.save(bench.store.folder, environment, known)
    return f"calibrated on {pairs} pairs: spread {known.spread:.2%}, place {known.open_order_effect:.2%}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--single", type=int, default=10, help="tests whose plan is their baseline's: one probe")
    parser.add_argument("--plain", type=int, default=0, help="A/A before anything is calibrated")
    parser.add_argument("--calibrate", type=int, default=12, help="pairs to calibrate on before the rest")
    parser.add_argument("--aa", type=int, default=200)
    parser.add_argument("--slower", type=int, default=50)
    parser.add_argument("--capped", type=int, default=0, help="A/A at batch 128, where the power cap is, at 2 %%")
    parser.add_argument("--backend", default="auto")
    parser.add_argument("--max-time", type=float, default=10.0)
    parser.add_argument("--seconds", type=float, default=math.inf, help="no comparison begins later than this")
    parser.add_argument("--cache-dir", help="the engine cache, kept for the next share (default: a temporary one)")
    parser.add_argument("--json", type=Path, help="where each comparison is kept; goes on with what is there")
    given = parser.parse_args()
    until = time.monotonic() + given.seconds
    book = Book(given.json)
    with tempfile.TemporaryDirectory(prefix="pytest-trt-live-") as name:
        folder = Path(name)
        resnet18.save(folder / "base.onnx")
        resnet18.save(folder / "slower.onnx", more_1x1=1)
        settings = Settings(
            backend=given.backend,
            cache_dir=given.cache_dir or str(folder / "cache"),
            max_time_s=given.max_time,
            rootdir=name,
        )
        folder_of_baselines = open_baselines("baselines", "live", revision=None, rootdir=folder)
        with Bench(settings, lambda text: print(text, flush=True) if "0 s" in text else None) as bench:
            live = Live(folder, bench, folder_of_baselines, until=until)
            if given.single or given.plain or given.aa or given.slower:
                save(live, 1)
            ask(live, book, "b1, identical plan, one probe", "base.onnx", given.single, "ok", paired=None)
            ask(live, book, "A/A b1, 1 %, not calibrated", "base.onnx", given.plain, "ok")
            if given.calibrate and (given.aa or given.slower):
                print(calibrate(live, given.calibrate), flush=True)
            if given.slower:
                live.measure(live.trial("slower.onnx"))  # builds it, so that no comparison below does
            # in turns, so that a share that is cut off has some of each
            for aa, slower in shares(given.aa, given.slower):
                ask(live, book, "A/A b1, 1 %", "base.onnx", aa, "ok")
                ask(live, book, "one 1x1 more b1, 1 %", "slower.onnx", slower, "regressed")
            if given.capped:
                save(live, 128)
                ask(live, book, "A/A b128, 2 %", "base.onnx", given.capped, "ok", batch=128, tolerance=0.02)
    print(*lines(book), sep="\n")


def shares(aa: int, slower: int, parts: int = 10) -> Iterator[tuple[int, int]]:
    for part in range(parts):
        yield ((part + 1) * aa // parts - part * aa // parts, (part + 1) * slower // parts - part * slower // parts)


if __name__ == "__main__":
    main()
