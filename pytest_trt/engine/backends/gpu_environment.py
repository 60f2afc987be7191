"""What all backends on a GPU share: the start of the driver, and the record of the GPU and the software."""

from __future__ import annotations

import contextlib
import platform

from pytest_trt.core.records import Environment
from pytest_trt.engine.backends import cuda
from pytest_trt.engine.backends.host import host_cpu, host_digest, host_os, usable_cpus
from pytest_trt.engine.backends.numa import numa_node
from pytest_trt.errors import BackendError


class GpuBackend:
    """The part of a backend that starts the driver."""

    def preload(self) -> None:
        """Import the CUDA bindings, if they are installed: a machine that only builds does not need them."""
        with contextlib.suppress(BackendError):
            cuda.runtime()

    def initialize_driver(self) -> None:
        """Call cuInit; `activate` reports a driver that does not work."""
        cuda.reason_unusable()


def gpu_environment(device: str, backend: str, version: str) -> Environment:
    """Return the record of a GPU and the software.

    Args:
        device: The device's number or UUID.
        backend: The name of the backend.
        version: The version of the backend's package.

    Raises:
        BackendError: The driver does not work, or there is no such device.
    """
    found = cuda.device(device)
    major, minor = found.compute_capability
    return Environment(
        device=found.name,
        kind="gpu",
        backend=backend,
        backend_version=version,
        driver=cuda.driver_version(),
        cuda=cuda.cuda_version(),
        compute_capability=f"{major}.{minor}",
        device_uuid=found.uuid,
        mig_profile=found.mig_profile,
        pci_address=found.pci_address,
        numa_node=numa_node(found.pci_address),
        device_memory_bytes=found.memory_bytes,
        host_cpu=host_cpu(),
        host_cpus=usable_cpus(),
        host=host_digest(),
        os=host_os(),
        python=platform.python_version(),
    )
