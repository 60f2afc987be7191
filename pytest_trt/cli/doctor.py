"""`pytest-trt doctor`: report what is installed, which backends work, and what makes figures noisy."""

from __future__ import annotations

import argparse
import dataclasses
import importlib.metadata
import platform
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from pytest_trt.cli.arguments import add_host_argument
from pytest_trt.cli.exit_status import FAILED
from pytest_trt.cli.project import Project
from pytest_trt.cli.terminal import show
from pytest_trt.core.backends import BACKENDS
from pytest_trt.core.clock_reasons import decode_reasons
from pytest_trt.core.records import Environment
from pytest_trt.core.version import __version__
from pytest_trt.errors import TrtError
from pytest_trt.measure.gpu_state import advice
from pytest_trt.spec.engine_spec import EngineSpec
from pytest_trt.trial.bench import Bench
from pytest_trt.trial.energy import describe_energy

PACKAGES = (
    "pytest", "pytest-xdist", "pytest-benchmark", "numpy", "onnx", "onnxruntime", "onnxruntime-gpu", "tensorrt",
    "tensorrt-rtx", "tensorrt-lean", "tensorrt-dispatch", "cuda-python", "nvidia-ml-py", "nvidia-modelopt", "nvtx",
    "fsspec",
)  # fmt: skip
"""The packages whose versions are reported."""

CHECKED = tuple(name for name, info in BACKENDS.items() if info.kind != "any")
"""The backends that a test may name."""

HOT_C = 80
"""The temperature of a GPU from which it is likely to reduce its clocks under load, in degrees Celsius."""

_DESCRIPTION = """Report what is installed, which backends work on this machine, which one the tests use by default, and
what makes their figures noisy. Nothing is changed."""
_EPILOG = "Exit status: 0 if engines can be run here, 1 if not, 2 for a usage error."


def add_command(subparsers: Any) -> None:
    """Add the command's parser to `subparsers`."""
    parser = subparsers.add_parser(
        "doctor",
        help="report what is installed, what works here, and what makes figures noisy",
        description=_DESCRIPTION,
        epilog=_EPILOG,
    )
    parser.add_argument(
        "--device",
        default="0",
        metavar="N|UUID|WORDS",
        help="the GPU, by number, UUID or words of its name (default: 0)",
    )
    add_host_argument(parser)
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    settings = Project(Path.cwd()).host_settings({"device": ("--device", args.device), "hosts": ("--host", args.host)})
    _print_section("installed", _packages())
    works = True
    for address in settings.hosts or (None,):
        if address is not None:
            show(f"host {address.name}:")
        with Bench(dataclasses.replace(settings, hosts=() if address is None else (address,))) as bench:
            works = _examine(bench) and works
    return 0 if works else FAILED


def _examine(bench: Bench) -> bool:
    """Report which backends work on a host, and what makes figures noisy there; return whether any works."""
    if problems := bench.elsewhere.reach():
        show(f"  {problems[0]}")
        return False
    show("backends:")
    works = False
    for name in CHECKED:
        found = _environment(bench, name)
        works = works or isinstance(found, Environment)
        show(f"  {name}: {_describe(found)}")
    try:
        default = bench.backend_name(EngineSpec())
    except TrtError as error:
        _print_section("default backend", [f"none: {error}"])
        return False
    reason = "--trt-backend=auto uses TensorRT if it is installed and there is a GPU, then ONNX Runtime"
    _print_section("default backend", [f"{default} ({reason})"])
    _print_section("energy of an inference", [_energy(bench, default)])
    _print_section("sources of noise", list(_noise(bench, default)) or ["none found"])
    return works


def _print_section(title: str, lines: Iterable[str]) -> None:
    show(f"{title}:")
    for line in lines:
        show(f"  {line}")


def _packages() -> Iterator[str]:
    yield f"pytest-trt {__version__}, Python {platform.python_version()} ({sys.executable})"
    yield platform.platform(terse=True)
    for name in PACKAGES:
        try:
            yield f"{name} {importlib.metadata.version(name)}"
        except importlib.metadata.PackageNotFoundError:
            continue


def _environment(bench: Bench, name: str) -> Environment | str:
    """Return the environment of a backend, or why it cannot be used."""
    try:
        if not bench.host().has_package(name):
            return "not installed"
        return bench.environment(name)
    except TrtError as error:
        return str(error)


def _describe(found: Environment | str) -> str:
    if isinstance(found, str):
        return found
    facts = [f"version {found.backend_version}"]
    facts += [f"compute capability {found.compute_capability}"] if found.compute_capability else []
    facts += [f"driver {found.driver}"] if found.driver else []
    facts += [f"CUDA {found.cuda}"] if found.cuda else []
    facts += [f"{found.threads} threads"] if found.threads else []
    return f"works on {found.device} ({', '.join((*facts, *found.notes))})"


def _energy(bench: Bench, backend: str) -> str:
    """Return how the energy of an inference can be measured with the backend, or why it cannot."""
    try:
        environment = bench.environment(backend)
        meter = bench.host(environment).energy_meter(environment.device_uuid)
        return describe_energy(bench.gpu(environment), meter)
    except TrtError as error:
        return f"cannot be measured: {error}"


def _noise(bench: Bench, backend: str) -> Iterator[str]:
    """Yield what makes figures noisy and what an administrator can do about it."""
    load, cpus = bench.host().cpu.read().get("load_1min", 0.0), bench.environment(backend).host_cpus or 1
    if load > cpus / 2:
        yield f"the host is busy: load {load:.1f} on {cpus} CPUs"
    if not bench.host().sees_gpu():
        yield "there is no GPU: a CPU's figures differ by some 10 % between processes, so only large changes show"
        return
    try:
        gpu = bench.gpu(bench.environment(backend))
    except TrtError as error:
        yield str(error)
        return
    if gpu is None:
        return
    yield from advice(gpu.facts())
    for other in gpu.other_processes(()):
        yield f"another process uses the GPU: {other}"
    state = gpu.read()
    for reason in decode_reasons(state.get("reasons", 0)):
        if reason != "idle":
            yield f"the clocks are reduced at the moment: {reason}"
    if state.get("temperature_c", 0) >= HOT_C:
        yield f"the GPU is at {state['temperature_c']:.0f} C: it will slow down under load"
