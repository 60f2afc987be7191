"""The fork server: imports what probes need, once, makes no CUDA context, and forks a probe on demand.

`python -m pytest_trt.probe DESCRIPTOR BACKEND PARENT`, where DESCRIPTOR is a socket that the parent passes on.
Requests: `fork` (with the probe's own socket, and a log file), `reap` (how a probe ended), `kill`. When the socket
closes, or the parent dies however it dies, the server and all its probes are gone.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import socket
import sys
import time
from collections.abc import Iterator
from typing import Any

from pytest_trt.measure.probe import wire

_PR_SET_PDEATHSIG = 1


def main() -> None:
    connection = socket.socket(fileno=int(sys.argv[1]))
    die_with(int(sys.argv[3]))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle: it closes the socket
    wire.send(connection, {"ready": True, **_preload(sys.argv[2])})
    children: dict[int, int | None] = {}
    try:
        _serve(connection, children)
    finally:
        for child, status in children.items():
            if status is None:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(child, signal.SIGKILL)
                with contextlib.suppress(ChildProcessError):
                    os.waitpid(child, 0)


def _serve(connection: socket.socket, children: dict[int, int | None]) -> None:
    while True:
        try:
            request, descriptors = wire.receive(connection)
        except wire.Closed:
            return
        if request["do"] == "fork":
            server = os.getpid()
            with _closing(descriptors):
                try:
                    child = os.fork()
                except OSError as error:
                    wire.send(connection, _refused(error))
                    continue
                if child == 0:
                    _become_probe(server, connection, descriptors[0], str(request["log"]))
            children[child] = None
            wire.send(connection, {"pid": child})
            continue
        child = int(request["pid"])
        if children[child] is None:
            children[child] = _end(child, grace_s=0.0 if request["do"] == "kill" else 10.0)
        wire.send(connection, {"status": children[child]})


def _refused(error: OSError) -> dict[str, Any]:
    remedy = "end other programs, or raise the limit on processes or memory (ulimit -u, or the container's)"
    message = f"a probe cannot be forked: {error.strerror}: {remedy}"
    return {"error": {"type": "ProbeError", "message": message}}


def _end(child: int, grace_s: float) -> int:
    """The wait status of a child that has that long to end by itself."""
    deadline = time.monotonic() + grace_s
    while True:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return status
        if time.monotonic() >= deadline:
            os.kill(child, signal.SIGKILL)
            return os.waitpid(child, 0)[1]
        time.sleep(0.001)


def _become_probe(server: int, connection: socket.socket, descriptor: int, log: str) -> None:
    """In the child: never return to the server's loop, whatever happens."""
    status = 70
    try:
        die_with(server)
        connection.close()
        output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(output, 1)
        os.dup2(output, 2)
        from pytest_trt.engine.backends.base import backend
        from pytest_trt.measure.probe.verbs import serve

        backend(sys.argv[2]).initialize_driver()
        serve(socket.socket(fileno=os.dup(descriptor)))
        status = 0
    except BaseException:  # noqa: BLE001 - reported through the log and the exit status; there is no caller to tell
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)  # without the server's own clean-up


def die_with(parent: int) -> None:
    """Have the kernel kill this process when its parent dies; Linux only, elsewhere the closing socket has to do."""
    if sys.platform != "linux":
        return
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it died before the call
        os._exit(70)


def _preload(name: str) -> dict[str, Any]:
    """Import what probes work with, the backend's package too, so that they start with it. A failure is the answer to
    whoever asks for one."""

    with contextlib.suppress(ImportError):  # what is absent is said where it is needed
        import numpy.random  # noqa: F401
        import nvtx  # noqa: F401
    from pytest_trt.engine.backends.base import backend
    from pytest_trt.errors import TrtError

    try:
        found = backend(name)
        found.preload()
        return {"version": found.version()}
    except TrtError as error:
        return {"error": {"type": type(error).__name__, "message": str(error)}}


@contextlib.contextmanager
def _closing(descriptors: list[int]) -> Iterator[None]:
    try:
        yield
    finally:
        for descriptor in descriptors:
            os.close(descriptor)


if __name__ == "__main__":
    main()
