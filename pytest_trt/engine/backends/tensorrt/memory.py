"""Count the device memory that TensorRT allocates."""

from __future__ import annotations

from typing import Any

from pytest_trt.engine.backends.cuda.tracker import AllocationTracker


def counting_allocator(trt: Any, tracker: AllocationTracker) -> Any:
    """Return an IGpuAllocator that allocates through `tracker`.

    It defines every method that any supported version calls; the bindings of each version look them up by name.
    """

    class Allocator(trt.IGpuAllocator):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.IGpuAllocator.__init__(self)

        def allocate(self, size: int, _alignment: int, _flags: int) -> int | None:
            return tracker.allocate(size) or None

        def allocate_async(self, size: int, _alignment: int, _flags: int, _stream: int) -> int | None:
            return tracker.allocate(size) or None

        def reallocate(self, _address: int, _alignment: int, _size: int) -> None:
            return None  # Memory cannot be resized in place: TensorRT allocates new memory and copies.

        def deallocate(self, address: int) -> bool:
            return tracker.free(int(address or 0))

        def deallocate_async(self, address: int, _stream: int) -> bool:
            return tracker.free(int(address or 0))

        def free(self, address: int) -> None:
            tracker.free(int(address or 0))

    return Allocator()
