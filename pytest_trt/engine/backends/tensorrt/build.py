"""Build a TensorRT plan from an ONNX model, on a GPU or ahead of time without one."""

from __future__ import annotations

import dataclasses
import re
import time
from pathlib import Path
from typing import Any

from pytest_trt.core.records import Layer
from pytest_trt.engine.backends import cuda
from pytest_trt.engine.backends.base import BuildJob, BuildReport, Progress
from pytest_trt.engine.backends.tensorrt import versions
from pytest_trt.engine.backends.tensorrt.calibrate import calibration
from pytest_trt.engine.backends.tensorrt.config import configure
from pytest_trt.engine.backends.tensorrt.layer_types import constrain_layers, set_io
from pytest_trt.engine.backends.tensorrt.layers import precision_shares
from pytest_trt.engine.backends.tensorrt.load import DeviceEngine
from pytest_trt.engine.backends.tensorrt.log import logger
from pytest_trt.engine.backends.tensorrt.parse import parse
from pytest_trt.engine.backends.tensorrt.plugins import load_plugins
from pytest_trt.engine.backends.tensorrt.precision import (
    check_device,
    missing_precision,
    network_precision_shares,
    unreported_precision_notes,
    with_precision_preferred,
)
from pytest_trt.engine.backends.tensorrt.progress import watch_progress
from pytest_trt.engine.backends.tensorrt.timing import timing_cache
from pytest_trt.engine.backends.tensorrt.weights import WEIGHTS
from pytest_trt.engine.onnx.model_files import copy_model
from pytest_trt.errors import BackendError, BuildError
from pytest_trt.spec.engine_spec import EngineSpec


def build(trt: Any, job: BuildJob, progress: Progress) -> BuildReport:
    """Write the plan to `job.output`/plan.

    The builder chooses the precision of each layer by timing, and a small network may be as fast without the requested
    precision. If no layer has it, the engine is built again:

    1. Without the timing cache, since an earlier build measured its timings at other clocks.
    2. With the requested precision preferred in every layer (see `with_precision_preferred`).

    Args:
        trt: The module of the package.
        job: The build.
        progress: Is called with the progress of the build.

    Returns:
        The report of the last build.

    Raises:
        BackendError: No GPU works, and the spec names no compute capabilities to build for.
        BuildError: TensorRT rejects the model or an option, or no layer has the requested precision.
    """
    _require_builder(trt)
    report, problem = _build(trt, job, progress)
    if problem and job.timing_cache is not None and job.spec.timing_cache_mode == "update":
        progress("building again without the timing cache", -1.0)
        report, problem = _build(trt, dataclasses.replace(job, timing_cache=None), progress)
    if problem and (preferred := with_precision_preferred(job.spec, report)) is not None:
        precision = job.spec.precision
        progress(f"building again with {precision} preferred", -1.0)
        try:
            report, problem = _build(trt, dataclasses.replace(job, spec=preferred), progress)
        except BuildError as error:
            raise BuildError(f"{problem}; preferring it failed: {error}") from error
        note = f"timing chose {precision} for no layer: the engine was built again with {precision} preferred"
        report = dataclasses.replace(report, notes=(*report.notes, note))
    if problem:
        raise BuildError(problem)
    return report


def check(trt: Any, model: Path, spec: EngineSpec) -> None:
    """Parse a model, and build nothing.

    Raises:
        BackendError: TensorRT cannot create a builder, such as without a GPU.
        BuildError: The parser rejects the model.
    """
    _require_builder(trt)
    builder, network = _create_network(trt, spec, versions.strongly_typed(trt.__name__, trt.__version__))
    parser = parse(trt, network, model, Path(spec.path or model).name)
    del parser, network, builder  # the parser refers to the network, and that to the builder


def _require_builder(trt: Any) -> None:
    """Raise BuildError for the lean and dispatch runtimes, which have no builder."""
    if not hasattr(trt, "Builder"):
        raise BuildError(
            f"{trt.__name__} cannot build engines: build the plan with tensorrt, and name it in trt_engine"
        )


def _create_network(trt: Any, spec: EngineSpec, typed: bool) -> tuple[Any, Any]:
    """Return a builder with the spec's plugins, and an empty network of it."""
    log = logger(trt)
    log.clear()
    try:
        builder = trt.Builder(log)
    except TypeError as error:  # The bindings raise it if the constructor returns a null pointer.
        raise BackendError(f"{trt.__name__} {trt.__version__} cannot create a builder: {log.reason()}") from error
    load_plugins(trt, builder, spec.plugins)
    return builder, builder.create_network(versions.network_flags(trt, typed))


def _build(trt: Any, job: BuildJob, progress: Progress) -> tuple[BuildReport, str]:
    """Build once; return the report, and an error message if the engine is not what the spec requests."""
    started = time.perf_counter()
    if job.spec.compute_capabilities:
        versions.require(trt, "compute_capabilities")
        capabilities = [divmod(number, 10) for number in job.spec.compute_capabilities]
    else:
        device = cuda.device(job.device)
        device.activate()
        capabilities = [device.compute_capability]
    check_device(job.spec.precision, capabilities)
    typed = versions.strongly_typed(trt.__name__, trt.__version__)
    if job.spec.strongly_typed:
        versions.require(trt, "strongly_typed")
        typed = True
    builder, network = _create_network(trt, job.spec, typed)
    progress("parsing the model", -1.0)
    parser = parse(trt, network, Path(job.model), Path(job.spec.path or job.model).name)
    set_io(trt, network, job.spec, typed)
    config = configure(trt, builder, network, job, typed)
    constrain_layers(trt, network, config, job.spec)
    with timing_cache(trt, config, job) as notes, calibration(trt, builder, network, config, job):
        monitor = watch_progress(trt, config, progress)
        progress("building", -1.0)
        logger(trt).clear()
        plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise BuildError(_describe_failure(trt, job))
    path = Path(job.output) / "plan"
    path.write_bytes(memoryview(plan))
    if job.spec.strip_weights:
        copy_model(Path(job.model), path.with_name(WEIGHTS))
    layers: tuple[Layer, ...] = ()
    if typed:
        precisions, proof = network_precision_shares(network), "model"
    else:
        progress("inspecting", -1.0)
        layers = _inspect(trt, path, job)
        precisions = precision_shares(layers)
        proof = "inspector" if precisions else ""
    size = path.stat().st_size
    del plan, monitor, parser
    report = BuildReport(time.perf_counter() - started, size, precisions, proof, layers)
    report = dataclasses.replace(report, notes=(*notes, *unreported_precision_notes(job.spec, report)))
    return report, missing_precision(job.spec, report)


def _describe_failure(trt: Any, job: BuildJob) -> str:
    """Return an error message with the reason from TensorRT's log and a remedy for causes that are known."""
    reason = logger(trt).reason()
    text = f"{trt.__name__} {trt.__version__} cannot build {Path(job.spec.path or job.model).name}: {reason}"
    limit_mb = job.spec.workspace_mb or job.spec.memory_pool_bytes.get("workspace", 0) / 1e6
    if limit_mb and re.search(r"workspace|no implementation|scratch", reason, re.IGNORECASE):
        text += f"; the workspace is limited to {limit_mb:g} MB: allow more with workspace_mb"
    libraries = [source for source in job.spec.tactic_sources or () if source in ("CUBLAS", "CUBLAS_LT", "CUDNN")]
    if libraries and re.search("cublas|cudnn", reason, re.IGNORECASE):
        text += f"; tactic_sources={','.join(libraries)} needs a library that is missing or does not work: "
        text += "put it where the dynamic linker finds it (LD_LIBRARY_PATH), or leave the source out"
    if job.spec.compute_capabilities and (job.spec.refit or job.spec.strip_weights):
        text += "; with refit or strip_weights, TensorRT-RTX can build only on the GPU: leave compute_capabilities out"
    return text


def _inspect(trt: Any, plan: Path, job: BuildJob) -> tuple[Layer, ...]:
    """Load the plan that was just built and return its layers."""
    spec = dataclasses.replace(job.spec, engine_host_code_allowed=True, weight_streaming_budget=None)
    engine = DeviceEngine(trt, plan, cuda.device(job.device), spec)
    try:
        return engine.layers()
    finally:
        engine.close()
