"""The runner for engines that run on the host: a call in, a call out, timed by the host's clock."""

from __future__ import annotations

import gc
import itertools
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from pytest_trt.core.records import LayerProfile
from pytest_trt.engine.arrays import check_inputs
from pytest_trt.engine.backends.base import HostEngine
from pytest_trt.engine.tensors import Tensor
from pytest_trt.errors import BackendError, InputError
from pytest_trt.pipeline.ordered import map_in_order
from pytest_trt.spec.declaration import PipelineOptions
from pytest_trt.spec.shape_ranges import Shape

if TYPE_CHECKING:
    from pytest_trt.engine.tensors import Arrays
    from pytest_trt.pipeline.runner import OutputAllocator, Request


class HostRunner:
    """A host's engine at one shape. What only a device has (graphs, pinned memory, streams) is left out."""

    def __init__(self, engine: HostEngine, shapes: Mapping[str, Shape], options: PipelineOptions) -> None:
        if options.cuda_graph:
            raise BackendError("trt_pipeline: cuda_graph=True needs a GPU: ONNX Runtime on a CPU captures no graph")
        if options.cold_l2:
            raise BackendError("trt_pipeline: cold_l2=True needs a GPU: on a CPU no cache is emptied between samples")
        self._engine, self._options = engine, options
        self.inputs = tuple(Tensor(t.name, t.dtype, tuple(shapes[t.name])) for t in engine.inputs)
        self.outputs = engine.outputs
        self.proof = engine.proof
        self._filled: Arrays | None = None
        self._call: Callable[[], None] | None = None

    def infer(self, inputs: Arrays, allocate_outputs: OutputAllocator | None = None) -> Arrays:
        return self._engine.run(check_inputs(inputs, self.inputs))

    def serve(self, requests: Iterable[Request]) -> Iterator[Arrays]:
        return (self.infer(inputs) for inputs, _place in requests)

    def stream(self, batches: Iterable[Arrays], postprocess: Callable[[Arrays], Any] | None = None) -> Iterator[Any]:
        outputs = map(self.infer, batches)
        return outputs if postprocess is None else map_in_order(outputs, postprocess, self._options.postprocess_threads)

    def set_inputs(self, inputs: Arrays) -> None:
        self._filled = check_inputs(inputs, self.inputs)
        self._call = self._engine.bind_inputs(self._filled)

    def block(self, count: int) -> Mapping[str, tuple[float, ...]]:
        call, clock = self._ready(), time.perf_counter_ns
        stamps = [0] * (count + 1)
        collecting = gc.isenabled()
        gc.disable()
        try:
            stamps[0] = clock()
            for i in range(1, count + 1):
                call()
                stamps[i] = clock()
        finally:
            if collecting:
                gc.enable()
        times = tuple((end - start) / 1e6 for start, end in itertools.pairwise(stamps))
        return {"ms": times, "host_ms": times}

    def throughput(self, seconds: float) -> float:
        call, done = self._ready(), 0
        started = time.perf_counter()
        while done == 0 or time.perf_counter() - started < seconds:
            call()
            done += 1
        return done / (time.perf_counter() - started)

    def profile(self, runs: int) -> LayerProfile:
        if self._filled is None:
            raise InputError("no inputs were put in place: call set_inputs first")
        names = tuple(tensor.name for tensor in (*self.inputs, *self.outputs))
        return LayerProfile(self._engine.profile(self._filled, runs), runs, names)

    def memory(self) -> Mapping[str, int]:
        return self._engine.memory()

    def close(self) -> None:
        self._call = self._filled = None

    def _ready(self) -> Callable[[], None]:
        if self._call is None:
            raise InputError("no inputs were put in place: call set_inputs first")
        return self._call
