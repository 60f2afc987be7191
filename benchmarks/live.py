"""The judge on a real GPU, through the very course that a test takes: how often it is right, and what it costs.

    python benchmarks/live.py --aa 200 --slower 50 --json live.json

ResNet-18 FP16, every comparison paired: two fresh probes, one engine each, taking turns. A/A is one cached engine
against itself; slower is the same model with one 1x1 convolution more. benchmarks/blame.py asks what else may change.
"""

from __future__ import annotations

import argparse
import collections
import dataclasses
import json
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import resnet18

from pytest_trt.baselines import BaselineFolder, open_baselines
from pytest_trt.bench import Bench
from pytest_trt.records import Measurement, Result
from pytest_trt.spec import Declaration, EngineSpec, PipelineOptions, RunShape, Settings, Tolerance
from pytest_trt.trial import Trial


@dataclasses.dataclass
class Live:
    """Models, a cache and the baseline of a network in one folder."""

    folder: Path
    bench: Bench
    baselines: BaselineFolder
    network: str = "resnet18"
    transfers: bool = True

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


def repeat(live: Live, question: str, model: str, count: int, **arguments: Any) -> dict[str, Any]:
    """Ask the same question `count` times; a line for a table, and every ratio."""
    verdicts: collections.Counter[str] = collections.Counter()
    ratios, walls, blocks = [], [], []
    for _ in range(count):
        started = time.perf_counter()
        result = live.measure(live.trial(model, **arguments))
        walls.append(time.perf_counter() - started)
        verdict = ms_verdict(result)
        verdicts[verdict.status] += 1
        if verdict.ratio is not None:
            ratios.append((verdict.ratio.value, verdict.ratio.low, verdict.ratio.high))
        if result.measurement is not None:
            blocks.append(sum(len(s.blocks) for s in result.measurement.samples))
    values = [r[0] for r in ratios] or [float("nan")]
    row = {
        "question": question, "count": count, "verdicts": dict(verdicts), "median_ratio": statistics.median(values),
        "min_ratio": min(values), "max_ratio": max(values), "median_wall_s": statistics.median(walls),
        "max_wall_s": max(walls), "median_blocks": statistics.median(blocks), "ratios": ratios,
    }  # fmt: skip
    said = ", ".join(f"{n} {name}" for name, n in verdicts.most_common())
    print(
        f"{question:<28} {count:>4}  {said:<34} ratio {row['median_ratio'] - 1:+.3%} "
        f"[{row['min_ratio'] - 1:+.3%}, {row['max_ratio'] - 1:+.3%}]  "
        f"{row['median_wall_s']:.2f} s (at most {row['max_wall_s']:.2f})",
        flush=True,
    )
    return row


def single(live: Live) -> Iterator[dict[str, Any]]:
    """What a test costs whose engine is cached and whose plan is its baseline's: one probe."""
    for way, paired in (("identical plan, one probe", None), ("paired", True)):
        walls, parts = [], []
        for _ in range(10):
            started = time.perf_counter()
            result = live.measure(live.trial("base.onnx", paired=paired))
            walls.append(time.perf_counter() - started)
            parts.append(dict(result.parts_s))
        middle = {name: statistics.median(p[name] for p in parts) for name in parts[0]}
        said = ", ".join(f"{name} {s * 1000:.0f} ms" for name, s in middle.items())
        print(f"{way:<28} wall {statistics.median(walls):.2f} s: {said}", flush=True)
        yield {"question": f"wall: {way}", "median_wall_s": statistics.median(walls), "parts_s": middle}


def save(live: Live, batch: int, model: str = "base.onnx", **spec: Any) -> Measurement:
    """Measure the model, and make that the baseline."""
    result = live.measure(live.trial(model, batch=batch, **spec))
    assert result.measurement is not None
    live.baselines.save(result.measurement, "new", force=True)
    ms = result.measurement.figures["ms"]
    print(f"baseline b{batch}: {ms.value:.4f} ms, proof {dict(result.measurement.proof)}", flush=True)
    return result.measurement


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--aa", type=int, default=200)
    parser.add_argument("--slower", type=int, default=50)
    parser.add_argument("--capped", type=int, default=0, help="comparisons at batch 128, where the power cap is")
    parser.add_argument("--backend", default="auto")
    parser.add_argument("--max-time", type=float, default=10.0)
    parser.add_argument("--cache-dir")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    rows: list[dict[str, Any]] = []
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
            live = Live(folder, bench, folder_of_baselines)
            if given.aa or given.slower:
                save(live, 1)
                rows += single(live)
            if given.aa:
                rows.append(repeat(live, "A/A b1, 1 %", "base.onnx", given.aa))
            if given.slower:
                live.measure(live.trial("slower.onnx"))  # builds it, so that no comparison below does
                rows.append(repeat(live, "one 1x1 more b1, 1 %", "slower.onnx", given.slower))
            if given.capped:
                save(live, 128)
                rows.append(repeat(live, "A/A b128, 2 %", "base.onnx", given.capped, batch=128, tolerance=0.02))
    if given.json:
        given.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
