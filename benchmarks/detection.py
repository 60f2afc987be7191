"""Count how often the judge is right, wrong or undecided on recorded traces, and what a verdict costs.

    python benchmarks/detection.py --trials 2000 --json detection.json
    python benchmarks/detection.py --traces other.npz --telemetry other.json
    python benchmarks/detection.py --simulate --trials 20000
    python benchmarks/detection.py --parts needed --trials 4000

The sampler, the stopping rule and the judge are those of the package. Only the blocks come from a file.
docs/background/statistics.md explains the procedure. docs/results/ contains the output.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import argument_types
import replay
from detection_bench import FEWEST_ROUNDS, DetectionBench, Questions, Row

TRACES = Path(__file__).parent / "traces" / "h200-resnet18" / "traces.npz"
PARTS = ("paired", "same", "unpaired", "today", "needed")


def table(rows: Iterable[Row]) -> Iterator[str]:
    """Yield the rows as a Markdown table, line by line."""
    columns = "question", "method", "engine", "true", "tolerance", "right", "wrong", "inconclusive", "regressed"
    yield f"| {' | '.join(columns)} | GPU s | blocks | detects |"
    yield "|---" * (len(columns) + 3) + "|"
    for r in rows:
        detects = "" if r.resolution is None else f"{r.resolution:.2%}"
        yield (
            f"| {r.question}{'' if r.counted else ' *'} | {r.method} | {r.engine} | {r.true_ratio - 1:+.2%} "
            f"| {r.tolerance:.1%} | {r.right:.2%} | {r.wrong:.3%} | {r.inconclusive:.2%} | {r.regressed:.3%} "
            f"| {r.gpu_s:.2f} | {r.blocks:.0f} | {detects} |"
        )


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--traces", type=Path, default=TRACES, help="an .npz of <question>/<engine>, rounds x samples")
    parser.add_argument(
        "--telemetry", type=Path, help="the telemetry (default: telemetry.json beside the traces, if it exists)"
    )
    parser.add_argument("--trials", type=argument_types.count, default=2000, help="the trials of each question (2000)")
    parser.add_argument("--tolerance", type=argument_types.share, action="append", help="a share; may be repeated")
    parser.add_argument("--block-ms", type=argument_types.time, default=10.0, help="the least duration of a block (10)")
    parser.add_argument(
        "--block-samples", type=argument_types.count, default=15, help="the fewest samples of a block (15)"
    )
    parser.add_argument(
        "--max-time", type=argument_types.time, default=10.0, help="end a trial after this many seconds of blocks (10)"
    )
    parser.add_argument("--simulate", action="store_true", help="use simulations that are fitted to the traces")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS, help="the rows to compute (default: all)")
    parser.add_argument("--seed", type=argument_types.seed, default=0, help="the seed of all random choices (0)")
    parser.add_argument("--json", type=Path, help="the file to which the rows are written")
    arguments = parser.parse_args(argv)
    if arguments.json is not None and (arguments.json.is_dir() or not arguments.json.parent.is_dir()):
        parser.error(f"argument --json: {arguments.json} cannot be written: name a file in an existing folder")
    return arguments


def load_traces(arguments: argparse.Namespace) -> list[replay.Trace]:
    default = arguments.traces.with_name("telemetry.json")
    telemetry = arguments.telemetry or (default if default.exists() else None)
    return replay.load(arguments.traces, telemetry)


def rows(arguments: argparse.Namespace, traces: Iterable[replay.Trace]) -> Iterator[Row]:
    bench = DetectionBench(
        arguments.trials, arguments.block_ms, arguments.block_samples, arguments.max_time, arguments.seed
    )
    for trace in traces:
        if trace.rounds < FEWEST_ROUNDS:
            print(
                f"{trace.question}: {trace.rounds} rounds are too few for separate stretches: paired rows only",
                flush=True,
            )
        questions = Questions.for_trace(trace, arguments.tolerance)
        for part in ("simulated",) if arguments.simulate else arguments.parts:
            if part != "needed":
                yield from getattr(bench, part)(trace, questions)
    if "needed" in arguments.parts and not arguments.simulate:
        yield from bench.needed()


def main(argv: Sequence[str] | None = None) -> None:
    arguments = parse_arguments(argv)
    try:
        traces = load_traces(arguments)
    except replay.TraceError as error:
        raise SystemExit(f"detection.py: {error}") from error
    found: list[Row] = []

    def collected() -> Iterator[Row]:
        for row in rows(arguments, traces):
            found.append(row)
            yield row

    for line in table(collected()):
        print(line, flush=True)
    print(
        "\n* shown, but not counted: the truth is at the tolerance, or the question is not about the recorded engines"
    )
    if arguments.json:
        arguments.json.write_text(json.dumps([dataclasses.asdict(row) for row in found], indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
