"""A session on a CUDA stream, in the form of an execution context."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Mapping
from typing import Any

from pytest_trt.engine.backends import cuda
from pytest_trt.engine.onnx.messages import readable_message
from pytest_trt.engine.tensors import Tensor, numpy_dtype
from pytest_trt.errors import BackendError, InputError
from pytest_trt.spec.shape_ranges import Shape

WITHOUT_WAITING = "disable_synchronize_execution_providers"
"""The run option with which a run returns when its work is enqueued, instead of when it has ended."""

_WARM_UP = 3
"""Runs before the first capture: in the first ones, ONNX Runtime still allocates memory, which cannot be captured."""

_ONNX_TYPES = {"bfloat16": 16}
"""ONNX's numbers of the data types for which NumPy has none (onnx.proto, TensorProto.DataType)."""


class OrtContext:
    """A session that runs in one stream, with inputs and outputs at fixed addresses.

    Args:
        ort: The module `onnxruntime`.
        session: The session; its providers use `stream`.
        inputs: The session's inputs.
        outputs: The session's outputs.
        device: The number of the device.
        stream: The stream.
        wait: Whether a run returns only when it has ended, for a session that does not use `stream`.
        after_warm_up: Is called once `infer_shapes` has run the model.
        reason_uncapturable: Returns why the session cannot be captured; empty if it may be.
    """

    def __init__(
        self,
        ort: Any,
        session: Any,
        inputs: tuple[Tensor, ...],
        outputs: tuple[Tensor, ...],
        device: int,
        stream: cuda.Stream,
        *,
        wait: bool = False,
        after_warm_up: Callable[[], None] | None = None,
        reason_uncapturable: Callable[[], str] = str,
    ) -> None:
        self._ort, self._session, self._device, self._stream = ort, session, device, stream
        self._inputs, self._outputs = inputs, outputs
        self._shapes: dict[str, Shape] = {tensor.name: tensor.shape for tensor in (*inputs, *outputs)}
        self._addresses: dict[str, int] = {}
        self._bindings: dict[tuple[int, ...], Any] = {}
        self._binding: Any = None
        self._consumed: cuda.Event | None = None
        self._after_warm_up = after_warm_up or _do_nothing
        self._reason_uncapturable = reason_uncapturable
        self._capture_failed = False
        self._run_options = ort.RunOptions()
        self._run_options.add_run_config_entry(WITHOUT_WAITING, str(int(not wait)))

    def set_shape(self, name: str, shape: Shape) -> None:
        """Set the shape of an input."""
        self._shapes[name] = shape

    def shape(self, name: str) -> Shape:
        """Return a tensor's shape; that of an output is known after `infer_shapes`."""
        return self._shapes[name]

    def max_output_bytes(self, name: str) -> int:
        """Return 0: every output has the shape that `infer_shapes` found."""
        return 0

    def infer_shapes(self) -> None:
        """Run on zeros to find the shapes of the outputs, and until all memory is allocated.

        Raises:
            InputError: The model cannot run with these shapes.
        """
        buffers: list[cuda.DeviceBuffer] = []
        try:
            binding = self._session.io_binding()
            for tensor in self._inputs:
                shape = self._shapes[tensor.name]
                buffers.append(cuda.DeviceBuffer(tensor_bytes(tensor, shape)))
                self._stream.fill(buffers[-1].address, max(buffers[-1].nbytes, 1))
                self._bind_input(binding, tensor, buffers[-1].address)
            for tensor in self._outputs:
                binding.bind_output(tensor.name, "cuda", self._device)
            self._stream.synchronize()
            for _ in range(_WARM_UP):
                self._session.run_with_iobinding(binding, self._run_options)
                self._stream.synchronize()
            for tensor, value in zip(self._outputs, binding.get_outputs(), strict=True):
                self._shapes[tensor.name] = tuple(int(size) for size in value.shape())
        except BackendError:
            raise
        except Exception as error:  # ONNX Runtime's exceptions share no base class but Exception.
            shapes = ", ".join(f"{tensor.name!r} {self._shapes[tensor.name]}" for tensor in self._inputs)
            raise InputError(f"ONNX Runtime cannot run the model at {shapes}: {readable_message(error)}") from error
        finally:
            for buffer in buffers:
                buffer.close()
        self._after_warm_up()
        self._after_warm_up = _do_nothing

    def set_address(self, name: str, address: int) -> None:
        """Set the address of an input or output on the device."""
        self._addresses[name] = address
        self._binding = None

    def set_output_allocator(self, name: str, allocate: Callable[[int], int], notify: Callable[[Shape], None]) -> None:
        """Raise BackendError: outputs have fixed addresses."""
        raise BackendError(f"the shape of output {name!r} depends on the data, which ONNX Runtime on a GPU cannot bind")

    def set_consumed_event(self, event: cuda.Event | None) -> None:
        """Record `event` in every inference when it has ended; None to stop that."""
        self._consumed = event

    def check_capturable(self, stream: cuda.Stream) -> None:
        """Raise BackendError if nodes run on the CPU. A capture that fails for another reason says why."""
        if reason := self._reason_uncapturable():
            raise BackendError(reason)

    def reason_not_replayable(self, graph: cuda.Graph) -> str:
        """Return why a captured graph must not be launched again; empty if it may be.

        Work of the host in a graph uses host memory that ONNX Runtime has freed by then.
        """
        kinds = graph.host_work()
        return f"ONNX Runtime uses the host during an inference ({', '.join(kinds)})" if kinds else ""

    def enqueue(self, stream: cuda.Stream) -> None:
        """Enqueue one inference in the context's stream.

        Raises:
            BackendError: The model cannot be run, or the shape of an output depends on the data.
        """
        if self._binding is None:
            self._binding = self._bind()
        if self._capture_failed:
            self._take_last_error()
        try:
            self._session.run_with_iobinding(self._binding, self._run_options)
        except Exception as error:  # ONNX Runtime's exceptions share no base class but Exception.
            self._capture_failed = stream.is_capturing
            raise BackendError(_describe_failure(error, self._outputs, self._shapes)) from error
        if self._consumed is not None:
            self._consumed.record(stream)

    def _take_last_error(self) -> None:
        """Run once without regard to errors.

        A failed capture leaves its error in the CUDA runtime of ONNX Runtime, which is not the one of our bindings. The
        next run would report it.
        """
        self._capture_failed = False
        with contextlib.suppress(Exception):
            self._session.run_with_iobinding(self._binding, self._run_options)

    def _bind(self) -> Any:
        """Return the binding to the current addresses."""
        tensors = (*self._inputs, *self._outputs)
        key = tuple(self._addresses[tensor.name] for tensor in tensors)
        if key not in self._bindings:
            binding = self._session.io_binding()
            for tensor in self._inputs:
                self._bind_input(binding, tensor, self._addresses[tensor.name])
            for tensor in self._outputs:
                address, shape = self._addresses[tensor.name], self._shapes[tensor.name]
                binding.bind_output(tensor.name, "cuda", self._device, _element_type(tensor), list(shape), address)
            self._bindings[key] = binding
        return self._bindings[key]

    def _bind_input(self, binding: Any, tensor: Tensor, address: int) -> None:
        shape = list(self._shapes[tensor.name])
        binding.bind_input(tensor.name, "cuda", self._device, _element_type(tensor), shape, address)

    def close(self) -> None:
        """Free the session."""
        self._binding = self._session = None
        self._bindings.clear()


def _do_nothing() -> None:
    """Do nothing."""


def _element_type(tensor: Tensor) -> Any:
    """Return the data type of a tensor as `IOBinding` takes it."""
    return _ONNX_TYPES.get(tensor.dtype) or numpy_dtype(tensor.dtype).type


def tensor_bytes(tensor: Tensor, shape: Shape) -> int:
    """Return the bytes of a tensor at a concrete shape."""
    size = numpy_dtype(tensor.dtype).itemsize
    for dim in shape:
        size *= dim
    return size


def _describe_failure(error: Exception, outputs: tuple[Tensor, ...], shapes: Mapping[str, Shape]) -> str:
    """Return an error message, with a remedy if the shape of an output was not the expected one."""
    text = f"ONNX Runtime cannot run the model: {readable_message(error)}"
    if re.search("shape verification failed|computed output shape", str(error), re.IGNORECASE):
        expected = ", ".join(f"{tensor.name!r} {shapes[tensor.name]}" for tensor in outputs)
        text += (
            f"; the shape of an output depends on the data (on zeros: {expected}), which ONNX Runtime on a GPU cannot "
            "bind to fixed memory: choose another backend"
        )
    return text
