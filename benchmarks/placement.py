"""Measure how the latency of a plan depends on its process: probe, load order, other memory, module loading.

    python benchmarks/placement.py OUT [--seconds 225] [--cache-dir PATH] [--models resnet18 encoder small]

It needs a GPU, TensorRT with its builder, and cuda-python. Engines and pipelines are opened by the code of the package,
some of them in its probes. Experiments are independent: a failure is recorded, and the next experiment runs. The most
informative ones run first; an experiment for which no time is left is listed as such. OUT/placement.json and
OUT/placement.md are written again after each case.
"""

from __future__ import annotations

import os

os.environ["OPENBLAS_NUM_THREADS"] = "1"  # This process forks, so it must have a single thread.

import argparse
import dataclasses
import itertools
import math
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "example_project"))

import isolated_engine
from isolated_engine import MIB, IsolatedEngine, child
from placement_report import Report, Row

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
    "encoder": ({"width": 512, "heads": 8, "depth": 3}, {"S": 128}),  # six layers with 38 MB of weights in FP16
    "resnet18": ({}, {}),  # 23 MB
    "small": ({}, {"S": 128}),  # 0.8 MB: the encoder of the example project
}


Cases = Iterator[tuple[str, Iterable[float], Any]]
"""The results of an experiment: for each case its name, its values, and details for the JSON file."""


class Study:
    """The plan of one model, and the experiments with it."""

    def __init__(self, name: str, engine: IsolatedEngine, server: ProbeServer, plan_bytes: int) -> None:
        self.name, self.engine, self.server = name, engine, server
        self.arena_bytes = max(256 * MIB, 4 * plan_bytes)
        self.fresh_ms: float | None = None

    def probes(self, count: int, server: ProbeServer | None = None) -> list[float]:
        """Return the latency in ms in each of `count` fresh probes, one after another, sampled as in a test."""
        latencies = []
        for _ in range(count):
            with ProbeSource([(server or self.server, self.engine.subject)]) as source:
                (side,) = sample(source, FixedTime(0.1), LIMITS).sides
            latencies.append(statistics.median(_medians(side[0].blocks)))
        return latencies

    def with_options(self, **options: Any) -> IsolatedEngine:
        """Return the engine with other options of its pipeline."""
        subject = dataclasses.replace(self.engine.subject, options=PipelineOptions(transfers=False, **options))
        return dataclasses.replace(self.engine, subject=subject)

    def children(self, count: int, work: Callable[[], Any], environment: Mapping[str, str] | None = None) -> list[Any]:
        """Return the results of `count` child processes, one after another."""
        return [child(work, environment) for _ in range(count)]

    def fresh_probes(self) -> Cases:
        """Measure five fresh probes, one after another."""
        found = self.probes(5)
        self.fresh_ms = self.fresh_ms or statistics.median(found)
        yield "fresh probes, one after another", found, None

    def pairs(self) -> Cases:
        """Measure pairs of probes alternately, and compare the second that was opened with the first."""
        ratios, sides = [], []
        with ProbeSource([(self.server, self.engine.subject)] * 2) as source:
            for turn in range(PAIRS):
                if turn:
                    source.renew()
                medians = [_medians(samples[0].blocks) for samples in sample(source, FixedTime(0.2), LIMITS).sides]
                if first_side(turn):
                    medians.reverse()
                log_ratios = [math.log(second / first) for first, second in zip(*medians, strict=False)]
                ratios.append(math.exp(stats.interval(log_ratios).center))
                sides.append([statistics.median(side) for side in medians])
        order = "new old old new ..."
        yield "two probes measured alternately: the second that was opened over the first", ratios, {"order": order}
        for name, values in zip(("first", "second"), zip(*sides, strict=True), strict=True):
            yield f"the {name} of them, in ms", values, None

    def own_memory(self) -> Cases:
        """Allocate memory in the process of the engine."""
        alone = self.engine.time_alone
        for size in (2 * GIB, 24 * GIB):
            name = f"{size // GIB} GiB"
            yield f"{name} allocated before loading", self.children(2, lambda size=size: alone(before=size)), None
            yield f"{name} allocated after loading", self.children(2, lambda size=size: alone(after=size)), None
        yield "2 GiB allocated and freed before", self.children(2, lambda: alone(freed=2 * GIB)), None

    def orders(self) -> Cases:
        """Load several engines into one process."""
        for count, number in ((2, 1), (4, 1), (4, 2)):
            found = child(lambda count=count: self.engine.time_copies(count))
            yield f"{count} engines in one process, by load order ({number})", found, None
        yield "loaded, timed, unloaded, again", child(lambda: self.engine.time_reloaded(4)), None

    def arenas(self) -> Cases:
        """Load the engine into several arenas of one process, each twice."""
        found = child(lambda: self.engine.time_in_arenas((0, 1, 2, 3, 0, 1, 2, 3), self.arena_bytes))
        times, copies = zip(*found, strict=True)
        details = {"copy_ms": copies, "again": [b / a - 1 for a, b in zip(times[:4], times[4:], strict=True)]}
        yield "arenas 0 1 2 3 0 1 2 3 of one process", times, details
        found = child(lambda: self.engine.time_in_arenas((0,) * 5, self.arena_bytes))
        yield "one arena, code loaded again", [ms for ms, _ in found], None

    def one_arena(self) -> Cases:
        """Load the engine into an arena that is allocated before anything else."""
        for size, alignment, name in (
            (self.arena_bytes, 256, ", packed"), (self.arena_bytes, 2 * MIB, ", aligned to 2 MiB"),
            (4 * GIB, 256, " of 4 GiB"),
        ):  # fmt: skip
            work = lambda size=size, alignment=alignment: self.engine.time_in_arena(size, alignment)  # noqa: E731
            yield f"arena allocated first{name}", self.children(3, work), None

    def others_memory(self) -> Cases:
        """Allocate memory in another process, or in the parent of the probes."""
        for size in (0, 2 * GIB, 24 * GIB):
            name = f"a CUDA context and {size // GIB} GiB" if size else "a CUDA context"
            with isolated_engine.bystander(self.engine.subject.device, size):
                yield f"another process with {name}", self.probes(2), None

            def in_parent(size: int = size) -> list[float]:
                buffer = isolated_engine.allocate(self.engine.subject.device, size)
                with ProbeServer(self.engine.backend) as server:
                    latencies = self.probes(2, server)
                del buffer
                return latencies

            yield f"the probes' parent with {name}", child(in_parent), None

    def loading(self) -> Cases:
        """Load the CUDA modules lazily or eagerly, with and without a CUDA graph."""
        for mode in ("LAZY", "EAGER"):
            for graph in (True, False):
                engine = self.with_options(cuda_graph=graph)
                found = self.children(2, engine.time_alone, {MODULE_LOADING: mode})
                yield f"{mode.lower()} loading, {'graph' if graph else 'enqueue'}", found, None

    def pads(self) -> Cases:
        """Allocate small blocks of memory before loading."""
        for size in PADS:
            found = self.children(2, lambda size=size: self.engine.time_alone(before=size))
            yield f"{size // MIB} MiB allocated before loading", found, None

    def cold(self) -> Cases:
        """Empty the L2 cache before each sample."""
        engine = self.with_options(cold_l2=True)
        yield "L2 flushed, fresh", self.children(2, engine.time_alone), None
        yield "L2 flushed, 2 GiB before loading", self.children(2, lambda: engine.time_alone(before=2 * GIB)), None

    def layers(self) -> Cases:
        """Compare the layers of a fresh engine with those after 2 GiB were allocated."""
        plain, padded = (child(lambda size=size: self.engine.time_layers(size)) for size in (0, 2 * GIB))
        slowest = sorted(plain, key=plain.__getitem__, reverse=True)
        details = {name: (plain[name], padded.get(name)) for name in slowest}
        yield "sum of layers: fresh, after 2 GiB", (sum(plain.values()), sum(padded.values())), details

    def fresh_later(self) -> Cases:
        """Measure fresh probes again."""
        yield "fresh probes, later", self.probes(3), None


EXPERIMENTS: Mapping[str, Callable[[Study], Cases]] = {
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
"""The experiments that also run with the small model. It fits into every cache, so its changes have other causes."""


def _medians(blocks: Iterable[Any]) -> list[float]:
    """Return the median of `gpu_ms` of each block, or of `ms` if there is no GPU."""
    return [statistics.median(block.times.get("gpu_ms", block.times["ms"])) for block in blocks]


def models(folder: Path, names: Iterable[str]) -> Iterator[tuple[str, Path, dict[str, int]]]:
    """Yield the name, the file and the dynamic dimensions of each model."""
    import onnx
    import resnet18
    from make_models import encoder

    for name in names:
        arguments, dims = MODELS[name]
        path = folder / f"{name}.onnx"
        if name == "resnet18":
            resnet18.save(path)
        else:
            onnx.save(encoder(**arguments), str(path))
        yield name, path, dims


def studies(options: argparse.Namespace, bench: Bench) -> Iterator[Study]:
    """Build the engine of each model, and yield its study."""
    for name, path, dims in models(options.out, options.models):
        sizes = {"N": 1, **dims}
        spec = EngineSpec(
            path=str(path),
            dims={dim: (size, size, size) for dim, size in sizes.items()},
            precision="fp16",
            **({} if options.backend == "onnxruntime" else {"optimization_level": options.optimization_level}),
        )
        declaration = Declaration(
            spec=spec, run=RunShape(batch=1, dims=dims), pipeline=PipelineOptions(transfers=False)
        )
        with Case(bench, f"benchmarks/placement.py::{name}", declaration, [options.out]) as case:
            plan_bytes = case.engine.plan.stat().st_size
            print(f"{name}: plan of {plan_bytes / 1e6:.1f} MB, built {case.engine.built}", flush=True)
            engine = IsolatedEngine(case.backend, case.subject(case.engine))
        yield Study(name, engine, bench.server(case.backend), plan_bytes)


def ask(study: Study, name: str, report: Report, state: Callable[[], Mapping[str, float]]) -> None:
    """Run one experiment and report its cases, or its error. `state` reads the state of the GPU after each case."""
    since = time.monotonic()
    try:
        for case, values, details in EXPERIMENTS[name](study):
            seconds, since = time.monotonic() - since, time.monotonic()
            report.add(Row(study.name, name, case, tuple(values), "ratio" if "over" in case else "ms",
                           study.fresh_ms, details=details, state=state(), seconds=seconds))  # fmt: skip
    except Exception as error:  # noqa: BLE001 - recorded, and the next experiment runs
        report.add(Row(study.name, name, "", error=f"{type(error).__name__}: {error}"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="a folder for placement.json and placement.md")
    parser.add_argument(
        "--seconds", type=float, default=225.0, help="start no experiment after this many seconds (225)"
    )
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS), help="the models (all)")
    parser.add_argument(
        "--experiments", nargs="+", choices=EXPERIMENTS, default=list(EXPERIMENTS), help="the experiments (all)"
    )
    parser.add_argument("--optimization-level", type=int, default=2, help="the optimisation level of the builds (2)")
    parser.add_argument("--backend", default="tensorrt", help="the backend (tensorrt)")
    parser.add_argument("--cache-dir", help="the engine cache (default: OUT/cache)")
    options = parser.parse_args()
    since = time.monotonic()
    options.out = options.out.resolve()
    options.out.mkdir(parents=True, exist_ok=True)
    settings = Settings(
        backend=options.backend, cache_dir=options.cache_dir or str(options.out / "cache"), rootdir=str(options.out)
    )
    with Bench(settings) as bench:
        environment = bench.environment(options.backend)
        about = {
            "device": environment.device,
            "driver": environment.driver,
            options.backend: environment.backend_version,
            "Python": environment.python,
            MODULE_LOADING: os.environ.get(MODULE_LOADING, "not set"),
        }
        report = Report(options.out, about, EXPERIMENTS)
        backend(options.backend)  # Import the package before anything forks.
        all_studies = list(studies(options, bench))
        print(f"engines ready after {time.monotonic() - since:.0f} s", flush=True)
        gpu = bench.gpu(environment)
        with bench.lock(environment):
            for name, study in itertools.product(options.experiments, all_studies):
                if study.name != "small" or name in FOR_ALL:
                    if time.monotonic() - since > options.seconds:
                        report.add(Row(study.name, name, "", error="no time was left"))
                    else:
                        ask(study, name, report, gpu.read if gpu else dict)
    print(f"done in {time.monotonic() - since:.0f} s", flush=True)


if __name__ == "__main__":
    main()
