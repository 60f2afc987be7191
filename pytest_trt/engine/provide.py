"""The plan for a spec: out of the cache, or built once."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_trt.core.backends import BACKENDS, BackendInfo
from pytest_trt.core.records import Environment, Layer
from pytest_trt.engine.backends.base import CALIBRATION_CACHE, UNREPORTED, BuildJob, BuildReport
from pytest_trt.engine.backends.tensorrt.versions import SUPPORT, parse_version
from pytest_trt.engine.cache.entry import Entry, Meta
from pytest_trt.engine.cache.store import Store
from pytest_trt.engine.cache_key import engine_digest
from pytest_trt.engine.convert.calibration_data import Calibration
from pytest_trt.engine.inputs import generate_inputs
from pytest_trt.engine.model.files import RANDOM_CALIBRATION
from pytest_trt.engine.model.model import Model, read_model
from pytest_trt.engine.model.shapes import ResolvedShapes
from pytest_trt.engine.prepare import prepare
from pytest_trt.errors import BuildError
from pytest_trt.spec.engine_spec import EngineSpec

if TYPE_CHECKING:
    from pytest_trt.engine.tensors import Arrays

CALIBRATION_BATCHES = 8


@dataclasses.dataclass(frozen=True, kw_only=True)
class BuildRequest:
    """The engine that is requested.

    Attributes:
        spec: The build options, with the paths of files resolved.
        model: The model to build, or the prebuilt plan.
        shapes: Returns the resolved shapes. It is not called for a prebuilt plan, and for ONNX Runtime only to generate
            calibration inputs: ONNX Runtime's plan serves every shape.
        environment: The device and the software that the engine is for.
        strongly_typed: Whether the backend builds networks in the model's own types.
        device: The device's name for the backend.
    """

    spec: EngineSpec
    model: Model
    shapes: Callable[[], ResolvedShapes]
    environment: Environment
    strongly_typed: bool
    device: str = "0"


@dataclasses.dataclass(frozen=True, kw_only=True)
class BuildResources:
    """The resources that a build uses.

    Attributes:
        store: The engine cache. Without one, the plan lies in a folder that is deleted when the process ends.
        build: Runs a build job in a process of its own.
        report_waiting: Shows a line of text while another process builds the same engine.
    """

    store: Store | None
    build: Callable[[BuildJob], BuildReport]
    report_waiting: Callable[[str], None]


@dataclasses.dataclass(frozen=True)
class ProvidedEngine:
    """A plan to load. `digest` says what it was made from, `plan_sha256` what it is; `build_s` is how long its build
    took, whenever that was, and None for a plan that was given. `precisions` maps a precision to a share, `proved_by`
    says of what: of the engine's layers (`inspector`), or of the model's operators (`model`)."""

    plan: Path
    digest: str
    plan_sha256: str
    built: bool = False
    build_s: float | None = None
    precisions: Mapping[str, float] = dataclasses.field(default_factory=dict)
    proved_by: str = ""
    layers: tuple[Layer, ...] = ()
    notes: tuple[str, ...] = ()


def provide(request: BuildRequest, resources: BuildResources, *, fresh: bool = False) -> ProvidedEngine:
    """Return the requested plan: the prebuilt one, the cached one, or a new build.

    For a strongly typed backend, which ONNX Runtime always is, the model is first converted to the requested half
    precision. For int8 the model is quantised, unless it already has Q/DQ or the spec names TensorRT's own calibrator.
    The calibration cache that this calibrator writes is stored with the engine; later builds of the same model reuse
    it.

    Do not hold the device's lock while calling, unless `fresh` is true: the process that builds the same engine may be
    waiting for that lock.

    Args:
        request: The engine that is requested.
        resources: The cache and the functions that the build uses.
        fresh: Build again even if the engine is cached, keep the result apart from the cached engine, and do not wait
            for another process that builds it.

    Raises:
        ModelError: The shapes do not fit the model.
        BuildError: The build failed. The message is the builder's own.
        CacheError: The cache cannot be used. Nothing is cached then.
    """
    spec, model, environment = request.spec, request.model, request.environment
    if model.kind == "plan":
        return ProvidedEngine(model.path, model.sha256, model.sha256)
    store = resources.store or Store.temporary()
    backend = BACKENDS[environment.backend]
    ranges = () if backend.runs_model else request.shapes().profiles  # such a plan serves every shape
    preparation = prepare(
        spec,
        model,
        _calibration_source(request),
        strongly_typed=request.strongly_typed or backend.runs_model,
        takes_int32_biases=backend.runs_model,
    )
    calibration_key = preparation.calibration_key(environment.backend_version)
    cache = None if backend.runs_model else _timing_cache(spec, environment, store)
    digest = engine_digest(spec, model, ranges, environment, preparation.fingerprint)
    said = (*preparation.notes, *_unused_options(spec, backend))
    with contextlib.nullcontext() if fresh else store.lock(digest, resources.report_waiting):
        entry, fault = (None, "") if fresh else store.find(digest)
        if entry is not None:
            return _from_entry(entry, built=False, notes=said)
        with store.draft(digest) as draft:
            started = time.monotonic()
            source, conversion = preparation.write_model(draft)
            batches = preparation.write_batches(draft, store.calibration_file(CALIBRATION_CACHE, calibration_key))
            job = BuildJob(
                backend=environment.backend,
                device=request.device,
                spec=dataclasses.replace(spec.without_functions, path=str(model.path)),
                model=str(source),
                output=str(draft),
                profiles=ranges,
                timing_cache=str(cache) if cache else None,
                calibration=str(batches) if batches else None,
                preparation_s=time.monotonic() - started,
            )
            report = resources.build(job)
            _check_result(spec, model, draft, report)
            preparation.remove_temporary_files(draft)
            meta = Meta(
                digest=digest,
                spec=spec.build_options(),
                environment=environment,
                build_s=report.seconds,
                precisions=report.precisions or conversion.shares,
                proved_by=report.proved_by or ("model" if conversion.shares else ""),
                notes=(*conversion.notes, *report.notes),
                calibration=calibration_key,
            )
            entry = (store.save_apart if fresh else store.save)(draft, meta, report.layers)
    return _from_entry(entry, built=True, notes=(*said, *filter(None, [fault])))


def _unused_options(spec: EngineSpec, backend: BackendInfo) -> tuple[str, ...]:
    """Return a note that names the spec's options for which the backend has no builder, if there are any.

    The note belongs to the spec, not to the plan: specs that differ in nothing else share one plan.
    """
    without = ", ".join(spec.tensorrt_only_options) if backend.runs_model else ""
    return (f"{backend.label} has no builder, so these are without effect: {without}",) if without else ()


def _timing_cache(spec: EngineSpec, environment: Environment, store: Store) -> Path | None:
    """The one that the spec names, or the one that all engines of that TensorRT and device share. Raises BuildError
    where one is named to a backend that has none, cached or not: what is in it would decide nothing."""
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


def _check_result(spec: EngineSpec, model: Model, draft: Path, report: BuildReport) -> None:
    """Raise BuildError where what was built is not what was asked for."""
    if not (draft / "plan").is_file():
        raise BuildError(f"{model.path.name} was reported built, and there is no plan: this is a fault of the backend")
    if read_model(model.path).sha256 != model.sha256:
        raise BuildError(f"{model.path} changed while it was built: run again when it is whole")
    wanted = spec.precision
    proved = {wanted, UNREPORTED} & {name for name, share in report.precisions.items() if share}
    if report.proved_by == "inspector" and wanted not in ("fp32", "best") and not proved:
        got = ", ".join(f"{share:.0%} {name}" for name, share in report.precisions.items())
        raise BuildError(f"{wanted} was asked for, and no layer of {model.path.name} runs in it ({got})")


def _from_entry(entry: Entry, *, built: bool, notes: tuple[str, ...] = ()) -> ProvidedEngine:
    meta = entry.meta
    return ProvidedEngine(
        plan=entry.plan,
        digest=meta.digest,
        plan_sha256=meta.files["plan"],
        built=built,
        build_s=meta.build_s,
        precisions=meta.precisions,
        proved_by=meta.proved_by,
        layers=entry.layers,
        notes=(*notes, *meta.notes),
    )
