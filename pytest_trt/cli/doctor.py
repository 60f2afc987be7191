"""`pytest-trt doctor`: what is installed, what runs here, and what would make figures unstable. Sets nothing."""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import platform
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pytest_trt.cli.project import read_settings
from pytest_trt.core.backends import BACKENDS
from pytest_trt.core.records import Environment
from pytest_trt.engine.backends.installed import gpu_is_here, installed
from pytest_trt.errors import TrtError
from pytest_trt.spec.engine_spec import EngineSpec
from pytest_trt.trial.bench import Bench

PACKAGES = (
    "pytest", "pytest-xdist", "pytest-benchmark", "numpy", "onnx", "onnxruntime", "tensorrt", "tensorrt-rtx",
    "tensorrt-lean", "tensorrt-dispatch", "cuda-python", "nvidia-ml-py", "nvidia-modelopt", "nvtx", "fsspec",
)  # fmt: skip


def add_command(subparsers: Any) -> None:
    text = "say what is installed, what runs here, and what would make figures unstable"
    parser = subparsers.add_parser("doctor", help=text, description=text)
    parser.add_argument("--device", default="0", metavar="N|UUID", help="which GPU (0)")
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    """0 where engines can be run here, 1 where they cannot."""
    settings = read_settings({}, {"device": ("--device", args.device)}, Path.cwd())
    ran = False
    _title("installed")
    for line in _packages():
        print(f"  {line}")
    with Bench(settings) as bench:
        _title("backends")
        for name in (name for name, info in BACKENDS.items() if info.kind != "any"):
            seen = _try(bench, name)
            if isinstance(seen, Environment):
                ran = True
                print(f"  {name}: works on {seen.device} ({_facts(seen)})")
            else:
                print(f"  {name}: {seen}")
        _title("would be used")
        try:
            chosen = bench.backend_name(EngineSpec())
            print(f"  {chosen}, since --trt-backend=auto takes TensorRT where a GPU and TensorRT are")
        except TrtError as error:
            print(f"  nothing: {error}")
            return 1
        _title("would make figures unstable")
        found = list(_unstable(bench, chosen))
        for line in found or ["nothing that can be seen from here"]:
            print(f"  {line}")
    return 0 if ran else 1


def _title(text: str) -> None:
    print(f"{text}:")


def _packages() -> Iterator[str]:
    from pytest_trt.core.version import __version__

    yield f"pytest-trt {__version__}, Python {platform.python_version()} ({sys.executable})"
    yield platform.platform(terse=True)
    for name in PACKAGES:
        try:
            yield f"{name} {importlib.metadata.version(name)}"
        except importlib.metadata.PackageNotFoundError:
            continue


def _try(bench: Bench, name: str) -> Environment | str:
    if not installed(name):
        return "not installed"
    try:
        return bench.environment(name)
    except TrtError as error:
        return str(error)


def _facts(seen: Environment) -> str:
    facts = [f"version {seen.backend_version}"]
    facts += [f"compute capability {seen.compute_capability}"] if seen.compute_capability else []
    facts += [f"driver {seen.driver}"] if seen.driver else []
    facts += [f"CUDA {seen.cuda}"] if seen.cuda else []
    facts += [f"{seen.threads} threads"] if seen.threads else []
    return ", ".join((*facts, *seen.notes))


def _unstable(bench: Bench, chosen: str) -> Iterator[str]:
    """What an administrator could do about noise."""
    load, cpus = os.getloadavg()[0], os.cpu_count() or 1
    if load > cpus / 2:
        yield f"the host is busy: load {load:.1f} on {cpus} CPUs"
    if not gpu_is_here():
        yield "no GPU: figures of a CPU differ by some 10 % from process to process, and judge only large changes"
        return
    from pytest_trt.measure.gpu_state import advice, decode_reasons

    try:
        gpu = bench.gpu(bench.environment(chosen))
    except TrtError as error:
        yield str(error)
        return
    if gpu is None:
        return
    yield from advice(gpu.facts())
    for other in gpu.other_processes(()):
        yield f"on the GPU too: {other}"
    state = gpu.read()
    for reason in decode_reasons(state.get("reasons", 0)):
        if reason != "idle":
            yield f"clocks are held down now: {reason}"
    if state.get("temperature_c", 0) >= 80:
        yield f"the GPU is at {state['temperature_c']:.0f} C: it will slow down under load"
