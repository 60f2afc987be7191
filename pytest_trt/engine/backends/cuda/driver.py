"""Query the driver and its devices, and check the status of CUDA calls."""

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
"""Sticky errors: every later call of the process fails, too (CUDA Runtime API, cudaError)."""


@functools.cache
def runtime() -> Any:
    """Return the bindings of the CUDA runtime.

    cuda-python from 12.3 on has them in `cuda.bindings.runtime` or in `cuda.cudart`.

    Raises:
        BackendError: The bindings are not installed.
    """
    try:
        from cuda.bindings import runtime as bindings
    except ImportError:
        try:
            from cuda import cudart as bindings
        except ImportError as error:
            raise BackendError(_without_bindings(error)) from error
    return bindings


def driver() -> Any:
    """Return the bindings of the CUDA driver.

    Raises:
        ImportError: They are not installed.
    """
    try:
        from cuda.bindings import driver as bindings
    except ImportError:
        from cuda import cuda as bindings
    return bindings


@functools.cache
def reason_unusable() -> str | None:
    """Return why the driver cannot be used, or None if it can.

    This calls only cuInit, which fails without a driver but never crashes.
    """
    try:
        bindings = driver()
    except ImportError as error:
        return _without_bindings(error)
    try:
        (status,) = bindings.cuInit(0)
    except RuntimeError as error:  # The driver's library is absent.
        return f"there is no NVIDIA driver ({str(error).splitlines()[0]}): install it, or run on a machine that has one"
    if status != 0:
        _, name = bindings.cuGetErrorName(status)
        _, text = bindings.cuGetErrorString(status)
        result = f"{(name or b'').decode() or status} ({(text or b'').decode()})"
        return f"the NVIDIA driver does not work: cuInit returned {result}: run nvidia-smi to find the cause"
    return None


def _without_bindings(error: ImportError) -> str:
    return f"the CUDA bindings cannot be imported ({error}): pip install cuda-python"


def require_driver() -> None:
    """Raise BackendError, with the reason, if the driver cannot be used."""
    if reason := reason_unusable():
        raise BackendError(reason)


def check_status(status: Any, call: str) -> None:
    """Raise BackendError for any status but success.

    Args:
        status: The status that a runtime call returned.
        call: The call, as the beginning of the message.
    """
    if status:
        name = runtime().cudaGetErrorName(status)[1].decode()
        text = runtime().cudaGetErrorString(status)[1].decode()
        lost = ": the CUDA context of this process is lost" if name in _STICKY else ""
        raise BackendError(f"{call} failed: {name} ({text}){lost}")


def call(name: str, *arguments: Any) -> Any:
    """Call a function of the runtime and check its status.

    Returns:
        What the function returns besides its status: None, one value, or a tuple of values.
    """
    status, *values = getattr(runtime(), name)(*arguments)
    check_status(status, name)
    return values[0] if len(values) == 1 else tuple(values) if values else None


@dataclasses.dataclass(frozen=True)
class Device:
    """A frozen record of a GPU, or of a MIG slice.

    Attributes:
        ordinal: The number of the device, counted among the visible ones.
        name: The device's name, such as "NVIDIA H200".
        uuid: `GPU-...` or `MIG-...`.
        compute_capability: Major and minor, such as (9, 0).
        memory_bytes: The total device memory.
        l2_bytes: The size of the L2 cache.
        mig_profile: The profile of a MIG slice, such as "1g.18gb"; None for a whole GPU.
        pci_address: The address of the GPU on the PCI bus, as sysfs writes it, such as "0000:18:00.0".
    """

    ordinal: int
    name: str
    uuid: str
    compute_capability: tuple[int, int]
    memory_bytes: int
    l2_bytes: int
    mig_profile: str | None
    pci_address: str

    def activate(self) -> None:
        """Make this the calling thread's device, and create its CUDA context."""
        call("cudaSetDevice", self.ordinal)
        call("cudaFree", 0)  # The first call that needs a context creates it.


def device(name: str) -> Device:
    """Return the device with that number or UUID.

    Args:
        name: A number, a UUID (`GPU-...` or `MIG-...`), or the first 8 or more characters of a UUID.

    Raises:
        BackendError: There is no driver, or no such device; the error lists the visible devices.
    """
    found = [_describe(ordinal) for ordinal in range(device_count())]
    for candidate in found:
        if name == str(candidate.ordinal) or (len(name) >= 8 and candidate.uuid.lower().startswith(name.lower())):
            return candidate
    visible = "; ".join(f"{d.ordinal}: {d.name}, {d.uuid}" for d in found) or "none (see CUDA_VISIBLE_DEVICES)"
    raise BackendError(f"there is no GPU {name!r}: the visible GPUs are {visible}")


def device_count() -> int:
    """Return the number of visible devices. Raises BackendError if there is no driver or no device."""
    require_driver()
    return int(call("cudaGetDeviceCount"))


@functools.cache
def _describe(ordinal: int) -> Device:
    """Return the record of the device with that number."""
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
        pci_address=f"{properties.pciDomainID:04x}:{properties.pciBusID:02x}:{properties.pciDeviceID:02x}.0",
    )


def cuda_version() -> str:
    """Return the newest CUDA version that the driver supports, such as "13.0"."""
    version = int(call("cudaDriverGetVersion"))
    return f"{version // 1000}.{version % 1000 // 10}"


def driver_version() -> str | None:
    """Return the driver's version, such as "580.65.06"; None if it cannot be found.

    The version comes from the kernel module, or else from the file name of the loaded library.
    """
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
    """Return the free and the total memory of the current device in bytes."""
    free, total = call("cudaMemGetInfo")
    return int(free), int(total)
