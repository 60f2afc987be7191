"""The runner for engines that run by a call on the host, timed by the host's clock."""

from __future__ import annotations

import gc
import itertools
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from pytest_trt.core.records import LayerProfile
from pytest_trt.engine.arrays import check_inputs
from pytest_trt.engine.backends.base import HostEngine, TimesItsDevice
from pytest_trt.engine.state import State, check_shapes
from pytest_trt.engine.tensors import Tensor, numpy_dtype
from pytest_trt.errors import BackendError, InputError
from pytest_trt.pipeline.carried import check_carriable, check_left_out, peek, without_state
from pytest_trt.pipeline.delay import delayed
from pytest_trt.pipeline.ordered import map_in_order
from pytest_trt.spec.declaration import PipelineOptions
from pytest_trt.spec.shape_ranges import Shape

if TYPE_CHECKING:
    from pytest_trt.engine.tensors import Arrays
    from pytest_trt.pipeline.runner import OutputAllocator, Request


class HostRunner:
    """Runs an engine of kind `host` at one shape, without graphs, pinned memory or streams.

    Args:
        engine: The engine.
        shapes: The input shapes by name.
        options: How the engine is run.
        delay_ms: How much longer an inference takes in `block` and `throughput`, in ms.
        state: The outputs and inputs that are state. They are in host memory, which the engine uses in place.

    Raises:
        BackendError: The options request something that only a device engine has: a CUDA graph or a cold L2 cache.
    """

    def __init__(
        self,
        engine: HostEngine,
        shapes: Mapping[str, Shape],
        options: PipelineOptions,
        delay_ms: float = 0.0,
        state: State = (),
    ) -> None:
        if options.cuda_graph:
            raise BackendError(
                "trt_pipeline: cuda_graph=True needs a GPU: this backend cannot capture a CUDA graph; leave it out"
            )
        if options.cold_l2:
            raise BackendError(
                "trt_pipeline: cold_l2=True needs a GPU: this backend cannot flush caches between samples; leave it out"
            )
        if options.expose_dma:
            raise BackendError(
                "trt_pipeline: expose_dma=True needs a GPU: this backend copies nothing to a device; leave it out"
            )
        self._engine, self._options, self._delay_ms, self._state = engine, options, delay_ms, state
        self.inputs = tuple(Tensor(t.name, t.dtype, tuple(shapes[t.name])) for t in engine.inputs)
        self.outputs = engine.outputs
        self.proof = {**engine.proof, **({"state": f"{len(state)} tensors stay in place"} if state else {})}
        self._inputs: Arrays | None = None
        self._call: Callable[[], None] | None = None

    def infer(self, inputs: Arrays, allocate_outputs: OutputAllocator | None = None) -> Arrays:
        """Run one inference and return new arrays; `allocate_outputs` is ignored."""
        outputs = self._engine.run(check_inputs(inputs, self.inputs))
        if self._state:
            found = [
                Tensor(pair.output, outputs[pair.output].dtype.name, outputs[pair.output].shape) for pair in self._state
            ]
            check_shapes(self._state, self.inputs, found)
        return outputs

    def serve(self, requests: Iterable[Request]) -> Iterator[Arrays]:
        """Run the requests one after another; their allocators are ignored."""
        carries, requests = peek(self._state, requests)
        if carries:
            return self._serve_steps(requests)
        return (self.infer(inputs) for inputs, _allocate_outputs in requests)

    def _serve_steps(self, requests: Iterable[Request]) -> Iterator[Arrays]:
        """Run each request on the state that the one before it left; the first one on zeros."""
        import numpy as np

        given, kinds = without_state(self.inputs, self._state), {t.name: t for t in self.inputs}
        names = [tensor.name for tensor in without_state(self.outputs, self._state)]
        zeros = ((pair.input, kinds[pair.input]) for pair in self._state)
        carried: dict[str, Any] = {name: np.zeros(tensor.shape, numpy_dtype(tensor.dtype)) for name, tensor in zeros}
        for inputs, _allocate_outputs in requests:
            check_left_out(inputs, self._state)
            outputs = self._engine.step({**check_inputs(inputs, given), **carried})
            carried = {pair.input: outputs[pair.output] for pair in self._state}
            for name, value in carried.items():
                check_carriable(name, kinds[name].shape, tuple(value.shape()))
            yield {name: outputs[name].numpy() for name in names}

    def stream(self, batches: Iterable[Arrays], postprocess: Callable[[Arrays], Any] | None = None) -> Iterator[Any]:
        """Run the batches one after another; `postprocess` runs on threads of its own."""
        outputs = map(self.infer, batches)
        return outputs if postprocess is None else map_in_order(outputs, postprocess, self._options.postprocess_threads)

    def set_inputs(self, inputs: Arrays) -> None:
        """Store the inputs on which `block`, `throughput` and `profile` run."""
        self._inputs = check_inputs(inputs, self.inputs)
        self._call = delayed(self._engine.bind_inputs(self._inputs), self._delay_ms)

    def block(self, count: int) -> Mapping[str, tuple[float, ...]]:
        """Time `count` inferences by the host's clock; samples in ms, the same for `ms` and `host_ms`.

        The GPU of an engine that can time it is timed by itself, for `gpu_ms`.
        """
        call, clock = self._bound_call("block"), time.perf_counter_ns
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
        return {"ms": times, "host_ms": times, **self._device_times(count)}

    def _device_times(self, count: int) -> Mapping[str, tuple[float, ...]]:
        """Return the samples of the GPU's time; nothing if the engine uses no GPU."""
        if self._inputs is None or not isinstance(self._engine, TimesItsDevice):
            return {}
        times = self._engine.device_times(self._inputs, count)
        return {"gpu_ms": times} if times else {}

    def throughput(self, seconds: float) -> float:
        """Return the inferences per second of a loop over about `seconds`."""
        call, done = self._bound_call("throughput"), 0
        started = time.perf_counter()
        while done == 0 or time.perf_counter() - started < seconds:
            call()
            done += 1
        return done / (time.perf_counter() - started)

    def profile(self, runs: int) -> LayerProfile:
        """Return the time of each layer, measured in a separate pass of `runs` inferences."""
        if self._inputs is None:
            raise _without_inputs("profile")
        names = tuple(tensor.name for tensor in (*self.inputs, *self.outputs))
        return LayerProfile(self._engine.profile(self._inputs, runs), runs, names)

    def memory(self) -> Mapping[str, int]:
        """Return the device memory of the engine in bytes by name; empty on a CPU."""
        return self._engine.memory()

    def close(self) -> None:
        """Release the inputs."""
        self._call = self._inputs = None

    def _bound_call(self, purpose: str) -> Callable[[], None]:
        """Return the call that infers on the stored inputs. Raises InputError if there are none."""
        if self._call is None:
            raise _without_inputs(purpose)
        return self._call


def _without_inputs(purpose: str) -> InputError:
    return InputError(f"{purpose}: the runner has no inputs: call set_inputs first")
