"""Describe the host: its processor, the CPUs that a process may use, and its operating system."""

from __future__ import annotations

import hashlib
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


def host_digest() -> str:
    """Return a digest that tells this host apart from others; empty if nothing does.

    It is that of the machine id. A container often has none, or that of its image: there, the boot id of the kernel,
    which is the host's, stands for the host until it is restarted.
    """
    in_container = "KUBERNETES_SERVICE_HOST" in os.environ or any(
        Path(path).exists() for path in ("/.dockerenv", "/run/.containerenv")
    )
    for path in ("/etc/machine-id", "/proc/sys/kernel/random/boot_id")[in_container:]:
        try:
            identity = Path(path).read_text().strip()
        except OSError:
            continue
        if identity and identity != "uninitialized":
            return hashlib.sha256(f"pytest-trt {identity}".encode()).hexdigest()[:16]
    return ""


def usable_cpus() -> int:
    """Return the number of CPUs that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
