"""Hand latencies in seconds to pytest-benchmark and to the tools that read its files.

`render` writes the JSON of `--benchmark-json` with the keys of pytest-benchmark 4.0 to 5.x. pytest-benchmark's own
`compare`, github-action-benchmark and Bencher read it. `fill_fixture` puts a result into the `benchmark` fixture.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterator, Sequence
from typing import Any

from pytest_trt.core.records import Environment, Measurement, Result
from pytest_trt.report.header import Header


def latencies_s(measurement: Measurement) -> list[float]:
    """Return every latency in seconds, in the order of measurement, or only the median if there are no samples."""
    latencies = [ms / 1000 for s in measurement.samples for block in s.blocks for ms in block.times.get("ms", ())]
    if not latencies and "ms" in measurement.figures:
        return [measurement.figures["ms"].value / 1000]
    return latencies


def extra_info(result: Result, measurement: Measurement) -> dict[str, Any]:
    """Return the verdict, the environment and the figures of a test, each figure in the unit that its name has."""
    environment = measurement.environment
    return {
        "verdict": result.status,
        "device": environment.device,
        "backend": environment.backend,
        "backend_version": environment.backend_version,
        **{name: estimate.value for name, estimate in measurement.figures.items()},
    }


def render(results: Sequence[Result], header: Header | None = None) -> Iterator[str]:
    """Yield the parts of the JSON of all results that have a latency; its readers know nothing else.

    `header` is not used.
    """
    environment: Environment | None = None
    latest, separator = "", ""
    yield '{\n"benchmarks": ['
    for result in results:
        measurement = result.measurement
        if measurement is None:
            continue
        environment, latest = environment or measurement.environment, max(latest, measurement.time)
        if data := latencies_s(measurement):
            yield f"{separator}\n{json.dumps(_benchmark(result, measurement, data), indent=1)}"
            separator = ","
    rest = {
        "machine_info": _machine_info(environment) if environment else {},
        "commit_info": _commit_info(environment),
        "datetime": latest,
        "version": _version(),
    }
    yield f"],\n{json.dumps(rest, indent=1)[1:]}\n"


def fill_fixture(benchmark: Any, result: Result) -> bool:
    """Put a test's latencies into pytest-benchmark's `benchmark` fixture, and its figures into the extra_info.

    Args:
        benchmark: The fixture.
        result: The result of the test.

    Returns:
        Whether the fixture was filled. It is left alone if nothing was measured, if pytest-benchmark is disabled (by
        xdist or by its options), if the test has used the fixture itself, or if its private attributes differ from
        those of 4.0 to 5.3.
    """
    known = all(hasattr(benchmark, name) for name in ("_mode", "_make_stats", "enabled", "extra_info"))
    data = latencies_s(result.measurement) if result.measurement is not None else []
    if result.measurement is None or not data or not known or not benchmark.enabled or benchmark._mode:
        return False
    benchmark._mode = "trt"
    stats = benchmark._make_stats(iterations=1)
    for seconds in data:
        stats.update(seconds)
    benchmark.extra_info.update(extra_info(result, result.measurement))
    return True


def _benchmark(result: Result, measurement: Measurement, data: list[float]) -> dict[str, Any]:
    # This class has pytest-benchmark's own definitions of quartiles and outliers, and it does not import pytest.
    stats: Any = importlib.import_module("pytest_benchmark.stats").Stats()
    stats.data = data
    name = _name(result.node_id)
    return {
        "group": None,
        "name": name,
        "fullname": result.node_id,
        "params": dict(measurement.spec) or None,
        "param": name.partition("[")[2].removesuffix("]") or None,
        "extra_info": extra_info(result, measurement),
        "options": {"timer": "pytest-trt"},
        "stats": {**stats.as_dict(), "data": data, "iterations": 1},
    }


def _name(node_id: str) -> str:
    """Return the name of the test with its parameters, which may contain `::` themselves."""
    name, bracket, parameters = node_id.partition("[")
    return name.rpartition("::")[2] + bracket + parameters


def _machine_info(environment: Environment) -> dict[str, Any]:
    return {
        "processor": environment.host_cpu,
        "system": environment.os,
        "python_version": environment.python,
        "cpu": {"brand_raw": environment.host_cpu, "count": environment.host_cpus},
        "device": environment.device,
        "device_memory_bytes": environment.device_memory_bytes,
        "driver": environment.driver,
        "cuda": environment.cuda,
        "backend": environment.backend,
        "backend_version": environment.backend_version,
    }


def _commit_info(environment: Environment | None) -> dict[str, Any]:
    commit = environment.commit if environment else None
    return {
        "id": commit or "unversioned",
        "time": None,
        "author_time": None,
        "dirty": False,
        "project": "",
        "branch": "",
    }


def _version() -> str:
    from importlib.metadata import version

    return version("pytest-benchmark")
