"""Describe the host: its processor, the CPUs that a process may use, and its operating system."""

from __future__ import annotations

import os
import platform
from pathlib import Path


def host_os() -> str:
    """Return the operating system and its release, without the suffix of a distribution or a virtual machine."""
    return f"{platform.system()} {platform.release().partition('-')[0]}"


def host_cpu() -> str:
    """Return the name of the processor, as in /proc/cpuinfo."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def usable_cpus() -> int:
    """Return the number of CPUs that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
