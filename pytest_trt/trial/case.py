"""Bind a declaration to the resources of a run: its model, its engine, and a probe that infers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pytest_trt.core.backends import BACKENDS
from pytest_trt.core.records import Environment, LayerProfile
from pytest_trt.engine.backends.base import BuildJob, BuildReport
from pytest_trt.engine.convert.conversion import Conversion, ConversionJob
from pytest_trt.engine.model.files import resolve_files
from pytest_trt.engine.model.model import Model, resolve_model
from pytest_trt.engine.model.shapes import ResolvedShapes, resolve_shapes
from pytest_trt.engine.provide import BuildRequest, BuildResources, ProvidedEngine, provide
from pytest_trt.engine.state import State, check_write_index, resolve_state
from pytest_trt.errors import InputError
from pytest_trt.measure.engine_probe import EngineProbe, GenerationInputs, Subject, read_tensors
from pytest_trt.measure.probe.input_ring import InputRing
from pytest_trt.pipeline.generation import Generated
from pytest_trt.pipeline.ordered import map_in_order
from pytest_trt.spec.declaration import Declaration
from pytest_trt.spec.description import describe
from pytest_trt.spec.engine_spec import EngineSpec
from pytest_trt.spec.shape_ranges import Shape
from pytest_trt.trial.bench import Bench
from pytest_trt.trial.caller_arrays import check_written, take_batches, take_inputs
from pytest_trt.trial.generation import plan_inputs
from pytest_trt.trial.generation_sizes import with_total_dims
from pytest_trt.trial.host_retry import HostRetry
from pytest_trt.trial.hosts.host import Host
from pytest_trt.trial.pool import BOUND_DEVICE

if TYPE_CHECKING:
    from pytest_trt.engine.tensors import Arrays, Tensor

PROFILE_RUNS = 50
"""How many inferences `profile` times by default."""

MAX_KEPT = 1024
"""The most outputs that stay valid at a time as views."""

SomeCase = TypeVar("SomeCase", bound="Case")


class Case:
    """One model as a declaration builds and runs it. Call it with inputs to infer once. Close it.

    Each part is created when it is first used. Every TrtError that the parts raise passes through.

    Args:
        bench: The resources of the run.
        node_id: The test, or a name that errors show.
        declaration: The model, its shapes and its pipeline.
        folders: Where relative paths are looked for, in this order.
    """

    def __init__(self, bench: Bench, node_id: str, declaration: Declaration, folders: Sequence[Path]) -> None:
        self._bench, self._node_id, self._folders = bench, node_id, folders
        self.backend = bench.backend_name(declaration.spec)
        self.declaration = bench.completed(declaration, self.backend)
        self._probe: EngineProbe | None = None
        self._on_host = HostRetry(bench, node_id, lambda: self.environment, self._forget_host)

    @cached_property
    def environment(self) -> Environment:
        """The device and the software that the engine is for."""
        return self._bench.environment_for(self.backend, self.declaration.spec)

    @property
    def _host(self) -> Host:
        """The host that builds and runs the engine."""
        return self._bench.host(self.environment)

    @cached_property
    def spec(self) -> EngineSpec:
        """The build options, with the paths of files resolved."""
        has_timing_cache = not BACKENDS[self.backend].runs_model
        return resolve_files(self.declaration.spec, self._folders, has_timing_cache=has_timing_cache)

    @cached_property
    def model(self) -> Model:
        """The model, found and read."""
        model = resolve_model(self.spec, self._folders, self._bench.store)
        if model.kind == "plan" and not self._bench.settings.build_only:  # only its runtime knows its tensors
            server, host = self._bench.server(self.backend, self.environment), self._host
            tensors = read_tensors(server, host.deliver(model.path), BOUND_DEVICE, host.localise(self.spec))
            model = model.with_tensors(*tensors)
        return with_total_dims(model, self.declaration.spec, self.declaration.run)

    @cached_property
    def engine(self) -> ProvidedEngine:
        """The engine, built or from the cache."""
        return self.provide()

    def _forget_host(self) -> None:
        """Forget what is only valid on the host, so that it is chosen again."""
        self.close()
        for name in ("environment", "engine", "declared_generation", "_device"):  # the last is that of a Trial
            self.__dict__.pop(name, None)

    def provide(self) -> ProvidedEngine:
        """Return the engine, and do not keep it.

        Threads call this at the same time. Python before 3.12 computes a cached property in one thread at a time.
        """
        return self._on_host(lambda: self._provide(fresh=False))

    def build_again(self) -> ProvidedEngine:
        """Build the same model and options once more, apart from the cached engine: builds differ."""
        return self._provide(fresh=True)

    def _provide(self, *, fresh: bool) -> ProvidedEngine:
        bench = self._bench
        request = BuildRequest(
            spec=self.spec,
            model=self.model,
            shapes=lambda: self.resolved_shapes,
            environment=self.environment,
            strongly_typed=bench.strongly_typed(self.backend, self.spec),
            device=BOUND_DEVICE,
            test=self._node_id,
        )
        resources = BuildResources(
            store=self._host.engines,
            convert=self._convert,
            build=self._build,
            report_waiting=self._report_waiting,
            deliver=self._host.deliver,
        )
        return provide(request, resources, fresh=fresh)

    def _report_waiting(self, text: str) -> None:
        """Show that another process builds the engine."""
        self._bench.say(text)

    def _convert(self, job: ConversionJob) -> Conversion:
        return self._bench.convert(job, self.backend)

    def _build(self, job: BuildJob) -> BuildReport:
        with self._bench.lock(self.environment):
            return self._bench.build(job, self.environment)

    @cached_property
    def resolved_shapes(self) -> ResolvedShapes:
        """The shapes that the engine is built for and run with."""
        model, spec = self.model, self.declaration.spec
        shapes = resolve_shapes(model, spec, self.declaration.run)
        check_write_index(spec, self.state, shapes.run, spec.input_ranges)
        return shapes

    @cached_property
    def state(self) -> State:
        """The outputs that become inputs of the next step."""
        return resolve_state(self.declaration.spec.state, self.model.inputs, self.model.outputs)

    @property
    def shapes(self) -> Mapping[str, Shape]:
        """The shapes that are run, by input."""
        return self.resolved_shapes.run

    @property
    def description(self) -> Mapping[str, str]:
        """What is built and run, as text by name."""
        generation = self.declared_generation
        return {**describe(self.declaration, self.shapes), **(generation.description if generation else {})}

    @property
    def batch(self) -> int:
        """The number of inferences in a query, as in ResolvedShapes."""
        return self.resolved_shapes.batch

    def subject(self, engine: ProvidedEngine, inputs: Arrays | None = None) -> Subject:
        """Return the engine as a probe opens it.

        Args:
            engine: The plan.
            inputs: Arrays by input name to run on; None to generate them from the seed.
        """
        return Subject(
            plan=engine.plan,
            device=BOUND_DEVICE,
            spec=self._host.localise(self.spec),
            shapes=self.shapes,
            options=self.declaration.pipeline,
            inputs=inputs,
            generation=self.declared_generation,
        )

    @cached_property
    def declared_generation(self) -> GenerationInputs | None:
        """What `trt_generate` declares; None without the marker."""
        it = self.declaration.generation
        return None if it is None else self.plan_generation(it.prompt, it.steps, it.prefill)

    def __call__(self, inputs: Mapping[str, Any]) -> Arrays:
        """Infer once.

        Args:
            inputs: Arrays by input name, in the engine's own types and shapes: of numpy, or of another library with the
                DLPack protocol, or a set of `inputs`.

        Returns:
            Arrays by output name.

        Raises:
            InputError: The inputs do not fit the engine, or hold NaN, or a write index lies beyond the state.
        """
        inputs = take_inputs(inputs)
        check_written(inputs, self.spec, self.state, self.shapes)
        return self._on_host(lambda: self._open_probe().infer(inputs))

    def stream(
        self, batches: Iterable[Mapping[str, Any]], postprocess: Callable[[Arrays], Any] | None = None
    ) -> Iterator[Any]:
        """Infer a stream of batches through the overlapped pipeline.

        An exception that `batches` or `postprocess` raises is raised at its item, and so is InputError for a batch that
        does not fit. Exhaust the iterator, or drop it, before the next call.

        Args:
            batches: The inputs of each query.
            postprocess: Applied to the outputs of each query, on `postprocess_threads` threads beside the pipeline.

        Returns:
            The outputs, or what `postprocess` returned for them, in the order of the batches.
        """
        taken = take_batches(batches, self.spec, self.state, self.shapes)
        outputs = self._on_host(self._open_probe).stream(taken)
        if postprocess is None:
            return outputs
        return map_in_order(outputs, postprocess, self.declaration.pipeline.postprocess_threads)

    def generate(self, prompt: Any, steps: int, prefill: str | Path | None = None) -> Generated:
        """Generate tokens: read the prompt, then run steps that feed each other, with the state on the device.

        Args:
            prompt: The tokens to read, of shape (tokens,) or (batch, tokens); or their number, to draw them.
            steps: The number of tokens to generate.
            prefill: The path of the model that reads the prompt; None for the test's own.

        Returns:
            The tokens, of shape (batch, steps), and how long each of them took.

        Raises:
            DeclarationError: The test declares no state.
            InputError: The tokens are invalid, or exceed the capacity of the state.
            ModelError: A model has no tokens or no logits, or is not built for so many tokens.
        """
        planned = self.plan_generation(prompt, steps, None if prefill is None else str(prefill))
        return self._on_host(lambda: self._open_probe().generate(planned))

    def plan_generation(self, prompt: Any, steps: int, prefill: str | None) -> GenerationInputs:
        """Return what a probe generates, and build the model that reads the prompt; see `generate`."""
        model = None if prefill is None else resolve_model(EngineSpec(path=prefill), self._folders, self._bench.store)
        return plan_inputs(self.model, model, self.declaration, prompt, steps, self._build_reader)

    def _build_reader(self, declaration: Declaration) -> tuple[ProvidedEngine, EngineSpec]:
        reader = Case(self._bench, self._node_id, declaration, self._folders)
        return reader.engine, self._host.localise(reader.spec)

    def profile(self, runs: int = PROFILE_RUNS) -> LayerProfile:
        """Time the layers: medians over `runs` inferences, in ms."""
        return self._on_host(lambda: self._open_probe().profile(runs))

    @property
    def input_tensors(self) -> tuple[Tensor, ...]:
        """The engine's inputs, in its own types and in the shapes that are run."""
        return self._on_host(lambda: self._open_probe().inputs)

    def inputs(self, n: int = 1) -> InputRing:
        """Return an endless iterator over sets of page-locked input arrays, to be filled in place for `stream`.

        The outputs of a query on such a set are views, without a copy. They stay valid until the outputs of `n` later
        queries have been taken. After that, the memory is used again; if anything still refers to it, that is an
        InputError.

        Args:
            n: How many outputs stay valid at a time.

        Raises:
            InputError: `n` is not from 1 to 1024.
        """
        if isinstance(n, bool) or not hasattr(n, "__index__") or not 1 <= n <= MAX_KEPT:
            raise InputError(f"inputs({n!r}): n must be a whole number from 1 to {MAX_KEPT}")
        return self._on_host(self._open_probe).input_sets(n)

    def generated_inputs(self) -> Arrays:
        """Return the inputs that are generated from the seed."""
        return self._on_host(lambda: self._open_probe().current_inputs())

    def _open_probe(self) -> EngineProbe:
        if self._probe is None:
            self._probe = EngineProbe(self._bench.server(self.backend, self.environment), self.subject(self.engine))
        return self._probe

    @property
    def serves_inferences(self) -> bool:
        """Whether a probe is open that serves inferences."""
        return self._probe is not None

    def close(self) -> None:
        """End the probe that serves inferences, if one is open."""
        if self._probe is not None:
            self._probe.close()
            self._probe = None

    def __enter__(self: SomeCase) -> SomeCase:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()
