"""The lanes that run an engine at one shape, with their CUDA graphs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pytest_trt.core.nvtx import span
from pytest_trt.engine.backends import cuda
from pytest_trt.engine.state import State
from pytest_trt.errors import BackendError
from pytest_trt.pipeline.block_timer import BlockTimer
from pytest_trt.pipeline.copying import Copier
from pytest_trt.pipeline.delay import StreamDelay
from pytest_trt.pipeline.lane import Lane, Slot
from pytest_trt.spec.declaration import PipelineOptions
from pytest_trt.spec.shape_ranges import Shape

if TYPE_CHECKING:
    from pytest_trt.engine.backends.device_engine import DeviceEngine
    from pytest_trt.engine.tensors import Arrays

_FELL_BACK = "fell back: "


class LaneGroup:
    """The lanes that run an engine at one shape; inputs that the host reads have one set of values, too.

    Args:
        engine: The engine.
        shapes: The input shapes by name.
        values: The inputs that the host reads, by name.
        options: How the engine is run; there are `contexts` lanes.
        delay_ms: How much longer a computation takes in a block, in ms.
        state: The outputs and inputs that are state.

    Attributes:
        profile: The number of the optimisation profile.
        graph: Whether CUDA graphs are used, in words for `Runner.proof`; empty until `capture` has run.
        timer: Times blocks in the first lane.
        inputs: The inputs, with concrete shapes.
        outputs: The outputs; -1 in a shape depends on the data.
    """

    def __init__(
        self,
        engine: DeviceEngine,
        shapes: Mapping[str, Shape],
        values: Arrays,
        options: PipelineOptions,
        delay_ms: float,
        state: State,
    ) -> None:
        self.profile = engine.select_profile(shapes)
        self.options = options
        self.graph = "off" if options.cuda_graph is False else ""
        self.lanes: list[Lane] = []
        self._parts: list[Any] = []
        try:
            for _ in range(options.contexts):
                self.lanes.append(self._keep(Lane(engine, self.profile, shapes, values, options, state)))
            flush = self._keep(cuda.DeviceBuffer(2 * engine.device.l2_bytes)) if options.cold_l2 else None
            delay = self._keep(StreamDelay(self.lanes[0].compute, delay_ms)) if delay_ms else None
            self.timer: BlockTimer = self._keep(BlockTimer(self.lanes[0], flush, delay))
        except BaseException:
            self.close()
            raise
        io = self.lanes[0].io
        self.inputs, self.outputs = io.inputs, io.outputs

    @property
    def slots(self) -> list[Slot]:
        """The slots of all lanes, in the order in which they take turns: the next slot is in the next lane."""
        return [slot for turn in zip(*(lane.slots for lane in self.lanes), strict=True) for slot in turn]

    def capture(self, inputs: Arrays, copier: Copier) -> None:
        """Capture a graph for every slot on the given inputs, or for none of them; only the first call does anything.

        Raises:
            BackendError: No graph can be captured, and the options say `cuda_graph=True`.
        """
        if not self.graph:
            self.graph = self._try_capture(inputs, copier)
        if self.options.cuda_graph and self.graph.startswith(_FELL_BACK):
            reason = self.graph.removeprefix(_FELL_BACK)
            raise BackendError(
                f"trt_pipeline: cuda_graph=True, but no graph can be captured: {reason}; leave cuda_graph out to run "
                "without one"
            )

    def _try_capture(self, inputs: Arrays, copier: Copier) -> str:
        """Capture the graphs and return the text for `graph`."""
        try:
            with span("capture"):
                for slot in self.slots:
                    if slot.buffers.inputs.linear:
                        slot.upload(slot.buffers.input_copies_from(inputs))
                    else:
                        slot.buffers.write_inputs(inputs, copier)
                        slot.upload([slot.input_copy()])
                    slot.capture()
        except BackendError as error:
            for slot in self.slots:
                slot.drop_graph()
            return f"{_FELL_BACK}{error}"
        graph = self.lanes[0].slots[0].graph
        return f"captured, {graph.nodes if graph else 0} nodes"

    def _keep(self, part: Any) -> Any:
        self._parts.append(part)
        return part

    def close(self) -> None:
        """Free the lanes and the timer."""
        self.lanes.clear()
        while self._parts:
            self._parts.pop().close()
