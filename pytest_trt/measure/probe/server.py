"""Start the fork server (probe/__main__.py) and fork probes from it."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pytest_trt import errors
from pytest_trt.core import codec
from pytest_trt.core.scratch import ScratchFolder
from pytest_trt.engine.backends.installed import INTERPRETER_VARIABLES
from pytest_trt.measure.probe import wire
from pytest_trt.measure.probe.binding import Binding
from pytest_trt.measure.probe.client import Probe, raise_error, with_log

START_TIMEOUT_S = 120.0
"""How long the server may take to start, and to answer a request, in seconds."""

_CLOSE_TIMEOUT_S = 5
"""How long the server may take to exit before it is killed, in seconds."""


class ProbeServer:
    """A fork server for one backend. Use it as a context manager, or close it.

    Args:
        backend: The backend's name, or `wire.CONVERSION` for probes that run no engine.
        python: The interpreter that runs the server and its probes.

    Attributes:
        version: The version of the backend's package; empty without a backend.
        binding: What the probes that are forked from now on are bound to.

    Raises:
        ProbeError: The server does not start.
        BackendError: The backend's package cannot be imported.
    """

    def __init__(self, backend: str, python: str = sys.executable) -> None:
        self.backend = backend
        self._folder = ScratchFolder("server")
        self._process: subprocess.Popen[bytes] | None = None
        self.binding = Binding()
        self._spare: Probe | None = None
        self._spare_binding = self.binding
        self._probes = 0
        try:
            self._start(python)
        except BaseException:
            self.close()
            raise

    def _start(self, python: str) -> None:
        home = self._folder.path
        # The server starts in a folder that contains only this package: another interpreter must not import from this
        # one's site-packages, and none may import modules from the user's current folder.
        (home / "pytest_trt").symlink_to(Path(__file__).resolve().parents[2])
        self._connection, theirs = socket.socketpair()
        command = [python, "-m", "pytest_trt.measure.probe", str(theirs.fileno()), self.backend, str(os.getpid())]
        # A process with several threads must not fork, and threads must not spin while a probe waits.
        one_thread = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
        environment = {**os.environ, **one_thread, "PYTHONUNBUFFERED": "1"}
        if python != sys.executable:
            for name in INTERPRETER_VARIABLES:
                environment.pop(name, None)
        try:
            with (home / "server.log").open("wb") as log:
                self._process = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    pass_fds=[theirs.fileno()],
                    cwd=home,
                    env=environment,
                    start_new_session=True,
                )
        except OSError as error:
            raise errors.ProbeError(f"the interpreter {python} cannot be started: {error}") from error
        finally:
            theirs.close()
        reply = self._request(None, START_TIMEOUT_S)
        raise_error(reply)
        self.version = str(reply["version"])

    @property
    def is_lost(self) -> bool:
        """Whether the server's process has ended for any reason."""
        return self._process is None or self._process.poll() is not None

    def fork(self) -> Probe:
        """Return a fresh probe, and fork the next one in advance.

        Waking the driver takes a tenth of a second, which a probe spends before it is needed. It uses no device memory
        until its first call.

        Raises:
            ProbeError: The server is lost, or no process can be forked.
        """
        probe, self._spare = self._spare, None
        if probe is not None and not (probe.is_running() and self._spare_binding == self.binding):
            probe.close(kill=True)  # it ended while no test used it, or is bound to another card
            probe = None
        probe = probe or self._fork()
        with contextlib.suppress(errors.ProbeError):  # the next call forks it, or raises the error
            self._spare, self._spare_binding = self._fork(), self.binding
        return probe

    def _fork(self) -> Probe:
        try:
            ours, theirs = socket.socketpair()
        except OSError as error:
            raise errors.ProbeError(f"a probe cannot be forked: {error}") from error
        self._probes += 1
        log = self._folder.path / f"probe-{self._probes}.log"
        try:
            request = {"do": "fork", "log": str(log), "binding": codec.encode(self.binding)}
            reply = self._request(request, START_TIMEOUT_S, (theirs.fileno(),))
            raise_error(reply)
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        return Probe(self.reap, ours, int(reply["pid"]), log)

    def reap(self, pid: int, *, kill: bool) -> int:
        """Wait until a probe ends, or kill it, and return its wait status (os.wait)."""
        return int(self._request({"do": "kill" if kill else "reap", "pid": pid}, START_TIMEOUT_S)["status"])

    def _request(
        self, request: Mapping[str, Any] | None, timeout_s: float, descriptors: tuple[int, ...] = ()
    ) -> dict[str, Any]:
        """Send a request, if any, and wait for the next reply."""
        try:
            self._connection.settimeout(timeout_s)
            if request is not None:
                wire.send(self._connection, request, descriptors)
            return wire.receive(self._connection)[0]
        except (wire.Closed, TimeoutError, OSError) as error:
            self._kill()
            message = f"the probe server for {self.backend} is lost ({error})"
            log = self._folder.path / "server.log"
            raise errors.ProbeError(*with_log(message, log)) from error
        except BaseException:  # interrupted, by Ctrl-C or by a plugin's time-out
            self._kill()
            raise

    def _kill(self) -> None:
        """Kill the server: a late reply would be read as the reply to the next request."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def close(self) -> None:
        """End the server and all its probes."""
        if self._spare is not None:
            self._spare.disconnect()
            self._spare = None
        with contextlib.suppress(AttributeError):
            self._connection.close()
        if self._process is not None:
            try:
                self._process.wait(_CLOSE_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self._kill()
            self._process = None
        self._folder.close()

    def __enter__(self) -> ProbeServer:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()
