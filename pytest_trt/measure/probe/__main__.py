"""The fork server: import once what probes need, and fork a probe on request.

`python -m pytest_trt.measure.probe DESCRIPTOR BACKEND PARENT`, where DESCRIPTOR is a socket that the parent process
PARENT passes on, and BACKEND the name of a backend, or `wire.CONVERSION`. Requests are `fork` (with the probe's own
socket, a log file and a binding to a card), `reap` (return how a probe ended) and `kill`. The server itself makes no
CUDA context. When the socket closes, or the parent dies for any reason, the server and all its probes end.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import socket
import sys
import time
import traceback
from collections.abc import Iterator
from typing import Any

from pytest_trt.core import codec
from pytest_trt.engine.backends.base import backend
from pytest_trt.errors import TrtError
from pytest_trt.measure.probe import wire
from pytest_trt.measure.probe.binding import Binding

FAILED = 70
"""The exit status of a probe that failed (EX_SOFTWARE of sysexits.h)."""

_GRACE_S = 10.0
"""How long a probe may take to exit by itself, in seconds."""

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Serve requests until the parent closes the socket, then kill the probes that are left."""
    connection = socket.socket(fileno=int(sys.argv[1]))
    die_with_parent(int(sys.argv[3]))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # on Ctrl-C, the parent closes the socket
    wire.send(connection, {"ready": True, **_preload(sys.argv[2])})
    children: dict[int, int | None] = {}
    try:
        serve_forks(connection, children)
    finally:
        for child, status in children.items():
            if status is None:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(child, signal.SIGKILL)
                with contextlib.suppress(ChildProcessError):
                    os.waitpid(child, 0)


def serve_forks(connection: socket.socket, children: dict[int, int | None]) -> None:
    """Answer requests until the other end closes the connection.

    Args:
        connection: The socket to the parent.
        children: Filled with the wait status of each probe by its process id; None for one that has not been reaped.
    """
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
                    wire.send(connection, _fork_failure(error))
                    continue
                if child == 0:
                    _become_probe(server, connection, descriptors[0], request)
            children[child] = None
            wire.send(connection, {"pid": child})
            continue
        child = int(request["pid"])
        if children[child] is None:
            children[child] = _reap(child, grace_s=0.0 if request["do"] == "kill" else _GRACE_S)
        wire.send(connection, {"status": children[child]})


def die_with_parent(parent: int) -> None:
    """Have the kernel kill this process when its parent dies.

    Only Linux can do that. On other systems, a process ends when the socket to its parent closes.

    Args:
        parent: The parent's process id. If it has died already, this process exits at once.
    """
    if sys.platform != "linux":
        return
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it died before the call
        os._exit(FAILED)


def _preload(name: str) -> dict[str, Any]:
    """Import what probes need, with the backend's package, so that forked probes have it from the start.

    Returns:
        The package's version; or the error, which the parent raises when it starts the server.
    """
    with contextlib.suppress(ImportError):  # a package that is missing is reported where it is needed
        import numpy.random  # noqa: F401
        import nvtx  # noqa: F401
    if name == wire.CONVERSION:
        import onnx  # noqa: F401

        return {"version": ""}
    try:
        found = backend(name)
        found.preload()
        return {"version": found.version()}
    except TrtError as error:
        return {"error": {"type": type(error).__name__, "message": str(error)}}


def _fork_failure(error: OSError) -> dict[str, Any]:
    remedy = "end other programs, or raise the limit on processes or memory (ulimit -u, or the container's)"
    message = f"a probe cannot be forked: {error.strerror}: {remedy}"
    return {"error": {"type": "ProbeError", "message": message}}


def _reap(child: int, grace_s: float) -> int:
    """Wait until a child exits, kill it if it takes longer than that, and return its wait status."""
    deadline = time.monotonic() + grace_s
    while True:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return status
        if time.monotonic() >= deadline:
            os.kill(child, signal.SIGKILL)
            return os.waitpid(child, 0)[1]
        time.sleep(0.001)


def _become_probe(server: int, connection: socket.socket, descriptor: int, request: dict[str, Any]) -> None:
    """Serve one probe's verbs in the forked child, then exit: never return to the server's loop."""
    status = FAILED
    try:
        die_with_parent(server)
        connection.close()
        output = os.open(str(request["log"]), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(output, 1)
        os.dup2(output, 2)
        codec.decode(Binding, request["binding"]).apply()
        from pytest_trt.measure.probe.verbs import serve  # the server itself runs no engine

        if sys.argv[2] != wire.CONVERSION:
            backend(sys.argv[2]).initialize_driver()
        serve(socket.socket(fileno=os.dup(descriptor)))
        status = 0
    except BaseException:  # noqa: BLE001 - the log and the exit status report it; there is no caller to raise it to
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)  # without the server's own clean-up


@contextlib.contextmanager
def _closing(descriptors: list[int]) -> Iterator[None]:
    try:
        yield
    finally:
        for descriptor in descriptors:
            os.close(descriptor)


if __name__ == "__main__":
    main()
