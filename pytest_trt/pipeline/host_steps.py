"""Run the steps of a generation with engines on the host, which hand their state on without a copy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pytest_trt.engine.backends.base import HostEngine
from pytest_trt.engine.decoder import check_handover, check_next_step, logits_of_last
from pytest_trt.engine.state import State
from pytest_trt.engine.tensors import numpy_dtype
from pytest_trt.pipeline.generation import Phase

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pytest_trt.engine.tensors import Arrays


class HostSteps:
    """Runs steps whose state are values of the backend (see `generation.StepRunner`).

    Args:
        prompt_engine: The engine that reads the prompt.
        engine: The engine that runs the steps; it may be the same one.
        reading: How the prompt is read.
        decoding: How the steps are run.
        prompt_state: The outputs and inputs of the first engine that are state.
        state: Those of the second engine.
        kept: The outputs of the first engine that every step of the second reads, and none writes.
    """

    def __init__(
        self,
        prompt_engine: HostEngine,
        engine: HostEngine,
        reading: Phase,
        decoding: Phase,
        prompt_state: State,
        state: State,
        kept: State,
    ) -> None:
        self._prompt_engine, self._engine = prompt_engine, engine
        self._reading, self._decoding = reading, decoding
        self._prompt_state, self._state, self._kept = prompt_state, state, kept
        self.prompt_inputs, self.inputs = prompt_engine.inputs, engine.inputs
        self._values: dict[str, Any] = {}
        # What the second step reads. It is compared after the first one, so that the other steps need no time for it.
        self._next = decoding.second

    def reset(self) -> None:
        """Forget the state."""
        import numpy as np

        kinds = {tensor.name: numpy_dtype(tensor.dtype) for tensor in self.prompt_inputs}
        names = [pair.input for pair in self._prompt_state if pair.input in kinds]
        self._values = {name: np.zeros(self._reading.first[name], kinds[name]) for name in names}

    def read_prompt(self, inputs: Arrays) -> NDArray[Any]:
        """Read the prompt; see `StepRunner`."""
        logits = self._run(self._prompt_engine, inputs, self._reading, (*self._state, *self._kept))
        if self._decoding.steps:
            check_handover({name: value.shape() for name, value in self._values.items()}, self._decoding.first)
        return logits

    def step(self, inputs: Arrays) -> NDArray[Any]:
        """Run one step; see `StepRunner`."""
        logits = self._run(self._engine, inputs, self._decoding, self._state)
        if self._next is not None:
            check_next_step({name: value.shape() for name, value in self._values.items()}, self._next)
            self._next = None
        return logits

    def _run(self, engine: HostEngine, inputs: Arrays, phase: Phase, state: State) -> NDArray[Any]:
        outputs = engine.step({**inputs, **self._values})
        self._values = {**self._values, **{pair.input: outputs[pair.output] for pair in state}}
        logits: NDArray[Any] = outputs[phase.roles.logits].numpy()
        batch, rows = logits_of_last(logits.shape, inputs[phase.roles.tokens].shape)
        return logits.reshape(batch, rows, -1)[:, -1]

    @property
    def state_bytes(self) -> int:
        """The size of the state that the last step left, in bytes."""
        return sum(int(value.numpy().nbytes) for value in self._values.values())

    def close(self) -> None:
        """Forget the state."""
        self._values = {}
