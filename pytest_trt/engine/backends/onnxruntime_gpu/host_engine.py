"""Run a model on a GPU by calls with arrays of the host, for outputs whose shape depends on the data."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from pytest_trt.core.records import Layer
from pytest_trt.engine.backends import cuda
from pytest_trt.engine.backends.onnxruntime_gpu import memory
from pytest_trt.engine.backends.onnxruntime_gpu.context import WITHOUT_WAITING
from pytest_trt.engine.backends.onnxruntime_gpu.engine import OrtDeviceEngine
from pytest_trt.engine.onnx.messages import readable_message
from pytest_trt.errors import BackendError

if TYPE_CHECKING:
    from pytest_trt.engine.tensors import Arrays


class OrtHostEngine:
    """A model whose session copies the inputs to the GPU and the outputs back, and allocates the outputs.

    ONNX Runtime cannot write an output to fixed memory if its shape is not known beforehand. Therefore no CUDA graph is
    captured, copies do not overlap, and host memory is not page-locked.

    Args:
        engine: The model on its device.
        dynamic: The names of the outputs whose shape depends on the data.

    Raises:
        BackendError: The provider does not load, or the GPU fails.
        BuildError: ONNX Runtime cannot load the model, or a node would run on the CPU that is not allowed.
    """

    kind: Literal["device", "host"] = "host"

    def __init__(self, engine: OrtDeviceEngine, dynamic: Sequence[str]) -> None:
        self._engine = engine
        self.inputs, self.outputs = engine.inputs, engine.outputs
        engine.device.activate()
        self._stream = cuda.Stream()
        try:
            self._session: Any = engine.open_session({"user_compute_stream": str(self._stream.handle)})
        except BaseException:
            self._stream.close()
            raise
        names = ", ".join(map(repr, dynamic))
        self.proof: Mapping[str, str] = {**engine.proof, "graph": f"off: the shape of {names} depends on the data"}
        self._inputs: Arrays = {}

    def run(self, inputs: Arrays) -> Arrays:
        """Run one inference. Raises BackendError if ONNX Runtime cannot run the model on these inputs."""
        outputs = self._call(lambda: self._session.run(None, dict(inputs)))
        return dict(zip((tensor.name for tensor in self.outputs), outputs, strict=True))

    def bind_inputs(self, inputs: Arrays) -> Callable[[], None]:
        """Return a call that runs one inference on `inputs`, with the copies to the device and back."""
        self._inputs = inputs
        binding = self._session.io_binding()
        for name, array in inputs.items():
            binding.bind_cpu_input(name, array)
        for tensor in self.outputs:
            binding.bind_output(tensor.name)
        session = self._session
        return lambda: session.run_with_iobinding(binding)

    def step(self, inputs: Mapping[str, Any]) -> Mapping[str, Any]:
        """Run one inference on arrays or OrtValues, and return OrtValues. Raises BackendError as `run` does."""
        make = self._engine.ort.OrtValue.ortvalue_from_numpy
        values = {name: value if hasattr(value, "numpy") else make(value) for name, value in inputs.items()}
        names = [tensor.name for tensor in self.outputs]
        return dict(zip(names, self._call(lambda: self._session.run_with_ort_values(names, values)), strict=True))

    def _call(self, work: Callable[[], Any]) -> Any:
        try:
            return work()
        except Exception as error:  # ONNX Runtime's exceptions share no base class but Exception.
            raise BackendError(f"ONNX Runtime cannot run the model: {readable_message(error)}") from error

    def device_times(self, inputs: Arrays, count: int) -> tuple[float, ...]:
        """Return the ms between events around each of `count` inferences, whose inputs and outputs are on the GPU."""
        ort, device = self._engine.ort, self._engine.device.ordinal
        binding, options = self._session.io_binding(), ort.RunOptions()
        options.add_run_config_entry(WITHOUT_WAITING, "1")
        for name, array in inputs.items():
            binding.bind_ortvalue_input(name, ort.OrtValue.ortvalue_from_numpy(array, "cuda", device))
        for tensor in self.outputs:
            binding.bind_output(tensor.name, "cuda", device)
        events = [cuda.Event() for _ in range(count + 1)]
        try:
            events[0].record(self._stream)
            for event in events[1:]:
                self._call(lambda: self._session.run_with_iobinding(binding, options))
                event.record(self._stream)
            self._stream.synchronize()
            return tuple(ended.ms_since(began) for began, ended in itertools.pairwise(events))
        finally:
            for event in events:
                event.close()

    def profile(self, inputs: Arrays, runs: int) -> tuple[Layer, ...]:
        """Return the layers with their median times over `runs` inferences."""
        return self._engine.profile(inputs, runs)

    def memory(self) -> Mapping[str, int]:
        """Return the bytes of the weights and the peak, which includes inputs and outputs."""
        if not self._engine.counts_memory:
            return {}
        return memory.count_memory_of_call(self._engine.open_session, self._inputs)

    def layers(self) -> tuple[Layer, ...]:
        """Return nothing: ONNX Runtime reports layers only in `profile`."""
        return ()

    def close(self) -> None:
        """Free the session and its stream."""
        self._session = None
        self._stream.close()
