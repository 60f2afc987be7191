"""Count the device memory that a session allocates."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from pytest_trt.engine.backends import cuda
from pytest_trt.engine.backends.cuda.tracker import AllocationTracker
from pytest_trt.engine.backends.onnxruntime_gpu.context import OrtContext, tensor_bytes
from pytest_trt.engine.tensors import Tensor
from pytest_trt.spec.shape_ranges import Shape

if TYPE_CHECKING:
    from pytest_trt.engine.tensors import Arrays

_callbacks: list[object] = []
"""The functions that sessions call, kept as long as the process: ONNX Runtime decides when it frees memory."""


def count_memory(
    open_context: Callable[[Mapping[str, str], cuda.Stream], OrtContext],
    tensors: Sequence[Tensor],
    shapes: Mapping[str, Shape],
    contexts: int,
    io: int,
) -> Mapping[str, int]:
    """Return the device memory that a model needs with the CUDA provider, in bytes by name; see `Runner.memory`.

    Another session runs on zeros with an allocator that counts its allocations, so the figures are exact, whatever else
    uses the device. By default, ONNX Runtime allocates in larger pieces than it needs: what it does not use of them is
    not counted, and neither is what cuBLAS and cuDNN allocate themselves.

    Args:
        open_context: Opens a session with options of the provider, which waits for each run.
        tensors: The inputs and outputs.
        shapes: The input shapes by name.
        contexts: The number of contexts, each of which has its own weights.
        io: The bytes of all buffer sets.
    """
    tracker = AllocationTracker()
    buffers: list[cuda.DeviceBuffer] = []
    try:
        with _options(tracker) as options, cuda.Stream() as stream:
            context = open_context(options, stream)
            try:
                weights = tracker.current_bytes
                for name, shape in shapes.items():
                    context.set_shape(name, shape)
                context.infer_shapes()
                for tensor in tensors:
                    buffers.append(cuda.DeviceBuffer(tensor_bytes(tensor, context.shape(tensor.name))))
                    stream.fill(buffers[-1].address, max(buffers[-1].nbytes, 1))
                    context.set_address(tensor.name, buffers[-1].address)
                stream.synchronize()
                tracker.peak_bytes = tracker.current_bytes
                context.enqueue(stream)
                peak = tracker.peak_bytes
            finally:
                context.close()
    finally:
        for buffer in buffers:
            buffer.close()
        tracker.close()
    return {
        "weights": contexts * weights,
        "context": contexts * (peak - weights),
        "io": io,
        "peak": contexts * peak + io,
    }


def count_memory_of_call(open_session: Callable[[Mapping[str, str]], Any], inputs: Arrays) -> Mapping[str, int]:
    """Return the device memory that a call with arrays of the host needs with the CUDA provider, in bytes by name.

    Args:
        open_session: Opens a session with options of the provider.
        inputs: The inputs of the call.

    Returns:
        `weights`, and `peak`, which includes the inputs and outputs on the device.
    """
    tracker = AllocationTracker()
    try:
        with _options(tracker) as options:
            session = open_session(options)
            weights = tracker.current_bytes
            session.run(None, dict(inputs))
            tracker.peak_bytes = tracker.current_bytes
            session.run(None, dict(inputs))
            peak = tracker.peak_bytes
            del session
    finally:
        tracker.close()
    return {"weights": weights, "peak": peak}


@contextmanager
def _options(tracker: AllocationTracker) -> Iterator[dict[str, str]]:
    """Yield the options of the CUDA provider that make it allocate through `tracker`."""
    allocate = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_size_t)(lambda nbytes: tracker.allocate(nbytes) or None)

    def free(address: int | None) -> None:
        tracker.free(address or 0)

    release = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(free)
    _callbacks.extend((allocate, release))
    yield {
        "gpu_external_alloc": str(ctypes.cast(allocate, ctypes.c_void_p).value),
        "gpu_external_free": str(ctypes.cast(release, ctypes.c_void_p).value),
    }
