"""How much memory a process may use, does use, and could use (proc(5))."""

from __future__ import annotations

import resource
from pathlib import Path

STACK_BYTES = 96 * 2**20
"""How large the stack may grow while an engine is built. Linux keeps 128 MiB below the stack free of other memory,
whatever the limit was when the process started."""


def raise_stack_limit() -> None:
    """Let this process's stack grow to STACK_BYTES.

    TensorRT's builder recurses from layer to layer: at the usual limit of 8 MiB, a network of 5000 layers crashes it.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_STACK)
    most = STACK_BYTES if hard == resource.RLIM_INFINITY else min(STACK_BYTES, hard)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_STACK, (most, hard))


def peak_resident_bytes() -> int:
    """Return this process's largest resident set so far, in bytes (VmHWM, proc(5))."""
    return _own_bytes("VmHWM")


def limit_memory(nbytes: int) -> None:
    """Let this process allocate at most so many bytes more than it has.

    Private memory is limited, not the address space, of which packages reserve far more than they use. A lower limit
    that the process already has stays.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    most = _own_bytes("VmData") + nbytes
    if soft == resource.RLIM_INFINITY or most < soft:
        resource.setrlimit(resource.RLIMIT_DATA, (most, hard))


def available_bytes() -> int:
    """Return how much memory can be allocated without swapping, in bytes."""
    return _read_bytes("/proc/meminfo", "MemAvailable")


def _own_bytes(name: str) -> int:
    return _read_bytes("/proc/self/status", name)


def _read_bytes(file: str, name: str) -> int:
    lines = (line.partition(":") for line in Path(file).read_text().splitlines())
    return next(int(value.split()[0]) * 1024 for key, _, value in lines if key == name)
