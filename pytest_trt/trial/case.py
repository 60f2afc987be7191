"""One declaration, bound to what a run works with: its model, its engine, and a probe to infer in."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pytest_trt.core.backends import BACKENDS
from pytest_trt.core.records import Environment, LayerProfile, Result, Verdict
from pytest_trt.engine.arrays import refuse_nan
from pytest_trt.engine.backends.base import BuildJob, BuildReport
from pytest_trt.engine.backends.plan_header import check_capabilities, check_origin
from pytest_trt.engine.model.files import resolve_files
from pytest_trt.engine.model.model import Model, resolve_model
from pytest_trt.engine.model.shapes import ResolvedShapes, resolve_shapes
from pytest_trt.engine.provide import BuildRequest, BuildResources, ProvidedEngine, provide
from pytest_trt.measure.engine_probe import EngineProbe, Subject, read_tensors
from pytest_trt.pipeline.ordered import map_in_order
from pytest_trt.spec.declaration import Declaration
from pytest_trt.spec.description import describe
from pytest_trt.spec.engine_spec import EngineSpec
from pytest_trt.spec.shape_ranges import Shape
from pytest_trt.trial.bench import Bench

if TYPE_CHECKING:
    from pytest_trt.engine.tensors import Arrays, Tensor

PROFILE_RUNS = 50

SomeCase = TypeVar("SomeCase", bound="Case")


class Case:
    """Called with inputs it infers once; `stream` infers many; `profile` times the layers. Close it.

    Everything is made when it is first asked for; every TrtError that its parts raise passes through.
    """

    def __init__(self, bench: Bench, node_id: str, declaration: Declaration, folders: Sequence[Path]) -> None:
        self._bench, self._node_id, self._folders = bench, node_id, folders
        self.backend = bench.backend_name(declaration.spec)
        self.declaration = bench.completed(declaration, self.backend)
        self._probe: EngineProbe | None = None

    @cached_property
    def environment(self) -> Environment:
        """The device and the software that the engine is for."""
        return self._bench.environment_for(self.backend, self.declaration.spec)

    @cached_property
    def spec(self) -> EngineSpec:
        """What is built, with the files that it names where they lie."""
        has_timing_cache = not BACKENDS[self.backend].runs_model
        return resolve_files(self.declaration.spec, self._folders, has_timing_cache=has_timing_cache)

    @cached_property
    def model(self) -> Model:
        """The model, found and read."""
        model = resolve_model(self.spec, self._folders, self._bench.store)
        if model.kind == "plan" and not self._bench.settings.build_only:  # what it takes and gives, its runtime tells
            server, device = self._bench.server(self.backend), self._bench.settings.device
            model = model.with_tensors(*read_tensors(server, model.path, device, self.spec))
        return model

    @cached_property
    def engine(self) -> ProvidedEngine:
        """The engine, built or from the cache."""
        return self._provide(fresh=False)

    def build_again(self) -> ProvidedEngine:
        """The same model and options, built once more beside what is cached: builds differ."""
        return self._provide(fresh=True)

    def _provide(self, *, fresh: bool) -> ProvidedEngine:
        bench = self._bench
        request = BuildRequest(
            spec=self.spec,
            model=self.model,
            shapes=lambda: self.resolved_shapes,
            environment=self.environment,
            strongly_typed=bench.strongly_typed(self.backend, self.spec),
            device=bench.settings.device,
        )
        resources = BuildResources(store=bench.store, build=self._build, report_waiting=bench.say)
        return provide(request, resources, fresh=fresh)

    def _build(self, job: BuildJob) -> BuildReport:
        with self._bench.lock(self.environment):
            return self._bench.build(job)

    @cached_property
    def resolved_shapes(self) -> ResolvedShapes:
        """The shapes that the engine is built for and run with."""
        return resolve_shapes(self.model, self.declaration.spec, self.declaration.run)

    @property
    def shapes(self) -> Mapping[str, Shape]:
        """The shapes that are run, by input."""
        return self.resolved_shapes.run

    @property
    def description(self) -> Mapping[str, str]:
        """What is built and run, as text."""
        return describe(self.declaration, self.shapes)

    @property
    def batch(self) -> int:
        """How many inferences a query makes: the declared batch, else the leading dimension of the first input that
        leaves it open, else 1."""
        open_sizes = [
            self.shapes[name][0] for name, dims in self.model.dims.items()
            if name in self.shapes and dims and not isinstance(dims[0], int)
        ]  # fmt: skip
        return self.declaration.run.batch or next(iter(open_sizes), 1)

    def subject(self, engine: ProvidedEngine, inputs: Arrays | None = None) -> Subject:
        """What is opened in a probe: that engine, as the case declares it is run."""
        return Subject(
            plan=engine.plan,
            device=self._bench.settings.device,
            spec=self.spec,
            shapes=self.shapes,
            options=self.declaration.pipeline,
            inputs=inputs,
        )

    def __call__(self, inputs: Arrays) -> Arrays:
        """One inference: arrays by name in, arrays by name out. Raises InputError where they do not fit."""
        refuse_nan(inputs)
        return self._opened().infer(inputs)

    def stream(self, batches: Iterable[Arrays], postprocess: Callable[[Arrays], Any] | None = None) -> Iterator[Any]:
        """Outputs in order, or what `postprocess` makes of them on threads of its own (`postprocess_threads`) while the
        pipeline goes on. What `batches` or `postprocess` raises comes up at its item, and so does InputError for a
        batch that does not fit. Exhaust it, or leave it, before the next call."""
        outputs = self._opened().stream(_without_nan(batches))
        if postprocess is None:
            return outputs
        return map_in_order(outputs, postprocess, self.declaration.pipeline.postprocess_threads)

    def profile(self, runs: int = PROFILE_RUNS) -> LayerProfile:
        """Per-layer times, in ms, medians over `runs` inferences."""
        return self._opened().profile(runs)

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        """What the engine takes, in its own types and in the shapes that are run."""
        return self._opened().inputs

    def drawn(self) -> Arrays:
        """The inputs that the seed draws."""
        return self._opened().current_inputs()

    def _opened(self) -> EngineProbe:
        if self._probe is None:
            self._probe = EngineProbe(self._bench.server(self.backend), self.subject(self.engine))
        return self._probe

    def build_result(self) -> Result:
        """Build the engine, or find it in the cache, and run nothing. Raises BackendError for a plan that is given and
        cannot be run by this backend, or by the devices that engines are built for, as far as its header tells."""
        engine = self.engine
        if self.model.kind == "plan":
            version, asked = self._bench.server(self.backend).version, self._bench.settings.compute_capabilities
            origin = check_origin(self.backend, version, self.model.path, self.spec.host_code_allowed)
            check_capabilities(origin, self.model.path, asked, "--trt-compute-capability asks for")
            how = "given"
        else:
            how = f"built in {engine.build_s:.1f} s" if engine.built and engine.build_s is not None else "in the cache"
        verdict = Verdict("ok", "run", "", f"engine {how}: {engine.digest[:12]}")
        return Result(self._node_id, (verdict,), built_s=engine.build_s if engine.built else None)

    def close(self) -> None:
        """End the probe that serves inferences, if one is open."""
        if self._probe is not None:
            self._probe.close()
            self._probe = None

    def __enter__(self: SomeCase) -> SomeCase:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def _without_nan(batches: Iterable[Arrays]) -> Iterator[Arrays]:
    for batch in batches:
        refuse_nan(batch)
        yield batch
