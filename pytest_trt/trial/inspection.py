"""Find what a model or a plan contains, and what a backend and a precision make of it, without building it."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from pytest_trt.core import codec
from pytest_trt.core.backends import BACKENDS
from pytest_trt.core.model_facts import BackendFacts, ModelFacts, PlanFacts, PrecisionFacts
from pytest_trt.core.scratch import ScratchFolder
from pytest_trt.engine.backends.plan_header import check_origin
from pytest_trt.engine.convert import qdq
from pytest_trt.engine.convert.conversion import ConversionJob, Recipe
from pytest_trt.engine.inspection import inspect_plan, is_plan
from pytest_trt.engine.model.files import find_file
from pytest_trt.engine.model.model import Model, read_model
from pytest_trt.engine.prepare import prepare
from pytest_trt.errors import BackendError, BuildError, DeclarationError
from pytest_trt.spec.engine_spec import EngineSpec, Precision
from pytest_trt.trial.bench import Bench
from pytest_trt.trial.job_process import INSPECTION_TIMEOUT_S, run_inspection


def inspect(bench: Bench, name: str, precision: Precision, backend: str | None) -> ModelFacts | PlanFacts:
    """Return what a model or a plan contains.

    Args:
        bench: The resources of the run.
        name: The path of the model or plan.
        precision: The precision that a model is to have.
        backend: The backend that is to take the model or the plan; None to ask none.

    Raises:
        ModelError: There is no such file, or it is not a complete model.
        BackendError: The file is not a complete plan, or the backend is not installed or does not work here.
        DeclarationError: There is no such backend.
    """
    if backend is not None and backend not in BACKENDS:
        raise DeclarationError(f"--backend is {backend!r}: choose from {', '.join(BACKENDS)}")
    path = find_file("model", name, [Path.cwd()])
    if is_plan(path):
        plan = inspect_plan(path)
        return plan if backend is None else dataclasses.replace(plan, backend=_check_plan(bench, path, backend))
    model = read_model(path)
    facts = run_inspection(bench.conversion_server(), path, name, precision, bench.say)
    if backend is None:
        return facts
    spec = EngineSpec(path=name, precision=precision)
    if precision in ("fp16", "bf16") and not bench.strongly_typed(backend, spec):
        note = (
            f"{BACKENDS[backend].label} {bench.server(backend).version} chooses the precision of each layer by timing"
        )
        facts = dataclasses.replace(facts, precision=PrecisionFacts(precision=precision, notes=(note,)))
    return dataclasses.replace(facts, backend=_check_model(bench, model, spec, backend, facts))


def _check_plan(bench: Bench, plan: Path, backend: str) -> BackendFacts:
    """Return whether a backend can run a plan, by the plan's header."""
    info, version = BACKENDS[backend], bench.server(backend).version
    if not info.runs_plans:
        return BackendFacts(name=info.label, version=version, refusal=f"{info.label} runs no plans")
    try:
        check_origin(backend, version, plan, host_code=False)
    except BackendError as error:
        return BackendFacts(name=info.label, version=version, refusal=str(error))
    return BackendFacts(name=info.label, version=version)


def _check_model(bench: Bench, model: Model, spec: EngineSpec, backend: str, facts: ModelFacts) -> BackendFacts:
    """Return whether a backend takes a model in the spec's precision."""
    info, version = BACKENDS[backend], bench.server(backend).version
    with ScratchFolder("inspection") as folder:
        try:
            recipe = None if facts.precision.refusal else _recipe(bench, model, spec, backend)
            source = model.parser_path if recipe is None else _convert(bench, model, recipe, backend, folder)
            with bench.server(backend).fork() as probe:
                encoded = codec.encode(spec.without_functions)
                there = str(bench.host().deliver(source))
                probe.call("check", timeout_s=INSPECTION_TIMEOUT_S, name=backend, model=there, spec=encoded)
        except BuildError as error:
            return BackendFacts(name=info.label, version=version, refusal=str(error))
    return BackendFacts(name=info.label, version=version)


def _recipe(bench: Bench, model: Model, spec: EngineSpec, backend: str) -> Recipe | None:
    """Return the conversion that precedes a build, except that to int8, which needs calibration inputs.

    Raises:
        BuildError: The backend cannot build the model in this precision.
    """
    runs_model = BACKENDS[backend].runs_model
    if spec.precision == "int8":
        return None if runs_model or not qdq.has_int32_biases(model) else "int32 biases folded"
    typed = bench.strongly_typed(backend, spec)
    return prepare(spec, model, None, strongly_typed=typed, takes_int32_biases=runs_model).recipe


def _convert(bench: Bench, model: Model, recipe: Recipe, backend: str, folder: Path) -> Path:
    output = folder / model.path.name
    job = ConversionJob(recipe=recipe, model=str(model.path), output=str(output), timeout_s=INSPECTION_TIMEOUT_S)
    bench.convert(job, backend)
    return output
