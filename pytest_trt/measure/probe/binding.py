"""Bind a fresh probe to one card: it sees no other, and runs on the CPUs of the card's NUMA node."""

from __future__ import annotations

import dataclasses
import os

from pytest_trt.engine.backends.numa import node_cpus

VISIBLE_DEVICES = "CUDA_VISIBLE_DEVICES"
"""The environment variable that tells CUDA which cards a process may use, and in which order it counts them."""


@dataclasses.dataclass(frozen=True)
class Binding:
    """A frozen record of what a probe is bound to.

    The orders of NVML and of CUDA differ, CUDA's depends on what is visible, and a process sees at most one MIG slice.
    Therefore a probe is bound by the UUID of its card, which is then device 0 for every backend.

    Attributes:
        visible: The UUID of the only card that the probe may use; None to inherit CUDA_VISIBLE_DEVICES.
        numa_node: The NUMA node whose CPUs the probe may use; None for no such limit.
    """

    visible: str | None = None
    numa_node: int | None = None

    def apply(self) -> None:
        """Bind the calling process. Call it before the driver is initialised.

        Page-locked memory is allocated on the node of the CPU that allocates it, so the CPUs bind it too. A process
        that may not use the node's CPUs, as in a container with CPUs of another node, keeps its own.
        """
        if self.visible is not None:
            os.environ[VISIBLE_DEVICES] = self.visible
        if self.numa_node is not None and hasattr(os, "sched_setaffinity"):
            cpus = node_cpus(self.numa_node) & os.sched_getaffinity(0)
            if cpus:
                os.sched_setaffinity(0, cpus)
