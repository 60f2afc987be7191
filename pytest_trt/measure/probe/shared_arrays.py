"""One end of a probe's connection: messages, and arrays in shared memory that both ends keep and use again.

Arrays lie in numbered regions. An exchange is a message with arrays and the answer to it under the same number: until
the answer has come, both regions of that number are the probe's to read and to write; from then on, the parent's. So
the parent copies once into a region and once out of it, the probe works on it where it lies, and whoever has several
exchanges on their way gives each a number of its own. A region has no name: when both processes are gone, however they
went, nothing is left of it.
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
from pytest_trt.pipeline.copying import Copier

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from pytest_trt.engine.tensors import Arrays

_ALIGNMENT = 512


class Held(Protocol):
    """What a region is held by: page-locked until closed."""

    def close(self) -> None: ...


PageLock = Callable[[int, int], Held]
"""Page-locks memory, given by address and bytes (cuda.RegisteredMemory)."""


class Region:
    """Shared memory, mapped. `descriptor` is open until the other end has been told of it."""

    def __init__(self, descriptor: int) -> None:
        import numpy as np

        self.descriptor, self.nbytes = descriptor, os.fstat(descriptor).st_size
        self._locked: Held | None = None
        self.array: NDArray[np.uint8] = np.frombuffer(mmap.mmap(descriptor, self.nbytes), np.uint8)

    @classmethod
    def made(cls, nbytes: int) -> Region:
        """New memory. Raises MemoryError where there is not so much."""
        free = _available_bytes()
        if nbytes > free:  # the kernel would grant it, and kill this process as it fills it
            raise MemoryError(f"{nbytes} bytes of shared memory cannot be had: {free} bytes are free")
        descriptor = os.memfd_create("pytest-trt", os.MFD_CLOEXEC)
        try:
            # what cannot be had is an error here, not a bus error later
            os.posix_fallocate(descriptor, 0, nbytes)
            return cls(descriptor)
        except OSError as error:
            os.close(descriptor)
            raise MemoryError(f"{nbytes} bytes of shared memory cannot be had ({error})") from error

    def told(self) -> None:
        """The other end has the descriptor, or has no use for it any more."""
        descriptor, self.descriptor = self.descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def lock(self, page_lock: PageLock) -> None:
        """Page-lock it, once."""
        if self._locked is None:
            self._locked = page_lock(int(self.array.ctypes.data), self.nbytes)

    def view(self, tensor: Tensor, offset: int) -> NDArray[Any]:
        """A tensor in it, without a copy. Raises ValueError where it would reach beyond."""
        kind = numpy_dtype(tensor.dtype)
        end = offset + math.prod(tensor.shape) * kind.itemsize
        if not 0 <= offset <= end <= self.nbytes:
            raise ValueError(f"{tensor.name!r} lies from {offset} to {end} in a region of {self.nbytes} bytes")
        return self.array[offset:end].view(kind).reshape(tensor.shape)

    def close(self) -> None:
        """Let go of it; it is unmapped with the last array that lies in it."""
        locked, self._locked = self._locked, None
        if locked is not None:
            locked.close()
        self.told()
        with contextlib.suppress(AttributeError):
            del self.array


@dataclasses.dataclass
class _Laid:
    """How arrays lie in a region. `told`: the other end knows, so that it need not be said again."""

    tensors: tuple[Tensor, ...]
    offsets: tuple[int, ...]
    arrays: dict[str, NDArray[Any]]
    told: bool = False

    def fits(self, arrays: Arrays) -> bool:
        """Whether these are of the names, dtypes and shapes that are laid out."""
        return list(arrays) == list(self.arrays) and all(
            array.dtype == arrays[name].dtype and array.shape == arrays[name].shape
            for name, array in self.arrays.items()
        )

    def told_as(self) -> list[dict[str, Any]]:
        return [
            {"name": t.name, "dtype": t.dtype, "shape": list(t.shape), "offset": offset}
            for t, offset in zip(self.tensors, self.offsets, strict=True)
        ]


class Crossing:
    """Sends and receives messages with arrays. Close it: the connection, and what it keeps of shared memory."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self._sent: dict[int, Region] = {}
        self._received: dict[int, Region] = {}
        self._laid: dict[int, _Laid] = {}
        self._seen: dict[int, dict[str, NDArray[Any]]] = {}
        self._page_lock: PageLock | None = None
        self._copier = Copier()

    def page_lock(self, lock: PageLock) -> None:
        """From now on, have every region page-locked as long as it is kept. What `lock` raises passes through, here or
        where a region is new, and ends it: what is exchanged next is not locked."""
        self._page_lock = lock
        for region in (*self._sent.values(), *self._received.values()):
            self._hold(region)

    def place(self, number: int, tensors: Sequence[Tensor]) -> dict[str, NDArray[Any]]:
        """Room for arrays that will be sent under that number: what is written there need not be copied. Raises
        MemoryError where there is no memory for them."""
        wanted = tuple(tensors)
        if number in self._laid and self._laid[number].tensors == wanted:
            return self._laid[number].arrays
        sizes = [math.prod(t.shape) * numpy_dtype(t.dtype).itemsize for t in wanted]
        offsets = (0, *itertools.accumulate(-(-size // _ALIGNMENT) * _ALIGNMENT for size in sizes))
        region = self._sent.get(number)
        if region is None or region.nbytes < offsets[-1]:
            region = self._keep(self._sent, number, Region.made(max(offsets[-1], 1)))
        arrays = {t.name: region.view(t, offset) for t, offset in zip(wanted, offsets, strict=False)}
        self._laid[number] = _Laid(wanted, offsets[:-1], arrays)
        self._hold(region)
        return arrays

    def send(self, message: Mapping[str, Any], arrays: Arrays | None = None, number: int = 0) -> None:
        """Send one message, with arrays in the region of that number. Raises Closed where nobody reads any more,
        MemoryError where shared memory does not suffice."""
        if arrays is None:
            wire.send(self.connection, message)
            return
        laid = self._laid.get(number)
        if laid is None or laid.arrays is not arrays:
            if laid is None or not laid.fits(arrays):
                self.place(number, [Tensor(name, a.dtype.name, a.shape) for name, a in arrays.items()])
                laid = self._laid[number]
            for name, array in arrays.items():
                self._copier.copy(laid.arrays[name], array)
        region = self._sent[number]
        how = {} if laid.told else {"arrays": laid.told_as()}
        new = (region.descriptor,) if region.descriptor >= 0 else ()
        wire.send(self.connection, {**message, "number": number, **how}, new)
        region.told()
        laid.told = True

    def receive(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]], int]:
        """The next message, its arrays where they lie in shared memory, and their number.

        Raises Closed at the end of the connection, TimeoutError after the socket's time-out.
        """
        message, descriptors = wire.receive(self.connection)
        number, layout = message.pop("number", None), message.pop("arrays", None)
        if number is None:
            return message, {}, 0
        for descriptor in descriptors:
            self._keep(self._received, number, Region(descriptor)).told()
        if layout is not None:
            region = self._received[number]
            tensors = [(Tensor(one["name"], one["dtype"], tuple(one["shape"])), one["offset"]) for one in layout]
            self._seen[number] = {tensor.name: region.view(tensor, offset) for tensor, offset in tensors}
            self._hold(region)  # last: what fails here leaves both ends of one mind about what lies where
        return message, dict(self._seen[number]), number

    def own(self, arrays: Arrays) -> dict[str, NDArray[Any]]:
        """Copies: what was received is overwritten by the next exchange of its number."""
        import numpy as np

        copies = {name: np.empty_like(array) for name, array in arrays.items()}
        for name, copy in copies.items():
            self._copier.copy(copy, arrays[name])
        return copies

    def _keep(self, regions: dict[int, Region], number: int, region: Region) -> Region:
        if number in regions:
            regions.pop(number).close()
        regions[number] = region
        return region

    def _hold(self, region: Region) -> None:
        lock, self._page_lock = self._page_lock, None
        if lock is not None:
            region.lock(lock)
            self._page_lock = lock

    def close(self) -> None:
        self.connection.close()
        self._copier.close()
        self._laid.clear()
        self._seen.clear()
        for regions in (self._sent, self._received):
            while regions:
                regions.popitem()[1].close()


def _available_bytes() -> int:
    """Memory that can be had without swapping: MemAvailable of proc(5)."""
    with open("/proc/meminfo") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith("MemAvailable:"))
