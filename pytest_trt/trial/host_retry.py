"""Try something once more on another host, or over a new link, if the first one is lost."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from pytest_trt.core.records import Environment
from pytest_trt.errors import HostError, ProbeError
from pytest_trt.trial.bench import Bench

T = TypeVar("T")


class HostRetry:
    """Does what needs the host of a test.

    Args:
        bench: The resources of the run.
        node_id: The test.
        environment: Returns the card and the host that the test uses.
        forget: Forgets what is only valid on that host, so that it is chosen again.
    """

    def __init__(
        self, bench: Bench, node_id: str, environment: Callable[[], Environment], forget: Callable[[], None]
    ) -> None:
        self._bench, self._node_id, self._environment, self._forget = bench, node_id, environment, forget
        self._trying = False

    def __call__(self, do: Callable[[], T]) -> T:
        """Return what `do` returns; if the host or a probe on it is lost, of a second call on another one of its kind.

        On this host, nothing is done twice: the loss of a probe is a result here.

        Raises:
            ProbeError: The second call fails, too. The message names the host.
        """
        if self._trying:
            return do()
        self._trying = True
        try:
            return self._try(do)
        finally:
            self._trying = False

    def _try(self, do: Callable[[], T]) -> T:
        try:
            return do()
        except ProbeError as error:
            if not self._bench.leave(self._environment(), error):
                raise
            self._bench.warn(f"{self._node_id}: tried once more ({error})")
        self._forget()
        try:
            return do()
        except HostError:
            raise
        except ProbeError as error:
            raise type(error).from_text(f"host {self._environment().host_name}: {error}") from error
