"""The parent's end of the fork server (probe/__main__.py), from which probes come."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pytest_trt import errors
from pytest_trt.engine.backends.installed import OF_ONE_INTERPRETER
from pytest_trt.measure.probe import wire
from pytest_trt.measure.probe.client import Probe, last_words, raise_error

START_TIMEOUT_S = 120.0


class ProbeServer:
    """A fork server for one backend, under this interpreter or another. Use it as a context manager, or close it.

    Raises ProbeError where it does not start, and the backend's own BackendError where its package does not import.
    """

    def __init__(self, backend: str, python: str = sys.executable) -> None:
        self.backend = backend
        self._folder = tempfile.TemporaryDirectory(prefix="pytest-trt-")
        self._process: subprocess.Popen[bytes] | None = None
        self._spare: Probe | None = None
        self._probes = 0
        try:
            self._start(python)
        except BaseException:
            self.close()
            raise

    def _start(self, python: str) -> None:
        home = Path(self._folder.name)
        # a folder with nothing but this package: another interpreter must not see this one's site-packages, nor any
        # the modules that happen to lie in the user's current folder
        (home / "pytest_trt").symlink_to(Path(__file__).resolve().parents[2])
        self._connection, theirs = socket.socketpair()
        command = [python, "-m", "pytest_trt.measure.probe", str(theirs.fileno()), self.backend, str(os.getpid())]
        # one thread: a process with more must not fork; and none of a probe's spins while it waits
        one_thread = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
        environment = {**os.environ, **one_thread, "PYTHONUNBUFFERED": "1"}
        if python != sys.executable:
            for name in OF_ONE_INTERPRETER:
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
        answer = self._ask(None, START_TIMEOUT_S)
        raise_error(answer)
        self.version = str(answer["version"])

    @property
    def is_lost(self) -> bool:
        """Whether its process has ended, however it did."""
        return self._process is None or self._process.poll() is not None

    def fork(self) -> Probe:
        """A fresh probe. It was forked when the one before it was asked for: waking the driver takes a tenth of a
        second, which it has had since. It holds nothing of the device until it is asked to."""
        ready, self._spare = self._spare, None
        if ready is not None and not ready.is_running():  # whatever became of it, it is no test's fault
            ready.close(kill=True)
            ready = None
        ready = ready or self._fork()
        with contextlib.suppress(errors.ProbeError):  # the next one is forked when it is needed, or says why not
            self._spare = self._fork()
        return ready

    def _fork(self) -> Probe:
        try:
            ours, theirs = socket.socketpair()
        except OSError as error:
            raise errors.ProbeError(f"a probe cannot be forked: {error}") from error
        self._probes += 1
        log = Path(self._folder.name) / f"probe-{self._probes}.log"
        try:
            answer = self._ask({"do": "fork", "log": str(log)}, START_TIMEOUT_S, (theirs.fileno(),))
            raise_error(answer)
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        return Probe(self.ended, ours, int(answer["pid"]), log)

    def ended(self, pid: int, *, kill: bool) -> int:
        """How a probe ended: its wait status (os.wait)."""
        return int(self._ask({"do": "kill" if kill else "reap", "pid": pid}, START_TIMEOUT_S)["status"])

    def _ask(
        self, request: Mapping[str, Any] | None, timeout_s: float, descriptors: tuple[int, ...] = ()
    ) -> dict[str, Any]:
        try:
            self._connection.settimeout(timeout_s)
            if request is not None:
                wire.send(self._connection, request, descriptors)
            return wire.receive(self._connection)[0]
        except (wire.Closed, TimeoutError, OSError) as error:
            self._kill()
            words = last_words(Path(self._folder.name) / "server.log")
            raise errors.ProbeError(f"the probe server for {self.backend} is lost ({error}){words}") from error
        except BaseException:  # left in the middle, by Ctrl-C or by a plugin's time-out
            self._kill()
            raise

    def _kill(self) -> None:
        """End a server at once: what it may still answer would be taken for the answer to the next request."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def close(self) -> None:
        """End the server and every probe it has."""
        if self._spare is not None:
            self._spare.disconnect()
            self._spare = None
        with contextlib.suppress(AttributeError):
            self._connection.close()
        if self._process is not None:
            try:
                self._process.wait(5)
            except subprocess.TimeoutExpired:
                self._kill()
            self._process = None
        self._folder.cleanup()

    def __enter__(self) -> ProbeServer:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()
