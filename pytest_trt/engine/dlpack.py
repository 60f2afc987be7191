"""Take arrays of other libraries, such as PyTorch and CuPy, as they are: by the DLPack protocol, without a copy.

    array = from_dlpack("x", tensor)  # a numpy array of the same memory, or a DeviceArray

https://dmlc.github.io/dlpack/latest/c_api.html defines the structures.
"""

from __future__ import annotations

import ctypes
import dataclasses
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pytest_trt.engine.tensors import numpy_dtype
from pytest_trt.errors import InputError
from pytest_trt.spec.shape_ranges import Shape

if TYPE_CHECKING:
    import numpy as np


_HOST, _GPU = (1, 3), (2, 13)
"""DLDeviceType: kDLCPU and kDLCUDAHost; kDLCUDA and kDLCUDAManaged."""

_KINDS = {0: "int", 1: "uint", 2: "float", 4: "bfloat", 5: "complex"}
"""DLDataTypeCode, with the names that numpy and ml_dtypes give such types before their bits."""

_BOOL = 6


class _Tensor(ctypes.Structure):
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
    )


@dataclasses.dataclass(frozen=True)
class DeviceArray:
    """A contiguous array in the memory of a GPU.

    Attributes:
        address: The address of its first byte in this process.
        dtype: Its type.
        shape: Its shape.
        ordinal: The number of the GPU in this process.
        owner: What keeps the memory alive.
    """

    address: int
    dtype: np.dtype[Any]
    shape: Shape
    ordinal: int = 0
    owner: Any = None

    @property
    def nbytes(self) -> int:
        """The size in bytes."""
        return math.prod(self.shape) * self.dtype.itemsize


class _Owner:
    """Keeps the memory of a capsule alive as long as a numpy array refers to it."""

    def __init__(self, capsule: Any, tensor: _Tensor, shape: Shape, strides: Shape | None, itemsize: int) -> None:
        self._capsule = capsule
        self.__array_interface__ = {
            "version": 3,
            "data": ((tensor.data or 0) + tensor.byte_offset, False),
            "typestr": f"|V{itemsize}",
            "shape": shape,
            "strides": strides,
        }


def take_arrays(inputs: Any) -> Any:
    """Return inputs whose arrays of other libraries are numpy arrays of the same memory, or DeviceArrays.

    Anything that is neither an array nor exports one is returned as it is, for the caller to refuse.

    Raises:
        InputError: An array cannot be shared. The message names the input.
    """
    import numpy as np

    if not isinstance(inputs, Mapping):
        return inputs
    foreign = {
        name: from_dlpack(name, value)
        for name, value in inputs.items()
        if not isinstance(value, np.ndarray) and hasattr(value, "__dlpack__") and hasattr(value, "__dlpack_device__")
    }
    return {**inputs, **foreign} if foreign else inputs


def from_dlpack(name: str, value: Any) -> Any:
    """Return a numpy array of the memory of `value`, or a DeviceArray if that is on a GPU.

    The data on a GPU has been computed once the default stream of the GPU has done its work.

    Raises:
        InputError: The library does not share the array, or it is not contiguous on a GPU, or of a type that numpy and
            ml_dtypes do not have.
    """
    import numpy as np

    kind = f"{type(value).__module__}.{type(value).__qualname__}"
    try:
        device_type, ordinal = (int(part) for part in value.__dlpack_device__())
        capsule = value.__dlpack__(stream=1) if device_type in _GPU else value.__dlpack__()  # 1: the default stream
        tensor = _read(capsule)
    except Exception as error:
        raise InputError(f"input {name!r} of type {kind} cannot be shared: {error}") from error
    if device_type not in (*_HOST, *_GPU):
        raise InputError(f"input {name!r} of type {kind} is neither in host memory nor on an NVIDIA GPU: copy it there")
    shape = tuple(tensor.shape[axis] for axis in range(tensor.ndim))
    strides = tuple(tensor.strides[axis] for axis in range(tensor.ndim)) if tensor.strides else None
    dtype = _dtype(name, kind, tensor)
    if device_type in _GPU:
        if strides is not None and math.prod(shape) and strides != _contiguous(shape, strides):
            raise InputError(f"input {name!r} is not contiguous on the GPU: make it so, such as with .contiguous()")
        return DeviceArray((tensor.data or 0) + tensor.byte_offset, dtype, shape, ordinal, (value, capsule))
    size = dtype.itemsize
    if not math.prod(shape):
        return np.empty(shape, dtype)
    in_bytes = None if strides is None else tuple(stride * size for stride in strides)
    return np.asarray(_Owner(capsule, tensor, shape, in_bytes, size)).view(dtype)


def _read(capsule: Any) -> _Tensor:
    pointer = ctypes.pythonapi.PyCapsule_GetPointer
    pointer.restype, pointer.argtypes = ctypes.c_void_p, (ctypes.py_object, ctypes.c_char_p)
    return _Tensor.from_address(pointer(capsule, b"dltensor"))


def _dtype(name: str, kind: str, tensor: _Tensor) -> np.dtype[Any]:
    found = "bool" if tensor.code == _BOOL else f"{_KINDS.get(tensor.code, 'unknown')}{tensor.bits}"
    if tensor.lanes != 1:
        raise InputError(f"input {name!r} of type {kind} has elements of {tensor.lanes} values: give one value each")
    try:
        return numpy_dtype(found)
    except (ImportError, AttributeError) as error:
        message = f"input {name!r} of type {kind} has elements of {found}, which numpy lacks ({error})"
        raise InputError(message) from error


def _contiguous(shape: Shape, strides: Shape) -> Shape:
    """Return the strides of a contiguous array; those of axes of one element are any."""
    expected, step = [], 1
    for size, stride in zip(reversed(shape), reversed(strides), strict=True):
        expected.append(stride if size == 1 else step)
        step *= size
    return tuple(reversed(expected))
