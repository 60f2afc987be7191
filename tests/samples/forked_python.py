"""Start Python children as forks of a process that has imported the libraries.

Most of the time of a short pytest run, xdist worker or probe server is spent on imports. A `Forkserver` imports what
they need once. `Popen` stands in for `subprocess.Popen`: it forks a child there for the command lines of this
interpreter that it knows, and starts every other command as usual. A forked child is a process of its own, with the
descriptors, environment, folder, arguments and module path that it would have otherwise, but its parent is another
process, and it measures as shortly as SHORT says. The children of forked children are forked from the same server.
"""

from __future__ import annotations

import atexit
import contextlib
import fcntl
import gc
import importlib
import json
import os
import pkgutil
import re
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import traceback
import types
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, NoReturn

_SOCKET = (socket.AF_UNIX, socket.SOCK_SEQPACKET)

_MOST_BYTES, _MOST_DESCRIPTORS = 2**20, 64
"""How large a request may be."""

_OPTIONS = frozenset({"bufsize", "stdin", "stdout", "stderr", "cwd", "env", "pass_fds", "start_new_session", "text"})
"""The options of `subprocess.Popen` that a fork supports."""

_AT_START = re.compile("PYTHON(?!PATH|UNBUFFERED|DONTWRITEBYTECODE)")
"""Environment variables that an interpreter reads only when it starts. A fork has the server's."""

SHORT = {
    "pytest_trt.measure.engine_probe.BLOCK_MS": 1.0,
    "pytest_trt.measure.run.MAX_PROFILED": 5,
    "pytest_trt.trial.probe_spread.BLOCKS_S": 0.02,
}
"""The values that make measurements short, which otherwise cost most of the time of a test."""

INTERPRETER = subprocess.Popen
"""What starts an interpreter, for tests that need the usual tree of processes."""

_address = ""
"""Where the server of this process listens; empty without one."""

_server_variables: dict[str, str] = {}
"""Those variables when the server started."""


class Forkserver:
    """The process that children are forked from. Use it as a context manager."""

    def __enter__(self) -> Forkserver:
        global _address, _server_variables
        _server_variables = _at_start(os.environ)
        self._folder = tempfile.TemporaryDirectory(prefix="forked-python-")
        _address = str(Path(self._folder.name) / "socket")
        ends_with_us, self._alive = os.pipe()
        one_thread = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}  # a fork has none of the others
        outer = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
        with socket.socket(*_SOCKET) as listener:
            listener.bind(_address)
            listener.listen(64)
            passed = (listener.fileno(), ends_with_us)
            self._process = INTERPRETER(
                [sys.executable, __file__, _address, *map(str, passed)],
                env={**outer, **one_thread},
                pass_fds=passed,
                cwd=self._folder.name,
                start_new_session=True,
            )
        os.close(ends_with_us)
        return self

    def __exit__(self, *exception: object) -> None:
        global _address
        _address = ""
        os.close(self._alive)
        self._process.wait()
        self._folder.cleanup()


class Popen:
    """A forked child, with the interface of `subprocess.Popen`. Other command lines return a `subprocess.Popen`."""

    __class_getitem__ = classmethod(types.GenericAlias)

    def __new__(cls, args: Any, **options: Any) -> Any:
        environment = os.environ if options.get("env") is None else options["env"]
        known = _OPTIONS.issuperset(options) and _at_start(environment) == _server_variables
        known = known and not _runs_sitecustomize(environment)
        return super().__new__(cls) if _address and known and _program(args) else INTERPRETER(args, **options)

    def __init__(
        self,
        args: Sequence[str],
        *,
        bufsize: int = -1,
        stdin: IO[Any] | int | None = None,
        stdout: IO[Any] | int | None = None,
        stderr: IO[Any] | int | None = None,
        cwd: str | os.PathLike[str] | None = None,
        env: dict[str, str] | None = None,
        pass_fds: Sequence[int] = (),
        start_new_session: bool = False,
        text: bool = False,
    ) -> None:
        self.args, self.returncode, self._bufsize, self._binary = args, None, bufsize, "" if text else "b"
        self.stdin: IO[Any] | None = None
        self.stdout: IO[Any] | None = None
        self.stderr: IO[Any] | None = None
        request = {
            "program": _program(args),
            "numbers": [0, 1, 2, *pass_fds],
            "folder": os.fspath(cwd or Path.cwd()),
            "environment": dict(os.environ if env is None else env),
            "session": start_new_session,
            "parent": str(os.getpid()),
            "ignores ctrl-c": signal.getsignal(signal.SIGINT) == signal.SIG_IGN,
        }
        self._connection = socket.socket(*_SOCKET)
        self._connection.connect(_address)
        with contextlib.ExitStack() as stack:
            standard = [self._descriptor(0, stdin, stack), self._descriptor(1, stdout, stack)]
            standard.append(standard[1] if stderr == subprocess.STDOUT else self._descriptor(2, stderr, stack))
            socket.send_fds(self._connection, [json.dumps(request).encode()], [*standard, *pass_fds])
        self.pid = int(self._connection.recv(64))

    def _descriptor(self, number: int, stream: IO[Any] | int | None, stack: contextlib.ExitStack) -> int:
        """Return what the child's standard stream is. The stack closes what is the child's alone."""
        if stream == subprocess.PIPE:
            ends = os.pipe()
            theirs, ours = ends if number == 0 else reversed(ends)
            pipe = os.fdopen(ours, ("w" if number == 0 else "r") + self._binary, self._bufsize)
            setattr(self, ("stdin", "stdout", "stderr")[number], pipe)
        elif stream == subprocess.DEVNULL:
            theirs = os.open(os.devnull, os.O_RDWR)
        elif stream is None:
            return number
        else:
            return stream if isinstance(stream, int) else stream.fileno()
        stack.callback(os.close, theirs)
        return theirs

    def poll(self) -> int | None:
        return self._wait(0)

    def wait(self, timeout: float | None = None) -> int:
        status = self._wait(timeout)
        if status is None:
            raise subprocess.TimeoutExpired(self.args, timeout or 0)
        return status

    def communicate(self, input: Any = None, timeout: float | None = None) -> tuple[Any, Any]:
        """Write `input`, and return what the child wrote to its pipes until it ended. `subprocess.run` calls this."""
        written = {name: stream for name in ("stdout", "stderr") if (stream := getattr(self, name)) is not None}
        texts = dict[str, Any]()
        threads = [
            threading.Thread(target=lambda name=name, stream=stream: texts.update({name: stream.read()}), daemon=True)
            for name, stream in written.items()
        ]
        for thread in threads:
            thread.start()
        if self.stdin is not None:
            with contextlib.suppress(BrokenPipeError), self.stdin:
                self.stdin.write(input or ("" if not self._binary else b""))
        self.wait(timeout)
        for thread in threads:
            thread.join()
        return texts.get("stdout"), texts.get("stderr")

    def _wait(self, timeout: float | None) -> int | None:
        if self.returncode is None and select.select([self._connection], [], [], timeout)[0]:
            self.returncode = int(self._connection.recv(64) or -signal.SIGKILL)  # nothing if the server has ended
            self._connection.close()
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def __enter__(self) -> Popen:
        return self

    def __exit__(self, *exception: object) -> None:
        for stream in (self.stdin, self.stdout, self.stderr):
            if stream is not None:
                stream.close()
        self.wait()


def _at_start(environment: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if _AT_START.match(name)}


def _runs_sitecustomize(environment: Mapping[str, str]) -> bool:
    """Return whether an interpreter would run a module at its start that the server has not run."""
    folders = filter(None, environment.get("PYTHONPATH", "").split(os.pathsep))
    return any(Path(folder, "sitecustomize.py").exists() for folder in folders)


def _program(args: Any) -> dict[str, Any] | None:
    """Return what a command line of this interpreter runs; None for any other."""
    words = [] if isinstance(args, (str, bytes, os.PathLike)) else [str(word) for word in args]
    if words[:1] != [sys.executable]:
        return None
    words = words[2:] if words[1:2] == ["-u"] else words[1:]
    if words[:1] == ["-mpytest"]:
        words[:1] = ["-m", "pytest"]
    if len(words) < 2 or words[0] not in ("-m", "-c"):
        return None
    return {"option": words[0], "value": words[1], "arguments": words[2:]}


def main() -> None:
    """Import the libraries, then fork a child for each request until the process that started this one has ended."""
    global _address, _server_variables
    _server_variables = _at_start(os.environ)
    _address, listener, ends_with_parent = sys.argv[1], socket.socket(fileno=int(sys.argv[2])), int(sys.argv[3])
    from pytest_startup import remember

    sys.path.remove(str(Path(__file__).parent))
    _import_libraries(remember)
    subprocess.Popen = Popen  # type: ignore[assignment, misc]
    atexit._clear()  # what the libraries clean up is the server's, and takes a fork longer than all else
    gc.collect()
    gc.freeze()  # a fork that collects does not copy these objects
    running: dict[int, tuple[int, socket.socket]] = {}
    while ends_with_parent not in (ready := select.select([listener, ends_with_parent, *running], [], [])[0]):
        for ended in running.keys() & ready:
            child, connection = running.pop(ended)
            _send(connection, os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
            os.close(ended)
            connection.close()
        if listener in ready:
            connection = listener.accept()[0]
            data, descriptors, *_ = socket.recv_fds(connection, _MOST_BYTES, _MOST_DESCRIPTORS)
            if (child := os.fork()) == 0:
                _become(json.loads(data), descriptors)
            running[os.pidfd_open(child)] = child, connection
            _send(connection, child)
            for descriptor in descriptors:
                os.close(descriptor)


def _send(connection: socket.socket, number: int) -> None:
    with contextlib.suppress(OSError):  # the process that asked has ended
        connection.send(str(number).encode())


def _import_libraries(remember: Callable[[], None]) -> None:
    """Import what children need. pytest imports its plugins, since it rewrites their assertions."""
    for name in ("numpy.ma", "numpy.random", "nvtx", "onnx", "onnxruntime", "platformdirs", "rich.rule", "rich.table"):
        importlib.import_module(name)
    import pytest

    remember()
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
        pytest.main(["--collect-only", "-p", "no:pytest-retry"])
    for name in ("xdist.dsession", "xdist.remote"):
        importlib.import_module(name)
    import pytest_trt

    for module in pkgutil.walk_packages(pytest_trt.__path__, "pytest_trt."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    for name, value in SHORT.items():
        pytest.MonkeyPatch().setattr(name, value)


def _become(request: dict[str, Any], descriptors: Sequence[int]) -> NoReturn:
    """Run the program of the request as an interpreter of its own would, and exit."""
    status = 1
    try:
        _set_descriptors(request["numbers"], descriptors)
        if request["session"]:
            os.setsid()
        signal.signal(signal.SIGINT, signal.SIG_IGN if request["ignores ctrl-c"] else signal.default_int_handler)
        _set_paths(request)
        program = request["program"]
        # A program that compares an argument with the id of its parent has the server as its parent.
        arguments = [str(os.getppid()) if word == request["parent"] else word for word in program["arguments"]]
        sys.argv = [program["option"], *arguments]
        if program["option"] == "-m":
            runpy.run_module(program["value"], run_name="__main__", alter_sys=True)
        else:
            module = sys.modules["__main__"] = types.ModuleType("__main__")
            exec(program["value"], module.__dict__)
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
    except BaseException:  # noqa: BLE001 - as an interpreter does
        traceback.print_exc()
    finally:
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _set_descriptors(numbers: Sequence[int], descriptors: Sequence[int]) -> None:
    """Give the descriptors these numbers, close all others, and open the standard streams."""
    beyond = max(*numbers, *descriptors) + 1
    moved = [fcntl.fcntl(descriptor, fcntl.F_DUPFD, beyond) for descriptor in descriptors]
    for source, number in zip(moved, numbers, strict=True):
        os.dup2(source, number)
    for number in map(int, os.listdir("/proc/self/fd")):  # noqa: PTH208 - pathlib copies more of the server's memory
        if number not in numbers:
            with contextlib.suppress(OSError):  # that of the folder itself is closed
                os.close(number)
    for number, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        old = getattr(sys, name)
        buffering = 1 if name == "stderr" else -1
        new = os.fdopen(number, mode, buffering, encoding=old.encoding, errors=old.errors, closefd=False)
        setattr(sys, name, new)
        setattr(sys, f"__{name}__", new)


def _set_paths(request: dict[str, Any]) -> None:
    """Set the environment, the working folder and the module path."""
    added = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    installed = [path for path in sys.path if path not in added]
    os.environ.clear()
    os.environ.update(request["environment"])
    tempfile.tempdir = None  # the environment names another one
    os.chdir(request["folder"])
    first = str(Path.cwd()) if request["program"]["option"] == "-m" else ""
    sys.path[:] = [first, *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep)), *installed]
    sys.dont_write_bytecode = bool(os.environ.get("PYTHONDONTWRITEBYTECODE"))


if __name__ == "__main__":
    main()
