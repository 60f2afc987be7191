"""Start Python on a host with the host's command, and the agent in it."""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import select
import signal
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from pytest_trt.core.scratch import ScratchFolder
from pytest_trt.errors import HostError
from pytest_trt.spec.hosts import HostAddress
from pytest_trt.trial.hosts import bootstrap, bundle
from pytest_trt.trial.hosts.host import Say
from pytest_trt.trial.hosts.link import Link

MIN_PYTHON = (3, 10)

_ANSWER_TIMEOUT_S = 120.0
"""How long each further step may take, in seconds."""

_CODE = "import sys;exec(sys.stdin.readline())"
"""The program that the command runs. It must run on every Python, so that an old one can be named."""

_FIRST_LINE = """
import os, sys
if os.isatty(0):
    import tty
    tty.setraw(0)
reads, writes = os.dup(0), os.dup(1)
nothing = os.open(os.devnull, os.O_RDWR)
os.dup2(nothing, 0)
os.dup2(nothing if os.isatty(2) else 2, 1)
if os.isatty(2):
    os.dup2(nothing, 2)
os.write(writes, ("NONCE %d.%d\\n" % sys.version_info[:2]).encode())
size, source = int(os.read(reads, 8)), b""
while len(source) < size:
    part = os.read(reads, size - len(source))
    if not part:
        sys.exit(0)
    source += part
names = {"__name__": "pytest_trt_bootstrap"}
exec(compile(source, "bootstrap.py", "exec"), names)
names["start"](reads, writes)
"""
"""What that program runs first: it keeps the streams for the link alone, says which Python it is, and goes on with the
text of `bootstrap.py`. A terminal would change the bytes, so it is made to leave them as they are."""

_CLOSE_TIMEOUT_S = 8.0
"""How long the command may take to end before it is killed, in seconds."""

_MAX_BANNER_BYTES = 16 * 2**20
"""How much the command may write until Python has started: it is no login script that writes more."""

_LAST_LINES = 5
"""How many lines of what the command wrote an error shows."""


class Connection:
    """A command that runs the agent on a host, and the link to it. Close it.

    Args:
        address: The host.
        request: What the agent receives when it starts, as JSON values.
        say: Shows that the host is waited for.

    Attributes:
        link: The link.

    Raises:
        HostError: The host cannot be reached, or cannot run the agent. The message is one line and names the host.
    """

    def __init__(self, address: HostAddress, request: Mapping[str, Any], say: Say) -> None:
        self._address = address
        self._folder = ScratchFolder("host")
        self._errors = self._folder.path / "errors.log"
        self._process: subprocess.Popen[bytes] | None = None
        try:
            self._start(request, say)
        except BaseException:
            self.close()
            raise

    def _start(self, request: Mapping[str, Any], say: Say) -> None:
        command = self._address.with_arguments("-c", _CODE)
        try:
            with self._errors.open("wb") as errors:
                self._process = subprocess.Popen(
                    command,
                    bufsize=0,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=errors,
                    start_new_session=True,
                )
        except OSError as error:
            raise self._fault(f"{command[0]} cannot be started ({error.strerror or error})") from error
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._in, self._out = self._process.stdin, self._process.stdout
        nonce = f"pytest-trt-{secrets.token_hex(8)}"
        source = Path(bootstrap.__file__).read_bytes()
        self._write(f"exec({json.dumps(_FIRST_LINE.replace('NONCE', nonce))})\n".encode())
        version = self._read_until(nonce, say)
        if tuple(map(int, version.split("."))) < MIN_PYTHON:
            raise self._fault(f"Python is {version} there, and 3.10 or newer is needed: name it in the host's address")
        self._write(f"{len(source):08d}".encode() + source)
        self._write(json.dumps({**request, "digest": bundle.digest(), "cache": self._address.cache}).encode() + b"\n")
        if self._answer() == "need":
            say(f"{self._address.name}: sending pytest-trt")
            data = bundle.archive()
            self._write(f"{len(data)}\n".encode() + data)
            self._answer()
        self._answer()
        say("")
        self.link = Link(self._out.fileno(), self._in.fileno())
        self.link.keep_alive()

    def _read_until(self, nonce: str, say: Say) -> str:
        """Skip what a login script or an interactive interpreter prints, and return the version of Python."""
        started, seen, received = time.monotonic(), b"", 0
        while not (found := re.search(rf"{nonce} (\d+\.\d+)\r?\n".encode(), seen)):
            waited = time.monotonic() - started
            if waited > self._address.start_s:
                raise self._fault(f"no Python has started within {self._address.start_s:g} s")
            if not select.select([self._out], [], [], 1.0)[0]:
                say(f"waiting for {self._address.name}, {waited:.0f} s")
                continue
            part = os.read(self._out.fileno(), 65536)
            if not part:
                raise self._ended(seen)
            seen, received = seen[-65536:] + part, received + len(part)
            if received > _MAX_BANNER_BYTES:
                raise self._fault(f"the command wrote {received / 1e6:.0f} MB, and no Python has started")
        return found[1].decode()

    def _answer(self) -> str:
        """Return the next line of the bootstrap; raise HostError if it reports an error."""
        line = bytearray()
        while not line.endswith(b"\n"):
            if not select.select([self._out], [], [], _ANSWER_TIMEOUT_S)[0]:
                raise self._fault(f"it did not answer within {_ANSWER_TIMEOUT_S:g} s")
            part = os.read(self._out.fileno(), 1)
            if not part:
                raise self._ended()
            line += part
        text = line.decode(errors="replace").strip()
        if text.startswith("error "):
            raise self._fault(text.removeprefix("error "))
        return text

    def _write(self, data: bytes) -> None:
        view = memoryview(data)
        try:
            while view:
                view = view[os.write(self._in.fileno(), view) :]
        except OSError as error:
            raise self._ended() from error

    def _ended(self, output: bytes = b"") -> HostError:
        """Return an error for a command that has ended, with what it wrote."""
        assert self._process is not None
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(5.0)
        if select.select([self._out], [], [], 0)[0]:
            output += os.read(self._out.fileno(), 65536)
        status = self._process.poll()
        how = "closed its output" if status is None else f"ended with status {status}"
        words = self.last_words(output.decode(errors="replace"))
        return self._fault(f"the command {how} before Python had started{words}")

    def last_words(self, output: str = "") -> str:
        """Return the last lines that the command wrote, as the end of a message on one line."""
        with contextlib.suppress(OSError):
            output += "\n" + self._errors.read_text(errors="replace")
        lines = [line.strip() for line in output.splitlines() if line.strip()]
        return f": {'; '.join(lines[-_LAST_LINES:])}" if lines else ""

    def _fault(self, text: str) -> HostError:
        return HostError(f"host {self._address.name}: {text}")

    def hang_up(self) -> None:
        """Let the agent end, without waiting: it ends when its standard input closes."""
        if hasattr(self, "link"):
            self.link.close()
        if self._process is not None:
            _close(self._process.stdin)

    def end(self) -> None:
        """End the command, and wait until it has ended."""
        self.hang_up()
        if self._process is None:
            return
        try:
            self._process.wait(_CLOSE_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def close(self) -> None:
        """Release what is left once nobody reads from the link any more."""
        self.end()
        if self._process is not None:
            _close(self._process.stdout)
            self._process = None
        self._folder.close()


def _close(stream: IO[bytes] | None) -> None:
    if stream is not None:
        with contextlib.suppress(OSError):
            stream.close()
