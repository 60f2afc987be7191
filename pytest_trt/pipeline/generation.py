"""Generate tokens: read a prompt, then run steps that feed each other, with the state where it is."""

from __future__ import annotations

import dataclasses
import gc
import itertools
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

from pytest_trt.engine.decoder import shapes_between, step_arrays
from pytest_trt.engine.roles import Roles
from pytest_trt.engine.tensors import Tensor, numpy_dtype
from pytest_trt.errors import InputError
from pytest_trt.spec.shape_ranges import Shape

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pytest_trt.engine.tensors import Arrays


@dataclasses.dataclass(frozen=True)
class Phase:
    """One of the two kinds of steps of a generation: reading the prompt, or reading the token before.

    Attributes:
        roles: The roles of the engine's inputs and outputs.
        first: The shapes of all inputs in the first step.
        last: The shapes of all inputs in the last step.
        steps: The number of steps.
    """

    roles: Roles
    first: Mapping[str, Shape]
    last: Mapping[str, Shape]
    steps: int

    @property
    def second(self) -> Mapping[str, Shape] | None:
        """The shapes of all inputs in the second step; None without one."""
        return shapes_between(self.first, self.last, 1, self.steps) if self.steps > 1 else None


@dataclasses.dataclass(frozen=True)
class Generated:
    """The tokens of one generation, and how long they took.

    Attributes:
        tokens: The generated tokens, of shape (batch, steps).
        ttft_ms: The time from the prompt in host memory to the first token there, in ms.
        step_ms: The time of each further token, in ms.
        state_bytes: The size of the state after the last step.
        logits: The logits of each token, of shape (steps, batch, vocabulary); None unless they were requested.
    """

    tokens: NDArray[Any]
    ttft_ms: float
    step_ms: tuple[float, ...]
    state_bytes: int
    logits: NDArray[Any] | None = None


class StepRunner(Protocol):
    """Runs the steps of a generation, each on the state that the step before left."""

    @property
    def prompt_inputs(self) -> tuple[Tensor, ...]:
        """The inputs of the engine that reads the prompt."""
        ...

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        """The inputs of the engine that runs the steps."""
        ...

    def reset(self) -> None:
        """Forget the state."""
        ...

    def read_prompt(self, inputs: Arrays) -> NDArray[Any]:
        """Read the prompt, and return the logits after its last token, of shape (batch, vocabulary).

        Args:
            inputs: The inputs that are no state.
        """
        ...

    def step(self, inputs: Arrays) -> NDArray[Any]:
        """Run one step, and return its logits, of shape (batch, vocabulary)."""
        ...

    @property
    def state_bytes(self) -> int:
        """The size of the state that the last step left, in bytes."""
        ...

    def close(self) -> None:
        """Free what the steps use."""
        ...


def generate(
    runner: StepRunner, prompt: NDArray[Any], reading: Phase, decoding: Phase, constants: Arrays, *, keep_logits: bool
) -> Generated:
    """Generate tokens greedily: each is the one with the largest logit.

    The logits are copied to the host, which finds the largest and copies the token back. Both copies are timed, as a
    server makes them too; the state is not copied.

    Args:
        runner: Runs the steps.
        prompt: The tokens to read first, of shape (batch, tokens).
        reading: How the prompt is read.
        decoding: How the tokens are read that are generated; its steps are one fewer than the tokens to generate.
        constants: The inputs that are the same in every step.
        keep_logits: Whether to return the logits.
    """
    import numpy as np

    prompt_constants, step_constants = (
        {t.name: np.asarray(constants[t.name], numpy_dtype(t.dtype)) for t in tensors if t.name in phase.roles.others}
        for tensors, phase in ((runner.prompt_inputs, reading), (runner.inputs, decoding))
    )
    varying = set(decoding.roles.varying)
    inputs = [tensor for tensor in runner.inputs if tensor.name in varying]
    first, last = ({name: shapes[name] for name in varying} for shapes in (decoding.first, decoding.last))
    fill, clock, kept = prompt.shape[1], time.perf_counter, []
    collecting = gc.isenabled()
    gc.disable()
    runner.reset()
    try:
        stamps = [clock()]
        arrays = step_arrays(runner.prompt_inputs, reading.roles, reading.first, prompt, 0)
        logits = runner.read_prompt({**arrays, **prompt_constants})
        tokens = [logits.argmax(-1)]
        stamps.append(clock())
        kept.append(logits)
        for number in range(decoding.steps):
            shapes = shapes_between(first, last, number, decoding.steps)
            arrays = step_arrays(inputs, decoding.roles, shapes, tokens[-1][:, None], fill + number)
            logits = runner.step({**arrays, **step_constants})
            tokens.append(logits.argmax(-1))
            stamps.append(clock())
            if keep_logits:
                kept.append(logits)
    finally:
        if collecting:
            gc.enable()
    first_ms, *rest = ((end - start) * 1000 for start, end in itertools.pairwise(stamps))
    if any(np.isnan(some).any() for some in (*kept, logits)):
        raise InputError("generate: the logits hold NaN, so that no token can be chosen from them")
    return Generated(
        np.stack(tokens, axis=1), first_ms, tuple(rest), runner.state_bytes, np.stack(kept) if keep_logits else None
    )
