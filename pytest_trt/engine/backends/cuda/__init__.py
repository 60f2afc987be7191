"""CUDA, as far as a pipeline needs it: the only room that imports the CUDA bindings, and not before they are used.

Everything that holds a resource has `close`, which may be called twice. An error is a BackendError with the call,
CUDA's name for the error and what that means.
"""

from pytest_trt.engine.backends.cuda.buffers import DeviceBuffer, PinnedBuffer, RegisteredMemory
from pytest_trt.engine.backends.cuda.driver import (
    Device,
    cuda_version,
    device,
    driver_version,
    memory_info,
    reason_unusable,
    require_driver,
    runtime,
)
from pytest_trt.engine.backends.cuda.graphs import Commands, Graph
from pytest_trt.engine.backends.cuda.streams import Event, Stream

__all__ = [
    "Commands",
    "Device",
    "DeviceBuffer",
    "Event",
    "Graph",
    "PinnedBuffer",
    "RegisteredMemory",
    "Stream",
    "cuda_version",
    "device",
    "driver_version",
    "memory_info",
    "reason_unusable",
    "require_driver",
    "runtime",
]
