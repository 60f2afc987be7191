"""Profile the steps of generations in this process: what the host does while it generates.

    python benchmarks/generation_profile.py FOLDER [--prompt 512] [--steps 128]

FOLDER is that of benchmarks/decoder_steps.py, whose engines must be built. For each kind of cache, the script prints
the median time of a step, and the functions that take the most time of the host.
"""

from __future__ import annotations

import argparse
import cProfile
import pstats
import statistics
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from pytest_trt.engine.backends.base import backend
from pytest_trt.pipeline.generation import generate
from pytest_trt.pipeline.open import open_steps
from pytest_trt.spec.declaration import Declaration, PipelineOptions, RunShape
from pytest_trt.spec.engine_spec import EngineSpec
from pytest_trt.spec.settings import Settings
from pytest_trt.trial.bench import Bench
from pytest_trt.trial.case import Case

STATE = {"present_*": "past_*"}


def main() -> None:
    """Profile a growing and a fixed cache."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--prompt", type=int, default=512)
    parser.add_argument("--steps", type=int, default=128)
    parser.add_argument("--capacity", type=int, default=2048)
    parser.add_argument("--backend", default="tensorrt")
    parser.add_argument("--precision", default="fp16")
    arguments = parser.parse_args()
    most = arguments.prompt
    for kind, dims, index in (
        ("growing", {"P": (0, most, arguments.capacity), "S": (1, 1, most)}, {}),
        ("fixed", {"S": (1, 1, most)}, {"position": -2}),
    ):
        spec = EngineSpec(
            path=f"{kind}.onnx", state=STATE, write_index=index, dims=dims, precision=arguments.precision,
            optimization_level=1, backend=arguments.backend,
        )  # fmt: skip
        settings = Settings(cache_dir=str(arguments.folder / "engines"), wait_s=0, rootdir=str(arguments.folder))
        run = RunShape(dims={"P": most} if kind == "growing" else {})
        with Bench(settings) as bench, Case(bench, kind, Declaration(spec=spec, run=run), [arguments.folder]) as case:
            planned, plan, loaded = case.plan_generation(most, arguments.steps, None), case.engine.plan, case.spec
        profile(kind, arguments.backend, plan, loaded, planned)


def profile(kind: str, name: str, plan: Path, spec: EngineSpec, planned: object) -> None:
    """Print where the time of a generation goes."""
    job, arrays = planned.job, planned.arrays  # type: ignore[attr-defined]
    engine = backend(name).load(plan, "0", spec)
    steps = open_steps(engine, engine, job.reading, job.decoding, spec.state, PipelineOptions())

    def run() -> tuple[float, ...]:
        return generate(
            steps, arrays[job.reading.roles.tokens], job.reading, job.decoding, {}, keep_logits=False
        ).step_ms

    for _ in range(3):
        run()
    times = run()
    print(f"{kind}: {statistics.median(times):.4f} ms a step, {min(times):.4f} to {max(times):.4f}")
    with cProfile.Profile() as profiler:
        run()
    pstats.Stats(profiler).sort_stats("tottime").print_stats(18)
    steps.close()
    engine.close()


if __name__ == "__main__":
    main()
