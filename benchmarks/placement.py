"""How much one plan's latency depends on the process it runs in: probes, load orders, other memory, module loading.

    python benchmarks/placement.py OUT [--seconds 225] [--cache-dir PATH] [--models resnet18 encoder small]

Needs a GPU, TensorRT with its builder and cuda-python; opens engines and pipelines by the package's own code, and
isolated ones in its own probes. Each experiment stands for itself: what fails is recorded, and the next one goes on.
OUT/placement.json and OUT/placement.md are written anew after each. Experiments come in the order of what they tell;
those for which no time is left are named.
"""

from __future__ import annotations

import os

os.environ["OPENBLAS_NUM_THREADS"] = "1"  # this process forks, and must have one thread

import argparse
import dataclasses
import itertools
import json
import math
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "example_project"))

import seats
from seats import MIB, Seat, child

from pytest_trt.core import stats
from pytest_trt.core.noise_levels import first_side
from pytest_trt.engine.backends.base import backend
from pytest_trt.measure.probe.server import ProbeServer
from pytest_trt.measure.probe_source import ProbeSource
from pytest_trt.measure.sampler import Limits, sample
from pytest_trt.measure.stopping import FixedTime
from pytest_trt.spec.declaration import Declaration, PipelineOptions, RunShape
from pytest_trt.spec.engine_spec import EngineSpec
from pytest_trt.spec.settings import Settings
from pytest_trt.trial.bench import Bench
from pytest_trt.trial.case import Case

GIB = 1024 * MIB
LIMITS = Limits(min_time_s=0.1, max_time_s=1.0, warm_up_s=3.0)
PAIRS = 6
PADS = tuple(size * MIB for size in (1, 4, 16, 64))
MODULE_LOADING = "CUDA_MODULE_LOADING"

MODELS: Mapping[str, tuple[dict[str, Any], dict[str, int]]] = {
    "encoder": ({"width": 512, "heads": 8, "depth": 3}, {"S": 128}),  # 38 MB of weights in FP16, 6 layers
    "resnet18": ({}, {}),  # 23 MB
    "small": ({}, {"S": 128}),  # 0.8 MB: the encoder of example_project
}


@dataclasses.dataclass(frozen=True)
class Row:
    """What one way of seating an engine gave: `values` are ms of one engine each, or ratios. `fresh_ms` is the model's
    own in a fresh probe, the median over all of the first experiment."""

    model: str
    experiment: str
    case: str
    values: tuple[float, ...] = ()
    unit: str = "ms"
    fresh_ms: float | None = None
    error: str = ""
    details: Any = None
    state: Mapping[str, float] = dataclasses.field(default_factory=dict)
    seconds: float = 0.0

    @property
    def apart(self) -> float:
        """How far the values lie apart, as a share."""
        return max(self.values) / min(self.values) - 1

    @property
    def against_fresh(self) -> float | None:
        return statistics.median(self.values) / self.fresh_ms - 1 if self.fresh_ms and self.unit == "ms" else None


Found = Iterator[tuple[str, Iterable[float], Any]]
"""What an experiment yields: a case, its values, and details for the JSON."""


class Study:
    """One model's plan, and the experiments on it."""

    def __init__(self, name: str, seat: Seat, server: ProbeServer, plan_bytes: int) -> None:
        self.name, self.seat, self.server = name, seat, server
        self.arena_bytes = max(256 * MIB, 4 * plan_bytes)
        self.fresh_ms: float | None = None

    def probes(self, count: int, server: ProbeServer | None = None) -> list[float]:
        """ms of so many fresh probes, one after another, sampled as a test's are."""
        found = []
        for _ in range(count):
            with ProbeSource([(server or self.server, self.seat.subject)]) as source:
                (side,) = sample(source, FixedTime(0.1), LIMITS).sides
            found.append(statistics.median(_medians(side[0].blocks)))
        return found

    def with_options(self, **options: Any) -> Seat:
        subject = dataclasses.replace(self.seat.subject, options=PipelineOptions(transfers=False, **options))
        return dataclasses.replace(self.seat, subject=subject)

    def children(self, count: int, work: Callable[[], Any], environment: Mapping[str, str] | None = None) -> list[Any]:
        return [child(work, environment) for _ in range(count)]

    def fresh_probes(self) -> Found:
        found = self.probes(5)
        self.fresh_ms = self.fresh_ms or statistics.median(found)
        yield "fresh probes, one after another", found, None

    def pairs(self) -> Found:
        ratios, sides = [], []
        with ProbeSource([(self.server, self.seat.subject)] * 2) as source:
            for turn in range(PAIRS):
                if turn:
                    source.renew()
                taken = [_medians(samples[0].blocks) for samples in sample(source, FixedTime(0.2), LIMITS).sides]
                if first_side(turn):
                    taken.reverse()
                ratios.append(math.exp(stats.interval([math.log(b / a) for a, b in zip(*taken, strict=False)]).center))
                sides.append([statistics.median(medians) for medians in taken])
        order = "new old old new ..."
        yield "two probes that take turns, the second that was opened over the first", ratios, {"order": order}
        for name, values in zip(("first", "second"), zip(*sides, strict=True), strict=True):
            yield f"the {name} of them, in ms", values, None

    def own_memory(self) -> Found:
        alone = self.seat.alone
        for size in (2 * GIB, 24 * GIB):
            name = f"{size // GIB} GiB"
            yield f"{name} allocated before loading", self.children(2, lambda size=size: alone(before=size)), None
            yield f"{name} allocated after loading", self.children(2, lambda size=size: alone(after=size)), None
        yield "2 GiB allocated and freed before", self.children(2, lambda: alone(freed=2 * GIB)), None

    def orders(self) -> Found:
        for count, number in ((2, 1), (4, 1), (4, 2)):
            found = child(lambda count=count: self.seat.crowd(count))
            yield f"{count} engines in one process, by load order ({number})", found, None
        yield "loaded, timed, unloaded, again", child(lambda: self.seat.reloaded(4)), None

    def arenas(self) -> Found:
        found = child(lambda: self.seat.in_arenas((0, 1, 2, 3, 0, 1, 2, 3), self.arena_bytes))
        times, copies = zip(*found, strict=True)
        details = {"copy_ms": copies, "again": [b / a - 1 for a, b in zip(times[:4], times[4:], strict=True)]}
        yield "arenas 0 1 2 3 0 1 2 3 of one process", times, details
        found = child(lambda: self.seat.in_arenas((0,) * 5, self.arena_bytes))
        yield "one arena, code loaded anew", [ms for ms, _ in found], None

    def one_arena(self) -> Found:
        for size, alignment, name in (
            (self.arena_bytes, 256, ", packed"), (self.arena_bytes, 2 * MIB, ", aligned to 2 MiB"),
            (4 * GIB, 256, " of 4 GiB"),
        ):  # fmt: skip
            work = lambda size=size, alignment=alignment: self.seat.in_arena(size, alignment)  # noqa: E731
            yield f"arena allocated first{name}", self.children(3, work), None

    def others_memory(self) -> Found:
        for size in (0, 2 * GIB, 24 * GIB):
            name = f"a CUDA context and {size // GIB} GiB" if size else "a CUDA context"
            with seats.bystander(self.seat.subject.device, size):
                yield f"another process with {name}", self.probes(2), None

            def in_parent(size: int = size) -> list[float]:
                kept = seats.occupied(self.seat.subject.device, size)
                with ProbeServer(self.seat.backend) as server:
                    found = self.probes(2, server)
                del kept
                return found

            yield f"the probes' parent with {name}", child(in_parent), None

    def loading(self) -> Found:
        for mode in ("LAZY", "EAGER"):
            for graph in (True, False):
                seat = self.with_options(cuda_graph=graph)
                found = self.children(2, seat.alone, {MODULE_LOADING: mode})
                yield f"{mode.lower()} loading, {'graph' if graph else 'enqueue'}", found, None

    def pads(self) -> Found:
        for size in PADS:
            found = self.children(2, lambda size=size: self.seat.alone(before=size))
            yield f"{size // MIB} MiB allocated before loading", found, None

    def cold(self) -> Found:
        seat = self.with_options(cold_l2=True)
        yield "L2 flushed, fresh", self.children(2, seat.alone), None
        yield "L2 flushed, 2 GiB before loading", self.children(2, lambda: seat.alone(before=2 * GIB)), None

    def layers(self) -> Found:
        plain, padded = (child(lambda size=size: self.seat.layers(size)) for size in (0, 2 * GIB))
        slowest = sorted(plain, key=plain.__getitem__, reverse=True)
        details = {name: (plain[name], padded.get(name)) for name in slowest}
        yield "sum of layers: fresh, after 2 GiB", (sum(plain.values()), sum(padded.values())), details

    def fresh_later(self) -> Found:
        yield "fresh probes, later", self.probes(3), None


EXPERIMENTS: Mapping[str, Callable[[Study], Found]] = {
    "between probes": Study.fresh_probes,
    "pairs of probes": Study.pairs,
    "its own process's memory": Study.own_memory,
    "load order": Study.orders,
    "memory kept, code anew": Study.arenas,
    "memory of others": Study.others_memory,
    "module loading": Study.loading,
    "an arena": Study.one_arena,
    "between probes, later": Study.fresh_later,
    "layers": Study.layers,
    "cold L2": Study.cold,
    "pads": Study.pads,
}
FOR_ALL = ("between probes", "its own process's memory", "load order", "between probes, later")
"""What is asked of the small model too: it fits into any cache, and shows what does not come from there."""


def _medians(blocks: Iterable[Any]) -> list[float]:
    return [statistics.median(block.times.get("gpu_ms", block.times["ms"])) for block in blocks]


class Report:
    """The rows so far, on disk after each."""

    def __init__(self, folder: Path, about: Mapping[str, Any]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder, self._about = folder, about
        self.rows: list[Row] = []

    def add(self, row: Row) -> None:
        self.rows.append(row)
        print(self._line(row), flush=True)
        found = {"about": self._about, "rows": [dataclasses.asdict(row) for row in self.rows]}
        (self._folder / "placement.json").write_text(json.dumps(found, indent=1) + "\n", "utf-8")
        (self._folder / "placement.md").write_text("\n".join(self._markdown()) + "\n", "utf-8")

    def _line(self, row: Row) -> str:
        if row.error:
            return f"| {row.model} | {row.case or row.experiment} | failed: {' '.join(row.error.split())} | | | |"
        shown = f"{statistics.median(row.values):.4f}"
        fresh = "" if row.against_fresh is None else f"{row.against_fresh:+.2%}"
        values = " ".join(f"{value:.4f}" for value in row.values)
        return f"| {row.model} | {row.case} | {shown} | {fresh} | {row.apart:.2%} | {values} |"

    def _markdown(self) -> Iterator[str]:
        yield "# One plan in many places\n"
        yield "; ".join(f"{name} {value}" for name, value in self._about.items()) + ".\n"
        yield "ms is the median of block medians of `gpu_ms` (or of their ratios). Apart: the largest value over the"
        yield "smallest. Against fresh: the median over that of the first row's fresh probes.\n"
        for name in EXPERIMENTS:
            if rows := [row for row in self.rows if row.experiment == name]:
                yield f"## {name[0].upper()}{name[1:]}\n"
                yield "| model | where | median | against fresh | apart | values |\n|---|---|---|---|---|---|"
                yield from map(self._line, rows)
                yield ""
        for row in self.rows:
            if row.experiment == "layers" and row.details:
                yield f"The slowest layers of {row.model}: ms fresh, ms after 2 GiB, ratio.\n"
                for layer, (plain, padded) in list(row.details.items())[:8]:
                    yield f"- `{layer[:60]}`: {plain:.4f}, {padded:.4f}, {padded / plain - 1:+.1%}" if padded else layer
                yield ""
            if row.details and "copy_ms" in row.details:
                times, copies = row.values, row.details["copy_ms"]
                related = statistics.correlation(times, copies) if len(set(copies)) > 1 and row.apart else math.nan
                again = ", ".join(f"{value:+.2%}" for value in row.details["again"])
                yield f"{row.model}, {row.case}: the second time in the same arena {again}; correlation of its latency"
                yield f"with the time to copy the arena's content: {related:+.2f}.\n"


def models(folder: Path, names: Iterable[str]) -> Iterator[tuple[str, Path, dict[str, int]]]:
    import onnx
    import resnet18
    from make_models import encoder

    for name in names:
        made, dims = MODELS[name]
        path = folder / f"{name}.onnx"
        if name == "resnet18":
            resnet18.save(path)
        else:
            onnx.save(encoder(**made), str(path))
        yield name, path, dims


def studied(given: argparse.Namespace, bench: Bench) -> Iterator[Study]:
    for name, path, dims in models(given.out, given.models):
        sizes = {"N": 1, **dims}
        spec = EngineSpec(
            path=str(path),
            dims={dim: (size, size, size) for dim, size in sizes.items()},
            precision="fp16",
            **({} if given.backend == "onnxruntime" else {"optimization_level": given.optimization_level}),
        )
        declaration = Declaration(
            spec=spec, run=RunShape(batch=1, dims=dims), pipeline=PipelineOptions(transfers=False)
        )
        with Case(bench, f"benchmarks/placement.py::{name}", declaration, [given.out]) as case:
            engine = case.engine
            print(f"{name}: plan of {engine.plan.stat().st_size / 1e6:.1f} MB, built {engine.built}", flush=True)
            seat = Seat(case.backend, case.subject(engine))
        yield Study(name, seat, bench.server(case.backend), engine.plan.stat().st_size)


def ask(study: Study, name: str, report: Report, state: Callable[[], Mapping[str, float]]) -> None:
    """One experiment, whatever comes of it; `state` reads the GPU's after each case."""
    since = time.monotonic()
    try:
        for case, values, details in EXPERIMENTS[name](study):
            took, since = time.monotonic() - since, time.monotonic()
            report.add(Row(study.name, name, case, tuple(values), "ratio" if "over" in case else "ms",
                           study.fresh_ms, details=details, state=state(), seconds=took))  # fmt: skip
    except Exception as error:  # noqa: BLE001 - recorded, and the next experiment goes on
        report.add(Row(study.name, name, "", error=f"{type(error).__name__}: {error}"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="a folder for placement.json and placement.md")
    parser.add_argument("--seconds", type=float, default=225.0, help="no experiment begins later than this")
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--experiments", nargs="+", choices=EXPERIMENTS, default=list(EXPERIMENTS))
    parser.add_argument("--optimization-level", type=int, default=2, help="of the builds (2)")
    parser.add_argument("--backend", default="tensorrt")
    parser.add_argument("--cache-dir", help="the engine cache; default: one in OUT")
    given = parser.parse_args()
    since = time.monotonic()
    given.out = given.out.resolve()
    given.out.mkdir(parents=True, exist_ok=True)
    settings = Settings(
        backend=given.backend, cache_dir=given.cache_dir or str(given.out / "cache"), rootdir=str(given.out)
    )
    with Bench(settings) as bench:
        seen = bench.environment(given.backend)
        about = {"device": seen.device, "driver": seen.driver, given.backend: seen.backend_version,
                 "Python": seen.python, MODULE_LOADING: os.environ.get(MODULE_LOADING, "not set")}  # fmt: skip
        report = Report(given.out, about)
        backend(given.backend)  # imports its package before anything forks
        studies = list(studied(given, bench))
        print(f"engines ready after {time.monotonic() - since:.0f} s", flush=True)
        gpu = bench.gpu(seen)
        with bench.lock(seen):
            for name, study in itertools.product(given.experiments, studies):
                if study.name != "small" or name in FOR_ALL:
                    if time.monotonic() - since > given.seconds:
                        report.add(Row(study.name, name, "", error="no time was left"))
                    else:
                        ask(study, name, report, gpu.read if gpu else dict)
    print(f"done in {time.monotonic() - since:.0f} s", flush=True)


if __name__ == "__main__":
    main()
