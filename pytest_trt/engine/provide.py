"""Provide the plan that a spec requests: from the cache, or from a new build."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_trt.core.backends import BACKENDS, BackendInfo
from pytest_trt.core.precision import UNREPORTED
from pytest_trt.core.records import Environment, Estimate, Layer
from pytest_trt.engine.backends.base import CALIBRATION_CACHE, BuildJob, BuildReport
from pytest_trt.engine.backends.tensorrt.versions import SUPPORT, parse_version
from pytest_trt.engine.cache.base import EngineStore
from pytest_trt.engine.cache.entry import Entry, Meta, plan_bytes
from pytest_trt.engine.cache.store import Store
from pytest_trt.engine.cache_key import engine_digest, prebuilt_digest
from pytest_trt.engine.convert.calibration_data import Calibration
from pytest_trt.engine.convert.conversion import Conversion, ConversionJob
from pytest_trt.engine.inputs import generate_inputs
from pytest_trt.engine.model.files import RANDOM_CALIBRATION
from pytest_trt.engine.model.model import Model, read_model
from pytest_trt.engine.model.shapes import ResolvedShapes
from pytest_trt.engine.prepare import Preparation, prepare
from pytest_trt.errors import BuildError
from pytest_trt.spec.engine_spec import EngineSpec

if TYPE_CHECKING:
    from pytest_trt.engine.tensors import Arrays

CALIBRATION_BATCHES = 8
"""How many batches are generated to calibrate on."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class BuildRequest:
    """The engine that is requested.

    Attributes:
        spec: The build options, with the paths of files resolved.
        model: The model to build, or the prebuilt plan.
        shapes: Returns the resolved shapes. It is not called for a prebuilt plan. For a backend that runs the model
            itself it is only called to generate calibration inputs, because its plan serves every shape.
        environment: The device and the software that the engine is for.
        strongly_typed: Whether the backend builds networks in the model's own types.
        device: The device's name for the backend.
        test: The node id of the test that requests the engine, or the command that does, for lists of the cache.
    """

    spec: EngineSpec
    model: Model
    shapes: Callable[[], ResolvedShapes]
    environment: Environment
    strongly_typed: bool
    device: str = "0"
    test: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class BuildResources:
    """The resources that a build uses.

    Attributes:
        store: The engine cache. Without one, the plan is in a folder that is deleted when the process ends.
        convert: Runs a conversion in a process of its own.
        build: Runs a build job in a process of its own.
        report_waiting: Shows a line of text while another process builds the same engine.
        deliver: Returns the path of a file on the host that runs engines, after a copy of it if that is another host.
    """

    store: EngineStore | None
    convert: Callable[[ConversionJob], Conversion]
    build: Callable[[BuildJob], BuildReport]
    report_waiting: Callable[[str], None]
    deliver: Callable[[Path], Path] = lambda path: path


@dataclasses.dataclass(frozen=True)
class ProvidedEngine:
    """A plan that can be loaded.

    Attributes:
        plan: The plan's file, on the host that runs it.
        digest: The SHA-256 of what the plan was made from, or of a prebuilt plan itself.
        plan_sha256: The SHA-256 of the plan.
        size_mb: The size of the plan with the data beside it, in MB.
        built: Whether this call built the plan.
        build_s: How long the plan's build took, in seconds, even if that was in an earlier run. None for a prebuilt
            plan.
        precisions: The share (0 to 1) of layers or operators in each precision.
        proved_by: Where `precisions` comes from: the engine's layers (`inspector`) or the model's operators (`model`).
        layers: The engine's layers, if the backend reports them.
        notes: Notes for the report.
    """

    plan: Path
    digest: str
    plan_sha256: str
    size_mb: float
    built: bool = False
    build_s: float | None = None
    precisions: Mapping[str, float] = dataclasses.field(default_factory=dict)
    proved_by: str = ""
    layers: tuple[Layer, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def figures(self) -> dict[str, Estimate]:
        """The figures of the plan itself: `engine_mb`, and `build_s` if the plan was built here."""
        figures = {"engine_mb": Estimate.exact(self.size_mb)}
        if self.build_s is not None:
            figures["build_s"] = Estimate.exact(self.build_s)
        return figures


def provide(request: BuildRequest, resources: BuildResources, *, fresh: bool = False) -> ProvidedEngine:
    """Return the requested plan: the prebuilt one, the cached one, or a new build.

    If networks are strongly typed, the model is first converted to the requested half precision; a backend that runs
    the model itself always needs that. For int8 the model is quantised, unless it already has Q/DQ or the spec names
    TensorRT's own calibrator. The calibration cache that this calibrator writes is stored with the engine, and later
    builds of the same model reuse it.

    Do not hold the device's lock while calling, unless `fresh` is true: the process that builds the same engine may be
    waiting for that lock.

    Args:
        request: The engine that is requested.
        resources: The cache and the functions that the build uses.
        fresh: Build again even if the engine is cached, keep the result apart from the cached engine, and do not wait
            for another process that builds it.

    Raises:
        ModelError: The shapes do not fit the model.
        BuildError: The build failed; the message is the builder's own. Nothing is cached.
        CacheError: The cache cannot be used.
    """
    spec, model, environment = request.spec, request.model, request.environment
    if model.kind == "plan":
        size_mb = plan_bytes(model.path) / 1e6
        return ProvidedEngine(resources.deliver(model.path), prebuilt_digest(spec, model), model.sha256, size_mb)
    store = resources.store or Store.temporary()
    backend = BACKENDS[environment.backend]
    profiles = () if backend.runs_model else request.shapes().profiles
    preparation = prepare(
        spec,
        model,
        _calibration_source(request),
        strongly_typed=request.strongly_typed or backend.runs_model,
        takes_int32_biases=backend.runs_model,
    )
    timing_cache = None if backend.runs_model else _timing_cache(spec, environment, store)
    digest = engine_digest(spec, model, profiles, environment, preparation.fingerprint)
    notes = (*preparation.notes, *_unused_options(spec, backend))
    with contextlib.nullcontext() if fresh else store.lock(digest, resources.report_waiting):
        entry, fault = (None, "") if fresh else store.find(digest)
        if entry is not None:
            return _from_entry(entry, built=False, notes=notes)
        with store.draft(digest) as draft:
            job = BuildJob(
                backend=environment.backend,
                device=request.device,
                spec=dataclasses.replace(spec.without_functions, path=str(model.path)),
                model=str(model.path),
                output=str(draft),
                profiles=profiles,
                timing_cache=str(timing_cache) if timing_cache else None,
            )
            calibration_key = preparation.calibration_key(environment.backend_version)
            calibration_cache = store.calibration_file(CALIBRATION_CACHE, calibration_key)
            report = _build(job, model, preparation, calibration_cache, resources)
            meta = Meta(
                digest=digest,
                spec=spec.build_options(),
                environment=environment,
                build_s=report.seconds,
                precisions=report.precisions,
                proved_by=report.proved_by,
                notes=report.notes,
                calibration=calibration_key,
                model=model.path.name,
                test=request.test,
            )
            entry = (store.save_apart if fresh else store.save)(draft, meta, report.layers)
    return _from_entry(entry, built=True, notes=(*notes, *filter(None, [fault])))


def _build(
    job: BuildJob,
    model: Model,
    preparation: Preparation,
    calibration_cache: Path | None,
    resources: BuildResources,
) -> BuildReport:
    """Prepare the model in the job's output folder, build it there, and return the build's report.

    The report also has the notes of the conversion, and its precisions if the builder reports none.
    """
    draft, started = Path(job.output), time.monotonic()
    source, conversion = preparation.write_model(draft, resources.convert, job.spec.build_timeout_s)
    batches = preparation.write_calibration_data(draft, calibration_cache)
    job = dataclasses.replace(
        job,
        model=str(source),
        calibration=str(batches) if batches else None,
        preparation_s=time.monotonic() - started,
    )
    report = resources.build(job)
    _check_result(job.spec, model, report)
    preparation.remove_temporary_files(draft)
    return dataclasses.replace(
        report,
        precisions=report.precisions or conversion.shares,
        proved_by=report.proved_by or ("model" if conversion.shares else ""),
        notes=(*conversion.notes, *report.notes),
    )


def _check_result(spec: EngineSpec, model: Model, report: BuildReport) -> None:
    """Raise BuildError if the build did not produce what the spec requests."""
    if read_model(model.path).sha256 != model.sha256:
        raise BuildError(f"{model.path} changed while it was built: run again when nothing writes to it")
    requested = spec.precision
    used = {requested, UNREPORTED} & {name for name, share in report.precisions.items() if share}
    if report.proved_by == "inspector" and requested not in ("fp32", "best") and not used:
        shares = ", ".join(f"{share:.0%} {name}" for name, share in report.precisions.items())
        raise BuildError(
            f"{requested} was requested, but no layer of {model.path.name} runs in it ({shares}): see the layers with "
            "trt_runner.profile(), or request a precision that the model can have"
        )


def _unused_options(spec: EngineSpec, backend: BackendInfo) -> tuple[str, ...]:
    """Return a note that names the spec's options for which the backend has no builder, if there are any.

    The note belongs to the spec, not to the plan: specs that differ in nothing else share one plan.
    """
    without = ", ".join(spec.tensorrt_only_options) if backend.runs_model else ""
    return (f"{backend.label} has no builder, so these are without effect: {without}",) if without else ()


def _timing_cache(spec: EngineSpec, environment: Environment, store: EngineStore) -> Path | None:
    """Return the timing cache that the spec names, or the one that this TensorRT version and device share.

    Raises:
        BuildError: The spec names a timing cache, but the backend has none. A cached engine raises it too.
    """
    if isinstance(spec.timing_cache, str):
        support = SUPPORT["timing_cache"]
        if not support.includes(environment.backend, parse_version(environment.backend_version)):
            raise BuildError(f"timing_cache is not in {environment.backend}: {support.describe()} has it")
        return Path(spec.timing_cache)
    return store.timing_cache(environment.backend_version, environment.device) if spec.timing_cache else None


def _calibration_source(request: BuildRequest) -> Calibration | Path | None:
    """Return the function that yields calibration inputs, the path of a calibration cache, or None."""
    requested = request.spec.calibration
    if requested == RANDOM_CALIBRATION:
        return lambda: _random_batches(request)
    return Path(requested) if isinstance(requested, str) else requested


def _random_batches(request: BuildRequest) -> Iterator[Arrays]:
    """Yield generated calibration inputs.

    They have the optimum shapes, not the shapes that are run: tests that run one engine in different shapes share it.
    """
    spec, shapes = request.spec, request.shapes().optimum
    tensors = [dataclasses.replace(tensor, shape=shapes[tensor.name]) for tensor in request.model.inputs]
    for number in range(CALIBRATION_BATCHES):
        yield generate_inputs(tensors, spec.seed + number, spec.input_ranges)


def _from_entry(entry: Entry, *, built: bool, notes: tuple[str, ...] = ()) -> ProvidedEngine:
    meta = entry.meta
    return ProvidedEngine(
        plan=entry.plan,
        digest=meta.digest,
        plan_sha256=meta.files["plan"],
        size_mb=entry.plan_bytes / 1e6,
        built=built,
        build_s=meta.build_s,
        precisions=meta.precisions,
        proved_by=meta.proved_by,
        layers=entry.layers,
        notes=(*notes, *meta.notes),
    )
