"""Check that no gate fails for an engine that has not changed: A/A tests of every figure that a baseline can gate.

    python benchmarks/gate_aa.py --json gates.json [--tests 100 --model MODEL.onnx --backend tensorrt --rebuild]
    python benchmarks/gate_aa.py --default-gates --optimization-level 1 --max-time 0.3  # soon done on a GPU

Each test measures one engine against its own baseline with every figure gated, as a test of a project does. Every other
test compares with the stored figures; the others run both engines in turn. The table shows the largest change of each
figure against the baseline, the tolerance, and the verdicts at that tolerance. A figure without a default tolerance is
judged at 10 %, unless --default-gates leaves it out. With --rebuild, the engine is built again for each test.

The exit status is 1 if a gate failed: if a figure regressed, or if a figure that is gated by default, other than the
latency, has a verdict that is not `ok`. On a noisy CPU, the latency is often `inconclusive` at its tolerance.
"""

from __future__ import annotations

import argparse
import collections
import dataclasses
import json
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import resnet18

from pytest_trt.core.figures import FIGURES
from pytest_trt.core.records import Estimate, Result
from pytest_trt.judge.baselines import BaselineFolder, open_baselines
from pytest_trt.spec.declaration import Declaration, RunShape
from pytest_trt.spec.engine_spec import EngineSpec
from pytest_trt.spec.expectations import Tolerance
from pytest_trt.spec.settings import Settings
from pytest_trt.trial.bench import Bench
from pytest_trt.trial.trial import Trial

REQUESTED = 0.1
"""The tolerance of a figure that is gated only on request, as a share."""

NODE_ID = "benchmarks/gate_aa.py::test_aa"


@dataclasses.dataclass(frozen=True)
class Engine:
    """The engine of every test, and the tolerances of the figures that are gated on request."""

    folder: Path
    spec: EngineSpec
    requested: Mapping[str, float]


def measure(bench: Bench, engine: Engine, baselines: BaselineFolder, *, paired: bool) -> Result:
    """Measure the engine against its baseline."""
    spec, tolerance = engine.spec, Tolerance(gates=engine.requested, paired=paired)
    declaration = Declaration(spec=spec, run=RunShape(batch=1), tolerance=tolerance)
    with Trial(bench, NODE_ID, declaration, [engine.folder], baselines) as trial:
        trial.measure()
        result = trial.finish()
    assert result is not None
    return result


def row(number: int, result: Result, reference: dict[str, Estimate], *, paired: bool) -> dict[str, Any]:
    """Return one A/A test as JSON: the change of each figure against the baseline, and the verdicts."""
    assert result.measurement is not None
    figures = result.measurement.figures
    changes = {
        name: figures[name].value / reference[name].value - 1
        for name in FIGURES
        if name in figures and name in reference and reference[name].value > 0
    }
    verdicts = {verdict.figure: verdict.status for verdict in result.verdicts if verdict.basis == "baseline"}
    return {"test": number, "paired": paired, "changes": changes, "verdicts": verdicts}


def table(rows: Sequence[dict[str, Any]]) -> Iterator[str]:
    """Yield the lines of a Markdown table with one row for each figure."""
    yield "| figure | tests | largest rise | largest fall | tolerance | verdicts |"
    yield "|---" * 6 + "|"
    for name, figure in FIGURES.items():
        changes = [one["changes"][name] for one in rows if name in one["changes"]]
        if not changes:
            continue
        statuses = collections.Counter(one["verdicts"][name] for one in rows if name in one["verdicts"])
        counts = ", ".join(f"{count} {status}" for status, count in statuses.most_common()) or "not judged"
        tolerance = f"{figure.tolerance:.0%}" if figure.tolerance is not None else f"({REQUESTED:.0%})"
        yield f"| {name} | {len(changes)} | {max(changes):+.2%} | {min(changes):+.2%} | {tolerance} | {counts} |"


def failures(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Return the gates that failed, each with its test."""
    return [
        f"test {one['test']}: {name} {status}"
        for one in rows
        for name, status in one["verdicts"].items()
        if FIGURES[name].gated and (status == "regressed" or (name != "ms" and status != "ok"))
    ]


def main() -> int:
    """Run the tests, print the table, and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tests", type=int, default=100, help="how many A/A tests to run (default: 100)")
    parser.add_argument("--model", type=Path, help="a model with a dynamic batch N (default: ResNet-18)")
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--backend", default="auto")
    parser.add_argument("--optimization-level", type=int, help="the effort of TensorRT's builder")
    parser.add_argument("--default-gates", action="store_true", help="gate only what is gated by default")
    parser.add_argument("--rebuild", action="store_true", help="build the engine again for each test")
    parser.add_argument("--max-time", type=float, default=1.0, help="seconds of sampling for each test (default: 1)")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="start no test after this many seconds")
    parser.add_argument("--cache-dir", help="the engine cache (default: a temporary folder)")
    parser.add_argument("--json", type=Path, help="write every test to this file")
    given = parser.parse_args()
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="pytest-trt-gates-") as name:
        folder = Path(name)
        model = given.model.absolute() if given.model else resnet18.save(folder / "resnet18.onnx")
        requested = {} if given.default_gates else {n: REQUESTED for n, one in FIGURES.items() if not one.gated}
        spec = EngineSpec(
            path=model.name,
            dims={"N": (1, 1, 128)},
            precision=given.precision,
            optimization_level=given.optimization_level,
        )
        engine = Engine(model.parent, spec, requested)
        settings = Settings(
            backend=given.backend, cache_dir=given.cache_dir or f"{name}/cache", max_time_s=given.max_time, rootdir=name
        )
        in_turn, stored = (
            open_baselines("baselines", name, revision=None, rootdir=folder) for name in ("turn", "stored")
        )
        with Bench(settings) as bench, Bench(dataclasses.replace(settings, no_cache=True)) as without_cache:
            first = measure(bench, engine, in_turn, paired=False).measurement
            assert first is not None
            in_turn.save(first, "new", force=True)
            # An engine that is not in the cache cannot run, and is not identical, so its stored figures are compared.
            stored.save(dataclasses.replace(first, engine_digest="0" * 64, plan_sha256="0" * 64), "new", force=True)
            environment, rows = first.environment, []
            for number in range(given.tests):
                if time.monotonic() - started > given.seconds:
                    print(f"no time was left after {number} tests")
                    break
                own, paired = without_cache if given.rebuild else bench, bool(number % 2)
                result = measure(own, engine, in_turn if paired else stored, paired=paired)
                rows.append(row(number, result, dict(first.figures), paired=paired))
                if given.json:
                    record = {"device": environment.device, "model": model.name, "rebuild": given.rebuild, "rows": rows}
                    given.json.write_text(json.dumps(record) + "\n", "utf-8")
    print(f"{model.name} on {environment.device}, {environment.backend} {environment.backend_version}")
    print(*table(rows), sep="\n")
    found = failures(rows)
    print(*found, f"{len(found)} gates failed", sep="\n")
    return 1 if found else 0


if __name__ == "__main__":
    raise SystemExit(main())
