"""The energy counter of a host elsewhere, which is read there: a link is too slow to see its steps."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from pytest_trt.measure.energy_meter import Reading, Readings
from pytest_trt.trial.hosts.session import HostSession


class RemoteMeter:
    """The energy counter of a GPU of a host, or of its processors.

    Args:
        session: Returns the link to the host.
        uuid: The GPU; None for the processors.

    Attributes:
        name: What counts, for reports.

    Raises:
        BackendError: The host has no such counter, or may not read it.
    """

    def __init__(self, session: Callable[[], HostSession], uuid: str | None) -> None:
        self._session, self._uuid = session, uuid
        self.name = str(session().call("meter", uuid=uuid)[0])

    @contextlib.contextmanager
    def watch(self) -> Iterator[Readings]:
        """Read the counter there, from entering until leaving the context."""
        session, found = self._session(), Readings()
        held, _ = session.call("watch", uuid=self._uuid)
        yield found
        found.readings += (Reading(*reading) for reading in session.call("watched", held=held)[0])
