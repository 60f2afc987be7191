"""The plan for a spec: out of the cache, or built once."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_trt.core.records import Environment, Layer
from pytest_trt.engine.backends.base import CALIBRATION_CACHE, UNTOLD, BuildJob, BuildReport
from pytest_trt.engine.backends.onnxruntime import unused
from pytest_trt.engine.backends.tensorrt.versions import SUPPORT, parsed
from pytest_trt.engine.cache.entry import Entry, Meta
from pytest_trt.engine.cache.store import Store
from pytest_trt.engine.cache_key import _digest
from pytest_trt.engine.convert.calibration_data import Calibration
from pytest_trt.engine.inputs import draw
from pytest_trt.engine.model.files import RANDOM
from pytest_trt.engine.model.model import Model, read
from pytest_trt.engine.model.shapes import profiles, run_shapes
from pytest_trt.engine.prepare import prepare
from pytest_trt.errors import BuildError
from pytest_trt.spec.declaration import RunShape
from pytest_trt.spec.engine_spec import EngineSpec

if TYPE_CHECKING:
    from pytest_trt.engine.tensors import Arrays

CALIBRATION_BATCHES = 8


@dataclasses.dataclass(frozen=True)
class Provided:
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


def provide(
    spec: EngineSpec,
    model: Model,
    run: RunShape,
    environment: Environment,
    store: Store | None,
    build: Callable[[BuildJob], BuildReport],
    *,
    strongly_typed: bool,
    waiting: Callable[[str], None],
    device: str = "0",
    fresh: bool = False,
) -> Provided:
    """The plan of `model` as `spec` has it built, for the device of `environment`.

    `build` runs the job in a process of its own; `device` is what the job calls the device. Where networks are
    `strongly_typed` (ONNX Runtime's always are) the model is converted to half precisions first; for int8 it is
    quantised, unless it says itself where it is or TensorRT's own calibrator is named. The scales which that finds stay
    with the engine, and serve every other engine of that model.
    `fresh` builds once more, beside what is cached, and waits for nobody. Otherwise do not hold the device's lock while
    calling: whoever builds the same engine may be waiting for it. Without a store the plan lies in a folder that goes
    when the process ends.

    Raises ModelError for shapes that do not fit, BuildError with the builder's own words, CacheError where the cache
    cannot be used; then nothing is cached.
    """
    if model.kind == "plan":
        return Provided(model.path, model.sha256, model.sha256)
    store = store or Store.temporary()
    host = environment.backend == "onnxruntime"
    ranges = () if host else profiles(model, spec, run)  # ONNX Runtime's plan serves every shape
    preparation = prepare(spec, model, strongly_typed or host, host, _calibration(spec, model, run))
    calibration_key = preparation.calibration_key(environment.backend_version)
    cache = None if host else _timing_cache(spec, environment, store)
    digest = _digest(spec, model, ranges, environment, preparation.by)
    said = (*preparation.notes, *(unused(spec) if host else ()))
    with contextlib.nullcontext() if fresh else store.lock(digest, waiting):
        entry, fault = (None, "") if fresh else store.find(digest)
        if entry is not None:
            return _provided(entry, built=False, notes=said)
        with store.draft(digest) as draft:
            started = time.monotonic()
            source, conversion = preparation.source(draft)
            batches = preparation.calibration(draft, store.beside(CALIBRATION_CACHE, calibration_key))
            job = BuildJob(
                backend=environment.backend,
                device=device,
                spec=dataclasses.replace(spec.portable, path=str(model.path)),
                model=str(source),
                output=str(draft),
                profiles=ranges,
                timing_cache=str(cache) if cache else None,
                calibration=str(batches) if batches else None,
                prepared_s=time.monotonic() - started,
            )
            report = build(job)
            _check(spec, model, draft, report)
            preparation.clear(draft)
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
            entry = (store.set_aside if fresh else store.save)(draft, meta, report.layers)
    return _provided(entry, built=True, notes=(*said, *filter(None, [fault])))


def _timing_cache(spec: EngineSpec, environment: Environment, store: Store) -> Path | None:
    """The one that the spec names, or the one that all engines of that TensorRT and device share. Raises BuildError
    where one is named to a backend that has none, cached or not: what is in it would decide nothing."""
    if isinstance(spec.timing_cache, str):
        support = SUPPORT["timing_cache"]
        if not support.at(environment.backend, parsed(environment.backend_version)):
            raise BuildError(f"timing_cache is not in {environment.backend}: {support.where()} has it")
        return Path(spec.timing_cache)
    return store.timing_cache(environment.backend_version, environment.device) if spec.timing_cache else None


def _calibration(spec: EngineSpec, model: Model, run: RunShape) -> Calibration | Path | None:
    """What `spec.calibration` says: a function, a calibration cache, or that inputs are drawn."""
    said = spec.calibration
    if said == RANDOM:
        return lambda: _drawn(spec, model, run)
    return Path(said) if isinstance(said, str) else said


def _drawn(spec: EngineSpec, model: Model, run: RunShape) -> Iterator[Arrays]:
    """Inputs to calibrate on where none are given."""
    shapes = {**run_shapes(model, spec, run)}
    for profile in profiles(model, spec, run)[:1]:  # the optimum, so that engines that differ in what is run are one
        shapes.update({name: opt for name, (_, opt, _) in profile.items()})
    tensors = [dataclasses.replace(tensor, shape=shapes[tensor.name]) for tensor in model.inputs]
    for number in range(CALIBRATION_BATCHES):
        yield draw(tensors, spec.seed + number, spec.input_ranges)


def _check(spec: EngineSpec, model: Model, draft: Path, report: BuildReport) -> None:
    """Raise BuildError where what was built is not what was asked for."""
    if not (draft / "plan").is_file():
        raise BuildError(f"{model.path.name} was reported built, and there is no plan: this is a fault of the backend")
    if read(model.path).sha256 != model.sha256:
        raise BuildError(f"{model.path} changed while it was built: run again when it is whole")
    wanted = spec.precision
    proved = {wanted, UNTOLD} & {name for name, share in report.precisions.items() if share}
    if report.proved_by == "inspector" and wanted not in ("fp32", "best") and not proved:
        got = ", ".join(f"{share:.0%} {name}" for name, share in report.precisions.items())
        raise BuildError(f"{wanted} was asked for, and no layer of {model.path.name} runs in it ({got})")


def _provided(entry: Entry, *, built: bool, notes: tuple[str, ...] = ()) -> Provided:
    meta = entry.meta
    return Provided(
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
