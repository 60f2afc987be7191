"""The inputs and outputs of an execution context, once its input shapes are set."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING

from pytest_trt.engine.state import State, check_shapes
from pytest_trt.engine.tensors import Tensor
from pytest_trt.pipeline.buffers import Layout
from pytest_trt.pipeline.state_buffers import StateLayout
from pytest_trt.spec.shape_ranges import Shape

if TYPE_CHECKING:
    from pytest_trt.engine.backends.device_engine import DeviceContext, DeviceEngine
    from pytest_trt.engine.tensors import Arrays


@dataclasses.dataclass(frozen=True)
class ContextIO:
    """The inputs and outputs of a context at concrete input shapes, and how they lie in memory.

    Attributes:
        inputs: The inputs, with concrete shapes.
        outputs: The outputs; -1 in a shape depends on the data.
        profile: The number of the optimisation profile.
        input_layout: How the inputs lie in an allocation.
        output_layout: How the outputs lie in an allocation.
        state_layout: How the inputs and outputs that are state lie in allocations; they are in no other layout.
    """

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    profile: int
    input_layout: Layout
    output_layout: Layout
    state_layout: StateLayout

    @classmethod
    def from_context(
        cls,
        context: DeviceContext,
        engine: DeviceEngine,
        profile: int,
        shapes: Mapping[str, Shape],
        values: Arrays,
        state: State = (),
    ) -> ContextIO:
        """Set a context's input shapes and let it infer the output shapes.

        Args:
            context: The context, whose profile is set.
            engine: The context's engine.
            profile: The number of the context's optimisation profile.
            shapes: The input shapes by name.
            values: The inputs that the host reads, by name: their values decide shapes.
            state: The outputs and inputs that are state.

        Raises:
            InputError: The engine cannot run with these shapes and values.
            ModelError: The shapes of an output and an input that are state do not fit together.
        """
        inputs = tuple(dataclasses.replace(t, shape=tuple(shapes[t.name])) for t in engine.inputs)
        for tensor, declared in zip(inputs, engine.inputs, strict=True):
            if -1 in declared.shape:
                context.set_shape(tensor.name, tensor.shape)
        for name, value in values.items():
            context.set_address(name, int(value.ctypes.data))
        context.infer_shapes()
        outputs = tuple(dataclasses.replace(t, shape=context.shape(t.name)) for t in engine.outputs)
        check_shapes(state, inputs, outputs)
        state_layout = StateLayout(state, inputs, outputs, engine.aliases)
        copied_in, copied_out = (
            [t for t in tensors if t.name not in state_layout.names] for tensors in (inputs, outputs)
        )
        max_bytes = {t.name: max(context.max_output_bytes(t.name), 1) for t in copied_out if -1 in t.shape}
        return cls(inputs, outputs, profile, Layout(copied_in), Layout(copied_out, max_bytes), state_layout)
