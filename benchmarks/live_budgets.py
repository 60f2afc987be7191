"""Record one engine at the power cap, and count how often budgets just above and below its latency are judged right.

    python benchmarks/live_budgets.py --json live-budgets.json --seconds 320 [--cache-dir CACHE]
    python benchmarks/live_budgets.py --judge card-0.json card-1.json  # judge recordings again, without a GPU

The model is ResNet-18 in FP16 at batch 128, with inputs on the device, so that the GPU reaches its power cap. Each
recording opens a fresh probe after a pause, and keeps every block from the first one on. The sampler, the rule and the
judge of a test then read the recording, once from its beginning (cold) and once from the sixth second (warm), for each
budget. The true latency is the median of all warm blocks of the recordings in a file. A run keeps the recordings in the
file of --json, and a later run continues it. Several cards record into a file each, at the same time.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import live
import numpy as np
import resnet18
from one_sided import LIMITS, OFFSETS, Row, Series, ask

from pytest_trt.core.records import Block
from pytest_trt.judge.baselines import open_baselines
from pytest_trt.measure.probe_source import ProbeSource
from pytest_trt.spec.settings import Settings
from pytest_trt.trial.bench import Bench

WARM_S = 6.0  # what a recording has before it counts as warm
RECORD_S = WARM_S + LIMITS.warm_up_s + LIMITS.max_time_s + 0.5


def record(bench: Bench, subject: Any, backend: str, state: Any) -> list[Any]:
    """Return the medians, seconds, clocks event reasons and temperatures of the blocks of a fresh probe."""
    rows, seconds = [], 0.0
    with ProbeSource([(bench.server(backend), subject)], state) as source:
        while seconds < RECORD_S:
            block = source.next_block(0)
            seconds += block.seconds
            rows.append([
                [round(t, 6) for t in block.times["ms"]], round(block.seconds, 6),
                block.state.get("reasons", 0), block.state.get("temperature_c"), block.state.get("sm_mhz"),
            ])  # fmt: skip
    return rows


def blocks_of(recording: Sequence[Any]) -> list[Block]:
    """Return the blocks of a recording."""
    return [Block({"ms": tuple(times)}, seconds, {"reasons": reasons}) for times, seconds, reasons, *_ in recording]


def first_after(blocks: Sequence[Block], seconds: float) -> int:
    """Return the number of the first block that begins after so many seconds."""
    return int(np.searchsorted(np.cumsum([block.seconds for block in blocks]), seconds))


def load(path: Path) -> list[Any]:
    """Return the recordings in a file; none if there is no file yet."""
    recordings: list[Any] = json.loads(path.read_text("utf-8")) if path.exists() else []
    return recordings


def rows(cards: Sequence[Sequence[Any]]) -> Iterator[Row]:
    """Yield the verdicts about each budget, cold and warm, on the recordings of several cards."""
    series, warm, truths = [], [], []
    for recordings in cards:
        blocks = [blocks_of(recording) for recording in recordings]
        firsts = [first_after(one, WARM_S) for one in blocks]
        truth = float(
            np.median([np.median(b.times["ms"]) for one, n in zip(blocks, firsts, strict=True) for b in one[n:]])
        )
        print(f"{len(blocks)} recordings; true latency {truth:.5f} ms")
        series, warm, truths = [*series, *blocks], [*warm, *firsts], [*truths, *[truth] * len(blocks)]
    for name, starts in (("cold", [0] * len(series)), ("warm", warm)):
        for offset in OFFSETS:
            yield ask(
                name, offset, len(series), lambda n, starts=starts: Series(series[n], starts[n]),
                lambda n, offset=offset: truths[n] * (1 + offset), "ms",
            )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recordings", type=int, default=40, help="the recordings in the file at the end (40)")
    parser.add_argument("--pause", type=float, default=3.0, help="how long the GPU idles before each, in s (3)")
    parser.add_argument("--batch", type=int, default=128, help="the batch size (128)")
    parser.add_argument("--backend", default="auto", help="the backend (auto)")
    parser.add_argument("--seconds", type=float, default=320.0, help="start no recording after this many seconds (320)")
    parser.add_argument("--cache-dir", help="an engine cache to keep (default: a temporary one)")
    chosen = parser.add_mutually_exclusive_group(required=True)
    chosen.add_argument("--json", type=Path, help="the file of all recordings")
    chosen.add_argument("--judge", type=Path, nargs="+", help="record nothing; judge the recordings of these files")
    options = parser.parse_args()
    if options.json:
        record_all(options)
    print("| start | budget, % | ok, % | over_budget, % | warm-up, s | sampled, s |\n" + "|---" * 6 + "|")
    for row in rows([load(path) for path in options.judge or [options.json]]):
        print(
            f"| {row.case} | {100 * row.budget:+.1f} | {100 * row.ok:.1f} | {100 * row.over:.1f} | {row.warm_up_s:.2f} "
            f"| {row.sampled_s:.2f} |",
            flush=True,
        )


def record_all(options: argparse.Namespace) -> None:
    """Record until there are enough recordings or the time is up."""
    until, recordings = time.monotonic() + options.seconds, load(options.json)
    with tempfile.TemporaryDirectory(prefix="pytest-trt-live-") as name:
        folder = Path(name)
        resnet18.save(folder / "base.onnx")
        settings = Settings(backend=options.backend, cache_dir=options.cache_dir or str(folder / "cache"), rootdir=name)
        baselines = open_baselines("baselines", "live", revision=None, rootdir=folder)
        with Bench(settings, print) as bench:
            on_device = live.Live(folder, bench, baselines, transfers=False)
            with on_device.trial("base.onnx", batch=options.batch) as trial:
                environment, subject = trial.environment, trial.subject(trial.engine)
                gpu = bench.gpu(environment)
                while len(recordings) < options.recordings and time.monotonic() < until - RECORD_S:
                    time.sleep(options.pause)
                    with bench.lock(environment):
                        recordings.append(record(bench, subject, trial.backend, gpu.read if gpu else None))
                    options.json.write_text(json.dumps(recordings), "utf-8")
                    last = recordings[-1]
                    print(
                        f"recording {len(recordings)}: {last[0][3]} to {last[-1][3]} C, {last[-1][4]} MHz", flush=True
                    )


if __name__ == "__main__":
    main()
