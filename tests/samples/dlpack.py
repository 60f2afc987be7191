"""An array of another library, which exports its memory by the DLPack protocol."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any

CODES = {"i": 0, "u": 1, "f": 2, "V": 4, "c": 5, "b": 6}
"""DLDataTypeCode by numpy's kind of a type; ml_dtypes' bfloat16 has the kind V."""

EXPORTED: dict[int, Any] = {}
"""What each capsule that exists keeps alive, by the address of its structure."""


class ManagedTensor(ctypes.Structure):
    """DLManagedTensor."""

    _fields_ = (
        ("data", ctypes.c_void_p),
        ("device_type", ctypes.c_int32),
        ("device_id", ctypes.c_int32),
        ("ndim", ctypes.c_int32),
        ("code", ctypes.c_uint8),
        ("bits", ctypes.c_uint8),
        ("lanes", ctypes.c_uint16),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
        ("context", ctypes.c_void_p),
        ("deleter", ctypes.c_void_p),
    )


_DESTRUCTOR = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


@_DESTRUCTOR
def _destroy(capsule: int) -> None:
    pointer = ctypes.pythonapi.PyCapsule_GetPointer
    pointer.restype, pointer.argtypes = ctypes.c_void_p, (ctypes.c_void_p, ctypes.c_char_p)
    EXPORTED.pop(pointer(capsule, b"dltensor"))


class ForeignArray:
    """An array that is not one of numpy's.

    Args:
        address: The address of its memory.
        shape: Its shape.
        dtype: Its numpy type.
        device: DLPack's type and number of the device: (1, 0) is the host, (2, 0) the first GPU.
        strides: Its strides, in elements; None for a contiguous array.
        owner: What keeps the memory alive.
        lanes: How many values an element has.
    """

    def __init__(
        self,
        address: int,
        shape: Sequence[int],
        dtype: Any,
        *,
        device: tuple[int, int] = (1, 0),
        strides: Sequence[int] | None = None,
        owner: Any = None,
        lanes: int = 1,
    ) -> None:
        self._fields = address, tuple(shape), dtype, strides, owner, lanes
        self._device = device
        self.streams: list[Any] = []

    @classmethod
    def of(cls, array: Any) -> ForeignArray:
        """Return a foreign array of the memory of one of numpy's."""
        strides = [stride // array.itemsize for stride in array.strides]
        return cls(int(array.ctypes.data), array.shape, array.dtype, strides=strides, owner=array)

    def __dlpack_device__(self) -> tuple[int, int]:
        return self._device

    def __dlpack__(self, *, stream: Any = None) -> Any:
        self.streams.append(stream)
        address, shape, dtype, strides, owner, lanes = self._fields
        numbers = ctypes.c_int64 * len(shape)
        sizes, steps = numbers(*shape), None if strides is None else numbers(*strides)
        tensor = ManagedTensor(
            data=address,
            device_type=self._device[0],
            device_id=self._device[1],
            ndim=len(shape),
            code=CODES[dtype.kind],
            bits=8 * dtype.itemsize,
            lanes=lanes,
            shape=sizes,
            strides=steps,
        )
        new = ctypes.pythonapi.PyCapsule_New
        new.restype, new.argtypes = ctypes.py_object, (ctypes.c_void_p, ctypes.c_char_p, _DESTRUCTOR)
        capsule = new(ctypes.addressof(tensor), b"dltensor", _destroy)
        EXPORTED[ctypes.addressof(tensor)] = (tensor, sizes, steps, owner)
        return capsule
