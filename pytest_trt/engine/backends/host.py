"""The host: its processor, how many CPUs a process may use, its operating system."""

from __future__ import annotations

import os
import platform
from pathlib import Path


def host_os() -> str:
    """The operating system and its release, without what a distribution or a virtual machine adds to it."""
    return f"{platform.system()} {platform.release().partition('-')[0]}"


def host_cpu() -> str:
    """The processor's own name, as /proc/cpuinfo has it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def usable_cpus() -> int:
    """How many processors this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
