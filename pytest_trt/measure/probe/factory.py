"""The interface of whatever forks probes."""

from __future__ import annotations

from typing import Protocol

from pytest_trt.measure.probe.binding import Binding
from pytest_trt.measure.probe.client import Probe


class ProbeFactory(Protocol):
    """Forks probes of one backend, on this host or on another one (see `server.ProbeServer`).

    Attributes:
        backend: The backend's name.
        version: The version of the backend's package.
        binding: What the probes that are forked from now on are bound to.
    """

    backend: str
    version: str
    binding: Binding

    def fork(self) -> Probe:
        """Return a fresh probe."""
        ...
