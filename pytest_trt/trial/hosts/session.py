"""This process's end of the link to one host: requests, replies, and the probes there."""

from __future__ import annotations

import socket
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pytest_trt.core import codec
from pytest_trt.core.scratch import ScratchFolder
from pytest_trt.errors import HostError
from pytest_trt.measure.probe.binding import Binding
from pytest_trt.measure.probe.client import Probe, raise_error
from pytest_trt.measure.probe.shared_arrays import ArrayChannel
from pytest_trt.spec.hosts import HostAddress
from pytest_trt.trial.hosts.host import Say
from pytest_trt.trial.hosts.launch import Connection
from pytest_trt.trial.hosts.link import LinkLost
from pytest_trt.trial.hosts.relay import Relay


class _Pending:
    """A request whose reply has not arrived."""

    def __init__(self, progress: Say | None) -> None:
        self.progress, self.texts = progress, list[str]()
        self.arrived = threading.Condition()
        self.reply: tuple[dict[str, Any], bytearray] | None = None

    def add(self, message: dict[str, Any], payload: bytearray) -> None:
        with self.arrived:
            if "progress" in message:
                self.texts.append(str(message["progress"]))
            else:
                self.reply = message, payload
            self.arrived.notify()

    def wait(self) -> tuple[dict[str, Any], bytearray]:
        while True:
            with self.arrived:
                while self.reply is None and not self.texts:
                    self.arrived.wait()
                texts, self.texts = self.texts, []
            for text in texts:
                if self.progress is not None:
                    self.progress(text)
            if self.reply is not None and not self.texts:
                return self.reply


class HostSession:
    """A host that has been reached. Close it.

    Args:
        address: The host.
        request: What the agent receives when it starts, as JSON values.
        say: Shows that the host is waited for.

    Raises:
        HostError: The host cannot be reached, or cannot run the agent.
    """

    def __init__(self, address: HostAddress, request: Mapping[str, Any], say: Say) -> None:
        self.name = address.name
        self._connection = Connection(address, request, say)
        self._link = self._connection.link
        self._folder = ScratchFolder("probes")
        self._pending: dict[int, _Pending] = {}
        self._relays: dict[int, Relay] = {}
        self._logs: dict[int, Path] = {}
        self._count = 0
        self._counting = threading.Lock()
        self._state: dict[str, float] | None = None
        self.lost = ""
        self._reader = threading.Thread(target=self._read, name="trt-link", daemon=True)
        self._reader.start()

    def call(
        self, request: str, *, progress: Say | None = None, payload: Any = b"", **arguments: Any
    ) -> tuple[Any, bytearray]:
        """Let the agent serve a request, and return the result with the bytes that came with it.

        A call that is interrupted, by Ctrl-C or by a plugin's time-out, ends the session: what it locks would stay so.

        Raises:
            HostError: The link is lost.
            TrtError: The request failed there.
        """
        with self._counting:
            self._count += 1
            number, pending = self._count, _Pending(progress)
            self._pending[number] = pending
        try:
            self._check()
            self._forget_state()
            try:
                self._link.send({"id": number, "do": request, "arguments": arguments}, [payload])
            except LinkLost as error:
                self._lose(str(error))
                self._check()
            reply, data = pending.wait()
        except HostError:
            raise
        except BaseException:
            self._lose("a call was interrupted")
            raise
        finally:
            del self._pending[number]
        self._raise(reply)
        return reply.get("result"), data

    def _raise(self, reply: Mapping[str, Any]) -> None:
        if "error" in reply:
            error = dict(reply["error"])
            raise_error({"error": {**error, "message": f"host {self.name}: {error['message']}"}})

    def fork(self, backend: str, binding: Binding) -> Probe:
        """Return a fresh probe there, which is called as one of this host is."""
        found, _ = self.call("fork", backend=backend, binding=codec.encode(binding))
        number, pid = int(found["probe"]), int(found["pid"])
        ours, theirs = socket.socketpair()
        self._logs[number] = self._folder.path / f"probe-{number}.log"
        self._relays[number] = Relay(self._link, number, ArrayChannel(theirs), self._forget_state)
        if self.lost:
            self._relays[number].close()

        def reap(pid: int, *, kill: bool) -> int:
            self._relays.pop(number).close()
            return int(self.call("reap", probe=number, kill=kill)[0])

        return Probe(reap, ours, pid, self._logs[number])

    def take_state(self) -> dict[str, float] | None:
        """Return the state of the device that came with the last reply of a probe; None if anything was sent since."""
        state, self._state = self._state, None
        return state

    def _forget_state(self, _verb: str = "") -> Mapping[str, Any]:
        self._state = None
        return {}

    def _read(self) -> None:
        """Pass on what arrives, until the link is lost."""
        try:
            while True:
                message, payload = self._link.receive()
                if "probe" in message:
                    self._pass_on(message, payload)
                elif (pending := self._pending.get(message["id"])) is not None:
                    pending.add(message, payload)
        except LinkLost as error:
            self._lose(str(error))

    def _pass_on(self, message: Mapping[str, Any], payload: bytearray) -> None:
        relay = self._relays.get(message["probe"])
        if relay is None:
            return
        self._state = message.get("state")
        if "closed" in message:
            self._logs[message["probe"]].write_text(message["closed"])
            relay.close()
        else:
            relay.deliver(message, payload)

    def _lose(self, reason: str) -> None:
        """Give up the link: every call that waits fails, and every probe has ended."""
        self.lost = self.lost or reason
        self._connection.hang_up()
        for pending in tuple(self._pending.values()):
            pending.add({"error": {"type": HostError.__name__, "message": self._reason()}}, bytearray())
        for relay in tuple(self._relays.values()):
            relay.close()

    def _reason(self) -> str:
        return f"the link to it is lost ({self.lost}){self._connection.last_words()}"

    def _check(self) -> None:
        if self.lost:
            raise HostError(f"host {self.name}: {self._reason()}")

    @property
    def traffic(self) -> tuple[int, int]:
        """The number of messages and of bytes that were sent and received."""
        return self._link.messages, self._link.nbytes

    def close(self) -> None:
        """End the session, and wait until the command has ended."""
        self.lost = self.lost or "it is closed"
        self._connection.end()
        self._lose("it is closed")
        self._reader.join()
        self._connection.close()
        self._folder.close()


class RemoteServer:
    """Forks probes of one backend on a host (see `client.ProbeFactory`).

    Args:
        session: The link to the host.
        backend: The backend's name.

    Attributes:
        version: The version of the backend's package.
        binding: What the probes that are forked from now on are bound to.

    Raises:
        BackendError: The backend's package cannot be imported there.
        HostError: The link is lost.
    """

    def __init__(self, session: HostSession, backend: str) -> None:
        self._session, self.backend, self.binding = session, backend, Binding()
        self.version = str(session.call("version", backend=backend)[0])

    def fork(self) -> Probe:
        """Return a fresh probe."""
        return self._session.fork(self.backend, self.binding)
