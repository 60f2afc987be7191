"""The generations of a probe: the engine that reads the prompt, beside the one that runs the steps."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_trt.engine.backends.base import Backend, Engine
from pytest_trt.pipeline.generation import Generated, Phase, StepRunner, generate
from pytest_trt.pipeline.open import open_steps
from pytest_trt.spec.declaration import PipelineOptions
from pytest_trt.spec.engine_spec import EngineSpec

if TYPE_CHECKING:
    from pytest_trt.engine.tensors import Arrays


@dataclasses.dataclass(frozen=True)
class GenerationJob:
    """What a probe generates.

    Attributes:
        reading: How the prompt is read.
        decoding: How the steps are run.
        prefill: The path of the plan that reads the prompt; None for the probe's own.
        prefill_spec: The options of loading it.
    """

    reading: Phase
    decoding: Phase
    prefill: str | None = None
    prefill_spec: EngineSpec | None = None


class Generations:
    """What the last job needed, for the next one. Close it."""

    def __init__(self) -> None:
        self._job: GenerationJob | None = None
        self._steps: StepRunner | None = None
        self._parts = contextlib.ExitStack()

    def open(
        self,
        engine: Engine,
        state: Mapping[str, str],
        options: PipelineOptions,
        backend: Backend,
        device: str,
        job: GenerationJob,
    ) -> StepRunner:
        """Return what runs the steps of a job; that of the last job if it is the same.

        Args:
            engine: The engine that runs the steps.
            state: The outputs that become inputs of the next step.
            options: The options of the pipeline.
            backend: The backend, which loads the engine that reads the prompt.
            device: The device.
            job: The job.
        """
        if self._steps is None or self._job != job:
            self.close()
            reader = engine
            if job.prefill is not None:
                loaded = backend.load(Path(job.prefill), device, job.prefill_spec or EngineSpec())
                reader = self._parts.enter_context(contextlib.closing(loaded))
            steps = open_steps(reader, engine, job.reading, job.decoding, state, options)
            self._steps, self._job = self._parts.enter_context(contextlib.closing(steps)), job
        return self._steps

    def close(self) -> None:
        """Free what the last job needed."""
        self._steps = self._job = None
        self._parts.close()


def run_generation(steps: StepRunner, job: GenerationJob, arrays: Arrays, *, keep_logits: bool) -> Generated:
    """Generate tokens.

    Args:
        steps: Runs the steps.
        job: What is generated.
        arrays: The prompt by the name of the input of tokens, and the inputs that are the same in every step.
        keep_logits: Whether to return the logits of each token.
    """
    reading = job.reading
    constants = {name: array for name, array in arrays.items() if name != reading.roles.tokens}
    return generate(steps, arrays[reading.roles.tokens], reading, job.decoding, constants, keep_logits=keep_logits)
