"""The driver asked, its devices described, and every call's status checked."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import re
import uuid
from pathlib import Path
from typing import Any

from pytest_trt.errors import BackendError

_STICKY = frozenset((
    "cudaErrorIllegalAddress", "cudaErrorLaunchFailure", "cudaErrorLaunchTimeout", "cudaErrorHardwareStackError",
    "cudaErrorIllegalInstruction", "cudaErrorMisalignedAddress", "cudaErrorInvalidAddressSpace", "cudaErrorInvalidPc",
    "cudaErrorECCUncorrectable", "cudaErrorNvlinkUncorrectable", "cudaErrorAssert", "cudaErrorContained",
))  # fmt: skip
"""Errors after which every further call of the process fails (CUDA Runtime API, cudaError)."""


@functools.cache
def runtime() -> Any:
    """The runtime's bindings: cuda-python from 12.3 on has them at either place."""
    try:
        from cuda.bindings import runtime as bindings
    except ImportError:
        try:
            from cuda import cudart as bindings
        except ImportError as error:
            message = f"the CUDA bindings cannot be imported ({error}): pip install cuda-python"
            raise BackendError(message) from error
    return bindings


@functools.cache
def reason_unusable() -> str | None:
    """Why there is no usable driver or GPU, or None where there is: cuInit is asked, which never crashes."""
    try:
        try:
            from cuda.bindings import driver
        except ImportError:
            from cuda import cuda as driver
    except ImportError as error:
        return f"the CUDA bindings cannot be imported ({error}): pip install cuda-python"
    try:
        (status,) = driver.cuInit(0)
    except RuntimeError as error:  # the library itself is absent
        return f"there is no NVIDIA driver ({str(error).splitlines()[0]}): install one, or run where one is"
    if status != 0:
        _, name = driver.cuGetErrorName(status)
        _, text = driver.cuGetErrorString(status)
        said = f"{(name or b'').decode() or status} ({(text or b'').decode()})"
        return f"the NVIDIA driver does not work: cuInit answered {said}: see what nvidia-smi says"
    return None


def require_driver() -> None:
    """Raise BackendError, with the reason, where there is no usable driver."""
    if reason := reason_unusable():
        raise BackendError(reason)


def check_status(status: Any, call: str) -> None:
    """Raise BackendError for any status but success."""
    if status:
        name = runtime().cudaGetErrorName(status)[1].decode()
        text = runtime().cudaGetErrorString(status)[1].decode()
        lost = ": this process's CUDA context is lost with it" if name in _STICKY else ""
        raise BackendError(f"{call} failed: {name} ({text}){lost}")


def call(name: str, *arguments: Any) -> Any:
    """What a runtime call returns beside its status: nothing, a value or a tuple."""
    status, *values = getattr(runtime(), name)(*arguments)
    check_status(status, name)
    return values[0] if len(values) == 1 else tuple(values) if values else None


@dataclasses.dataclass(frozen=True)
class Device:
    """A GPU, or a MIG slice of one. `l2_bytes` is its level-2 cache."""

    ordinal: int
    name: str
    uuid: str
    compute_capability: tuple[int, int]
    memory_bytes: int
    l2_bytes: int
    mig_profile: str | None

    def activate(self) -> None:
        """Make this the calling thread's device, its context too."""
        call("cudaSetDevice", self.ordinal)
        call("cudaFree", 0)


def device(name: str) -> Device:
    """The device of that number or UUID (`GPU-...`, `MIG-...`, or its beginning). Raises BackendError where there is no
    driver or no such device, and names those that there are."""
    require_driver()
    found = [_describe(ordinal) for ordinal in range(call("cudaGetDeviceCount"))]
    for candidate in found:
        if name == str(candidate.ordinal) or (len(name) >= 8 and candidate.uuid.lower().startswith(name.lower())):
            return candidate
    listed = "; ".join(f"{d.ordinal}: {d.name}, {d.uuid}" for d in found) or "none (see CUDA_VISIBLE_DEVICES)"
    raise BackendError(f"there is no GPU {name!r}: the visible ones are {listed}")


@functools.cache
def _describe(ordinal: int) -> Device:
    properties = call("cudaGetDeviceProperties", ordinal)
    name = properties.name.split(b"\0")[0].decode()
    mig = re.search(r"\bMIG (\S+)", name)
    identity = uuid.UUID(bytes=bytes(properties.uuid.bytes)[:16])
    return Device(
        ordinal=ordinal,
        name=name,
        uuid=f"{'MIG' if mig else 'GPU'}-{identity}",
        compute_capability=(properties.major, properties.minor),
        memory_bytes=properties.totalGlobalMem,
        l2_bytes=properties.l2CacheSize,
        mig_profile=mig.group(1) if mig else None,
    )


def cuda_version() -> str:
    """The newest CUDA that the driver knows, such as "13.0"."""
    version = int(call("cudaDriverGetVersion"))
    return f"{version // 1000}.{version % 1000 // 10}"


def driver_version() -> str | None:
    """The driver's own version, such as "580.65.06", from the kernel module or from the library's file name."""
    with contextlib.suppress(OSError):
        return Path("/sys/module/nvidia/version").read_text().strip()
    with contextlib.suppress(OSError):
        if found := re.search(r"\s(\d+\.\d+(?:\.\d+)?)\s", Path("/proc/driver/nvidia/version").read_text()):
            return found.group(1)
    with contextlib.suppress(OSError):
        if found := re.search(r"libcuda\.so\.(\d+\.\d+(?:\.\d+)?)$", Path("/proc/self/maps").read_text(), re.MULTILINE):
            return found.group(1)
    return None


def memory_info() -> tuple[int, int]:
    """Free and total bytes of the current device."""
    free, total = call("cudaMemGetInfo")
    return int(free), int(total)
