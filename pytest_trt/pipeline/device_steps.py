"""Run the steps of a generation on a device, where the state of a step is the memory that the step before wrote."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pytest_trt.engine.backends import cuda
from pytest_trt.engine.decoder import check_handover, check_next_step
from pytest_trt.engine.state import State
from pytest_trt.pipeline.generation import Phase
from pytest_trt.pipeline.step_context import Memory, Plan, StepContext, nbytes_at
from pytest_trt.spec.declaration import PipelineOptions
from pytest_trt.spec.shape_ranges import Shape

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pytest_trt.engine.backends.device_engine import DeviceEngine
    from pytest_trt.engine.tensors import Arrays


class DeviceSteps:
    """Runs steps on a device (see `generation.StepRunner`).

    Each step reads the memory that the step before wrote, and writes another: two parts take turns. State that
    TensorRT updates in place has one part.

    Args:
        prompt_engine: The engine that reads the prompt.
        engine: The engine that runs the steps; it may be the same one.
        reading: How the prompt is read.
        decoding: How the steps are run.
        prompt_state: The outputs and inputs of the first engine that are state.
        state: Those of the second engine.
        kept: The outputs of the first engine that every step of the second reads, and none writes.
        options: `cuda_graph` applies.
    """

    def __init__(
        self,
        prompt_engine: DeviceEngine,
        engine: DeviceEngine,
        reading: Phase,
        decoding: Phase,
        prompt_state: State,
        state: State,
        kept: State,
        options: PipelineOptions,
    ) -> None:
        self._engines, self._phases = (prompt_engine, engine), (reading, decoding)
        self._prompt_state, self._state, self._kept = prompt_state, state, kept
        self.prompt_inputs, self.inputs = prompt_engine.inputs, engine.inputs
        self._kinds = {tensor.name: tensor for tensor in (*engine.inputs, *prompt_engine.inputs)}
        self._held: Mapping[str, tuple[int, Shape]] = {}
        self._turn = 0
        # What the second step reads. It is compared after the first one, so that the other steps need no time for it.
        self._next = decoding.second
        self._plans: dict[int, Plan] = {}
        self._parts = contextlib.ExitStack()
        try:
            engine.device.activate()
            self._stream = self._parts.enter_context(cuda.Stream())
            self._memory = self._parts.enter_context(contextlib.closing(Memory(cuda.DeviceBuffer)))
            self._contexts = tuple(
                self._parts.enter_context(contextlib.closing(StepContext(one, phase, self._stream, options)))
                for one, phase in zip(self._engines, self._phases, strict=True)
            )
        except BaseException:
            self.close()
            raise

    def reset(self) -> None:
        """Forget the state: it is empty, or holds zeros."""
        self._turn, held = 0, {}
        for pair in self._prompt_state:
            shape = self._phases[0].first[pair.input]
            nbytes = nbytes_at(self._kinds[pair.input], shape)
            buffer = self._memory.at_least((pair.input, 0), nbytes)
            if nbytes:
                self._stream.fill(buffer.address, nbytes)
            held[pair.input] = (buffer.address, shape)
        self._held = held
        self._stream.synchronize()

    def read_prompt(self, inputs: Arrays) -> NDArray[Any]:
        """Read the prompt; see `StepRunner`."""
        self._turn += 1
        context = self._contexts[0]
        plan = self._plan(0, inputs, context.copy_in(inputs))
        logits, self._held = context.run(plan), plan.left
        if self._phases[1].steps:
            check_handover({name: shape for name, (_, shape) in self._held.items()}, self._phases[1].first)
        return logits

    def step(self, inputs: Arrays) -> NDArray[Any]:
        """Run one step; see `StepRunner`."""
        self._turn += 1
        context, part = self._contexts[1], self._turn % 2
        copied = context.copy_in(inputs)
        plan = self._plans.get(part)
        if plan is None or plan.valid_for != self._replaced:
            plan = self._plan(1, inputs, copied)
            if context.repeats:
                self._plans[part] = plan
        logits, self._held = context.run(plan), {**self._held, **plan.left}
        if self._next is not None:
            check_next_step({name: shape for name, (_, shape) in self._held.items()}, self._next)
            self._next = None
        return logits

    @property
    def _replaced(self) -> int:
        return self._memory.replaced + self._contexts[1].replaced

    def _plan(self, number: int, inputs: Arrays, copied: Mapping[str, int]) -> Plan:
        """Return how the next step is run: it reads the state that is held.

        Args:
            number: 0 to read the prompt, 1 for another step.
            inputs: The inputs that are no state.
            copied: Their addresses.
        """
        context, aliases = self._contexts[number], self._engines[number].aliases
        read = {pair.input for pair in (self._prompt_state, (*self._state, *self._kept))[number]}
        held = {name: found for name, found in self._held.items() if name in read}
        shapes = {**{n: tuple(a.shape) for n, a in inputs.items()}, **{n: shape for n, (_, shape) in held.items()}}
        outputs = context.set_shapes(shapes, copied)
        addresses = {**copied, **{name: address for name, (address, _) in held.items()}}
        left: dict[str, tuple[int, Shape]] = {}
        for pair in self._state if number else (*self._state, *self._kept):
            shape, kind = outputs.pop(pair.output), self._kinds[pair.input]
            nbytes = nbytes_at(kind, shape)
            if pair.output in aliases:
                address = addresses[aliases[pair.output]]
            else:
                growth = nbytes - nbytes_at(kind, held[pair.input][1]) if number and pair.input in held else 0
                room = growth * self._phases[1].steps
                address = self._memory.at_least((pair.input, self._turn % 2), nbytes, room).address
            addresses[pair.output] = address
            left[pair.input] = (address, shape)
        addresses |= context.output_addresses(outputs)
        logits = outputs[self._phases[number].roles.logits]
        return Plan(addresses, logits, left, valid_for=self._replaced)

    @property
    def state_bytes(self) -> int:
        """The size of the state that the last step left, in bytes."""
        return sum(nbytes_at(self._kinds[name], shape) for name, (_, shape) in self._held.items())

    def close(self) -> None:
        """Free the contexts and the memory."""
        self._parts.close()
