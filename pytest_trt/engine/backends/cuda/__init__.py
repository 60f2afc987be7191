"""CUDA, as far as a pipeline needs it.

Only this package imports the CUDA bindings, and only when they are first used. Every class that holds a resource has
`close`, which may be called twice. A call that fails raises BackendError with the call, CUDA's name for the error and
its meaning.
"""

from pytest_trt.engine.backends.cuda.buffers import DeviceBuffer, PinnedBuffer, RegisteredMemory
from pytest_trt.engine.backends.cuda.driver import (
    Device,
    cuda_version,
    device,
    device_count,
    driver_version,
    memory_info,
    reason_unusable,
    require_driver,
    runtime,
)
from pytest_trt.engine.backends.cuda.graphs import Commands, Graph
from pytest_trt.engine.backends.cuda.sharing import ImportedMemory, export_memory, synchronize_default_stream
from pytest_trt.engine.backends.cuda.streams import Event, Stream

__all__ = [
    "Commands",
    "Device",
    "DeviceBuffer",
    "Event",
    "Graph",
    "ImportedMemory",
    "PinnedBuffer",
    "RegisteredMemory",
    "Stream",
    "cuda_version",
    "device",
    "device_count",
    "driver_version",
    "export_memory",
    "memory_info",
    "reason_unusable",
    "require_driver",
    "runtime",
    "synchronize_default_stream",
]
