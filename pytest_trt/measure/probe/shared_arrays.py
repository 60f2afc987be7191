"""One end of a probe's connection: messages, with arrays in shared memory that both ends keep and use again.

Arrays are in numbered regions. An exchange is a message with arrays, and the reply to it with the same number. Until
the reply arrives, the probe reads and writes both regions of that number; after that, the parent does. So the parent
copies arrays once into a region and once out of one, and the probe works on them in place. A caller with several
exchanges in flight gives each a number of its own.

A region has no name: when both processes have ended, for any reason, nothing of it is left.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import math
import mmap
import os
import socket
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from pytest_trt.engine.tensors import Tensor, numpy_dtype
from pytest_trt.measure.probe import wire
from pytest_trt.measure.probe.process_limits import available_bytes
from pytest_trt.pipeline.copying import Copier

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from pytest_trt.engine.tensors import Arrays

_ALIGNMENT = 512


class PageLocked(Protocol):
    """Memory that is page-locked until it is closed."""

    def close(self) -> None:
        """Unlock the memory."""
        ...


PageLock = Callable[[int, int], PageLocked]
"""Page-locks memory, given its address and its size in bytes (cuda.RegisteredMemory)."""


class SharedRegion:
    """Shared memory, mapped into this process.

    Args:
        descriptor: A descriptor of the memory.

    Attributes:
        descriptor: The descriptor, open until `close_descriptor`; -1 after that.
        nbytes: The size in bytes.
        array: The memory as bytes.
    """

    def __init__(self, descriptor: int) -> None:
        import numpy as np

        self.descriptor, self.nbytes = descriptor, os.fstat(descriptor).st_size
        self._locked: PageLocked | None = None
        self.array: NDArray[np.uint8] = np.frombuffer(mmap.mmap(descriptor, self.nbytes), np.uint8)

    @classmethod
    def allocate(cls, nbytes: int) -> SharedRegion:
        """Allocate new memory.

        Raises:
            MemoryError: There is not so much free memory.
        """
        free = available_bytes()
        if nbytes > free:  # the kernel would grant it, and kill this process when it fills the memory
            raise MemoryError(f"{nbytes} bytes of shared memory cannot be allocated: {free} bytes are free")
        descriptor = os.memfd_create("pytest-trt", os.MFD_CLOEXEC)
        try:
            # Without this, memory that the system lacks would be a bus error later.
            os.posix_fallocate(descriptor, 0, nbytes)
            return cls(descriptor)
        except OSError as error:
            os.close(descriptor)
            raise MemoryError(f"{nbytes} bytes of shared memory cannot be allocated ({error})") from error

    def close_descriptor(self) -> None:
        """Close the descriptor, once the other end has it or will never need it. The memory stays mapped."""
        descriptor, self.descriptor = self.descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def lock(self, page_lock: PageLock) -> None:
        """Page-lock the memory, unless it is page-locked already."""
        if self._locked is None:
            self._locked = page_lock(int(self.array.ctypes.data), self.nbytes)

    def view(self, tensor: Tensor, offset: int) -> NDArray[Any]:
        """Return the tensor at this offset, in bytes, without a copy.

        Raises:
            ValueError: The tensor would reach beyond the memory.
        """
        kind = numpy_dtype(tensor.dtype)
        end = offset + math.prod(tensor.shape) * kind.itemsize
        if not 0 <= offset <= end <= self.nbytes:
            raise ValueError(f"{tensor.name!r} lies from {offset} to {end} in a region of {self.nbytes} bytes")
        return self.array[offset:end].view(kind).reshape(tensor.shape)

    def close(self) -> None:
        """Unlock the memory and let go of it. It is unmapped with the last array that uses it."""
        locked, self._locked = self._locked, None
        if locked is not None:
            locked.close()
        self.close_descriptor()
        with contextlib.suppress(AttributeError):
            del self.array


@dataclasses.dataclass
class _Layout:
    """Where arrays are in a region.

    Attributes:
        tensors: The names, dtypes and shapes.
        offsets: The offset of each, in bytes.
        arrays: The arrays themselves, by name.
        announced: Whether the other end knows this layout, so that it need not be sent again.
    """

    tensors: tuple[Tensor, ...]
    offsets: tuple[int, ...]
    arrays: dict[str, NDArray[Any]]
    announced: bool = False

    def matches(self, arrays: Arrays) -> bool:
        """Return whether these arrays have the same names, dtypes and shapes."""
        return list(arrays) == list(self.arrays) and all(
            array.dtype == arrays[name].dtype and array.shape == arrays[name].shape
            for name, array in self.arrays.items()
        )

    def encode(self) -> list[dict[str, Any]]:
        """Return the layout as JSON values."""
        return [
            {"name": t.name, "dtype": t.dtype, "shape": list(t.shape), "offset": offset}
            for t, offset in zip(self.tensors, self.offsets, strict=True)
        ]


class ArrayChannel:
    """Sends and receives messages with arrays. Close it, to close the connection and free its shared memory.

    Args:
        connection: The socket to the other end.
    """

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self._sent: dict[int, SharedRegion] = {}
        self._received: dict[int, SharedRegion] = {}
        self._layouts: dict[int, _Layout] = {}
        self._received_arrays: dict[int, dict[str, NDArray[Any]]] = {}
        self._page_lock: PageLock | None = None
        self._copier = Copier()

    def page_lock(self, lock: PageLock) -> None:
        """Page-lock every region, now and when it is allocated or received.

        An error of `lock` passes through, here or where a region is new, and ends page-locking: later regions are not
        page-locked.
        """
        self._page_lock = lock
        for region in (*self._sent.values(), *self._received.values()):
            self._lock_region(region)

    def allocate(self, number: int, tensors: Sequence[Tensor]) -> dict[str, NDArray[Any]]:
        """Return arrays in the region of this number; `send` need not copy what is written to them.

        Raises:
            MemoryError: There is not enough shared memory.
        """
        requested = tuple(tensors)
        if number in self._layouts and self._layouts[number].tensors == requested:
            return self._layouts[number].arrays
        sizes = [math.prod(t.shape) * numpy_dtype(t.dtype).itemsize for t in requested]
        offsets = (0, *itertools.accumulate(-(-size // _ALIGNMENT) * _ALIGNMENT for size in sizes))
        region = self._sent.get(number)
        if region is None or region.nbytes < offsets[-1]:
            region = self._replace(self._sent, number, SharedRegion.allocate(max(offsets[-1], 1)))
        arrays = {t.name: region.view(t, offset) for t, offset in zip(requested, offsets, strict=False)}
        self._layouts[number] = _Layout(requested, offsets[:-1], arrays)
        self._lock_region(region)
        return arrays

    def send(self, message: Mapping[str, Any], arrays: Arrays | None = None, number: int = 0) -> None:
        """Send one message, with arrays in the region of this number.

        Args:
            message: A JSON object, without the keys `number` and `arrays`.
            arrays: The arrays to copy there; those that `allocate` returned are sent without a copy.
            number: The number of the exchange.

        Raises:
            Closed: The other end is gone.
            MemoryError: There is not enough shared memory.
        """
        if arrays is None:
            wire.send(self.connection, message)
            return
        layout = self._layouts.get(number)
        if layout is None or layout.arrays is not arrays:
            if layout is None or not layout.matches(arrays):
                self.allocate(number, [Tensor(name, a.dtype.name, a.shape) for name, a in arrays.items()])
                layout = self._layouts[number]
            for name, array in arrays.items():
                self._copier.copy(layout.arrays[name], array)
        region = self._sent[number]
        announcement = {} if layout.announced else {"arrays": layout.encode()}
        new = (region.descriptor,) if region.descriptor >= 0 else ()
        wire.send(self.connection, {**message, "number": number, **announcement}, new)
        region.close_descriptor()
        layout.announced = True

    def receive(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]], int]:
        """Wait for the next message.

        Returns:
            The message; its arrays, in shared memory, which the next exchange of the same number overwrites; and the
            number of the exchange.

        Raises:
            Closed: The other end is gone.
            TimeoutError: The socket's time-out has passed.
        """
        message, descriptors = wire.receive(self.connection)
        number, layout = message.pop("number", None), message.pop("arrays", None)
        if number is None:
            return message, {}, 0
        for descriptor in descriptors:
            self._replace(self._received, number, SharedRegion(descriptor)).close_descriptor()
        if layout is not None:
            region = self._received[number]
            tensors = [(Tensor(one["name"], one["dtype"], tuple(one["shape"])), one["offset"]) for one in layout]
            self._received_arrays[number] = {tensor.name: region.view(tensor, offset) for tensor, offset in tensors}
            self._lock_region(region)  # last, so that both ends agree on the layout even if it fails
        return message, dict(self._received_arrays[number]), number

    def copy(self, arrays: Arrays) -> dict[str, NDArray[Any]]:
        """Return copies of received arrays, which no later exchange overwrites."""
        import numpy as np

        copies = {name: np.empty_like(array) for name, array in arrays.items()}
        for name, copy in copies.items():
            self._copier.copy(copy, arrays[name])
        return copies

    def _replace(self, regions: dict[int, SharedRegion], number: int, region: SharedRegion) -> SharedRegion:
        if number in regions:
            regions.pop(number).close()
        regions[number] = region
        return region

    def _lock_region(self, region: SharedRegion) -> None:
        lock, self._page_lock = self._page_lock, None
        if lock is not None:
            region.lock(lock)
            self._page_lock = lock  # only if that did not fail

    def close(self) -> None:
        """Close the connection and free the shared memory; a second call does nothing."""
        self.connection.close()
        self._copier.close()
        self._layouts.clear()
        self._received_arrays.clear()
        for regions in (self._sent, self._received):
            while regions:
                regions.popitem()[1].close()
