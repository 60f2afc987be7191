"""All hosts elsewhere of one run: reach them at the same time, and share what is known about them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from pytest_trt.errors import TrtError
from pytest_trt.trial.hosts.remote import RemoteHost


class Elsewhere:
    """The hosts elsewhere of one run.

    Args:
        hosts: The hosts.

    Attributes:
        hosts: The hosts.
    """

    def __init__(self, hosts: Sequence[RemoteHost]) -> None:
        self.hosts = tuple(hosts)

    def reach(self) -> list[str]:
        """Reach all hosts, and return a sentence about each that cannot be reached or lacks something."""
        if not self.hosts:
            return []
        with ThreadPoolExecutor(len(self.hosts)) as threads:
            return list(filter(None, threads.map(_reach, self.hosts)))

    def learned(self) -> dict[str, Any]:
        """Return what this process knows about the hosts, as JSON values, for the workers of the run."""
        return {host.name: host.learned() for host in self.hosts}

    def learn(self, learned: Mapping[str, Any]) -> None:
        """Take over what the controller of the run knows about the hosts."""
        for host in self.hosts:
            host.learn(learned[host.name])


def _reach(host: RemoteHost) -> str:
    try:
        host.sees_gpu()
    except TrtError as error:
        return str(error)
    return ""
