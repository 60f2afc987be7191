"""Measure the steps of a decoder and whole generations, with the state on the device and with it copied.

    python benchmarks/decoder_steps.py FOLDER [--json steps.json] [--backend tensorrt] [--level 1] [--layers 8]

The models are made by benchmarks/decoders.py, by default with eight layers of 16 heads of 64. The script writes them
and a test file to FOLDER, builds the engines at the same time, and then runs the tests one after another.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import onnx
from decoders import decoder

TESTS = """
import pytest

STATE = {{"present_*": "past_*"}}
BUILD = dict(precision="{precision}", optimization_level={level})
GROWING = dict(dims={{"P": (0, {fill}, {capacity}), "S": (1, 1, {fill})}}, **BUILD)
growing = pytest.mark.trt_engine("growing.onnx", state=STATE, **GROWING)
fixed = pytest.mark.trt_engine("fixed.onnx", state=STATE, write_index="position", dims={{"S": (1, 1, {fill})}}, **BUILD)


@pytest.mark.trt_engine("growing.onnx", **GROWING)
@pytest.mark.trt_matrix(P=[{fill}])
def test_copied(trt_runner):
    trt_runner.measure()


@pytest.mark.trt_engine("prefill.onnx", dims={{"S": (1, {fill}, {fill})}}, **BUILD)
def test_prompt(trt_runner):
    trt_runner.measure()


@growing
@pytest.mark.trt_matrix(P=[0, 32, {fill}, {capacity}])
def test_growing(trt_runner):
    trt_runner.measure()


@fixed
@pytest.mark.trt_matrix(position=[0, {fill}, {capacity} - 1])
def test_fixed(trt_runner):
    trt_runner.measure()


@growing
@pytest.mark.trt_matrix(P=[{fill}])
@pytest.mark.trt_accuracy()
@pytest.mark.trt_generate(prompt={fill}, steps={steps})
def test_generation(trt_runner):
    trt_runner.measure()


@growing
@pytest.mark.trt_matrix(P=[{fill}])
@pytest.mark.trt_generate(prompt={fill}, steps={steps}, prefill="prefill.onnx")
def test_generation_with_prefill(trt_runner):
    trt_runner.measure()


@fixed
@pytest.mark.trt_matrix(position=[{fill}])
@pytest.mark.trt_accuracy()
@pytest.mark.trt_generate(prompt={fill}, steps={steps})
def test_generation_of_fixed(trt_runner):
    trt_runner.measure()
"""
FIGURES = (
    "ms", "gpu_ms", "h2d_ms", "d2h_ms", "host_ms", "throughput", "io_mb", "memory_mb", "ttft_ms", "itl_ms",
    "itl_p99_ms", "tokens_s", "kv_mb",
)  # fmt: skip


def run(folder: Path, *options: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_decoders.py", *options]
    return subprocess.Popen(command, cwd=folder)


def main() -> None:
    """Make the models, build the engines, run the tests, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--json", type=Path, help="where to write the report")
    parser.add_argument("--backend", default="tensorrt")
    parser.add_argument("--precision", default="fp16")
    for name, default in (
        ("level", 1), ("layers", 8), ("heads", 16), ("size", 64), ("vocabulary", 32000), ("fill", 512),
        ("capacity", 2048), ("steps", 128),
    ):  # fmt: skip
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--part", choices=("all", "build", "run"), default="all", help="build and run apart")
    parser.add_argument("--select", default="test", help="run only tests whose names contain this text")
    arguments = parser.parse_args()
    if arguments.part != "run":
        build(arguments)
    if arguments.part != "build":
        measure(arguments.folder, arguments.json or arguments.folder / "steps.json", arguments.select)


def build(arguments: argparse.Namespace) -> None:
    """Make the models and the tests, and build all engines at the same time."""
    folder = arguments.folder
    folder.mkdir(parents=True, exist_ok=True)
    sizes = {name: getattr(arguments, name) for name in ("layers", "heads", "size", "vocabulary", "capacity")}
    for name, cache in (("growing", "growing"), ("fixed", "fixed"), ("prefill", "none")):
        onnx.save(decoder(cache=cache, **sizes), str(folder / f"{name}.onnx"))  # type: ignore[arg-type]
    (folder / "test_decoders.py").write_text(TESTS.format(**vars(arguments)))
    settings = ("trt_cache_dir = engines", "trt_wait = 5", f"trt_backend = {arguments.backend}")
    (folder / "pytest.ini").write_text("\n".join(("[pytest]", *settings)))
    started = time.perf_counter()
    builds = [
        run(folder, "--trt-build-only", f"--trt-lock-dir=locks-{test}", "-k", test)  # one lock would let them wait
        for test in ("test_growing", "test_fixed", "test_prompt")
    ]
    print("builds ended with", [process.wait() for process in builds], f"after {time.perf_counter() - started:.0f} s")


def measure(folder: Path, report: Path, select: str) -> None:
    """Run the tests whose names contain `select`, and print their figures."""
    report = report.resolve()
    print("tests ended with", run(folder, "-v", "-k", select, f"--trt-report=json:{report}").wait())
    print(" | ".join(("test", *FIGURES)))
    for result in json.loads(report.read_text())["results"]:
        figures = (result.get("measurement") or {}).get("figures", {})
        cells = [f"{figures[name]['value']:.4g}" if name in figures else "-" for name in FIGURES]
        print(" | ".join((result["node_id"].partition("::")[2], *cells)))
        for verdict in result["verdicts"]:
            print("   ", verdict["status"], verdict["figure"], verdict["text"])
        proof = (result.get("measurement") or {}).get("proof", {})
        print("   ", {name: proof[name] for name in ("graph", "state", "depth", "step by tokens") if name in proof})


if __name__ == "__main__":
    main()
