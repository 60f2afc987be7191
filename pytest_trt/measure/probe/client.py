"""The parent's end of the connection to one probe: calls, time-outs and crashes.

A probe that crashes, hangs or is lost raises a ProbeError with the end of its log. The test run continues.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from pytest_trt import errors
from pytest_trt.measure.probe import device_arrays, wire
from pytest_trt.measure.probe.input_ring import InputRing, InputSet, Slot
from pytest_trt.measure.probe.shared_arrays import ArrayChannel

if TYPE_CHECKING:
    from pytest_trt.engine.tensors import Arrays, Tensor

LOG_LINES = 20
"""How many lines of a lost probe's log are part of its error."""

MAX_LINE = 300
"""How many characters of such a line are."""

_FIRST_OF_RING = 1 << 16
"""The first number of the exchanges of `inputs`, above those of any stream."""


class Reap(Protocol):
    """Reaps a probe's process."""

    def __call__(self, pid: int, *, kill: bool) -> int:
        """Wait until the process ends, or kill it, and return its wait status (os.wait)."""
        ...


class Probe:
    """A fresh process for one engine. Use it as a context manager, or close it.

    Args:
        reap: Ends the process and returns its wait status.
        connection: The socket to the process.
        pid: Its process id.
        log: The file that its standard output and error go to.
    """

    def __init__(self, reap: Reap, connection: socket.socket, pid: int, log: Path) -> None:
        self._reap, self.pid, self.log = reap, pid, log
        self._connection, self._channel = connection, ArrayChannel(connection)
        self._open = True
        self._streaming = False
        self._rings: dict[int, InputRing] = {}
        self._slots: dict[int, Slot] = {}

    def call(
        self,
        verb: str,
        inputs: Arrays | None = None,
        *,
        timeout_s: float,
        progress: Callable[[str, float], None] | None = None,
        **arguments: Any,
    ) -> tuple[dict[str, Any], Arrays]:
        """Call a verb (see probe/verbs.py) and wait for the reply. Errors of the probe are raised here again.

        Args:
            verb: The verb's name.
            inputs: Arrays to send with it.
            timeout_s: How long to wait for the reply, in seconds.
            progress: Called with what the probe is doing and the share that is done (`backends.base.Progress`), and
                at least once a second with the last of these.
            arguments: The verb's arguments; they must be JSON values.

        Returns:
            The reply, and the arrays that came with it.

        Raises:
            ProbeError: The probe crashed, was killed or did not answer in time. It has ended then.
        """
        self._check_idle(verb)
        deadline = time.monotonic() + timeout_s
        last_progress: tuple[str, float] = ("", -1.0)
        with self._guard(verb, timeout_s):
            number = self._send({"verb": verb, **arguments}, inputs, 0)
            while True:
                self._wait(deadline, progress, last_progress)
                reply, arrays, _number = self._channel.receive()
                if "progress" not in reply:
                    break
                last_progress = (str(reply["progress"][0]), float(reply["progress"][1]))
                if progress is not None:
                    progress(*last_progress)
        if "error" in reply:
            self._abandon()
        raise_error(reply)
        return reply, self._take(arrays, number)

    def inputs(self, tensors: Sequence[Tensor], kept: int, *, window: int) -> InputRing:
        """Return sets of arrays in shared memory for these inputs; those of an earlier call if there was one.

        Args:
            tensors: The inputs.
            kept: How many outputs stay valid at a time.
            window: The most queries in flight.

        Raises:
            MemoryError: There is not enough shared memory.
            ProbeError: The probe has ended.
        """
        self._check_open("inputs")
        if kept not in self._rings:
            first = _FIRST_OF_RING + len(self._slots)
            numbers = range(first, first + kept + window)
            ring = InputRing([(number, self._channel.allocate(number, tensors)) for number in numbers], kept)
            self._rings[kept] = ring
            self._slots.update({slot.number: slot for slot in ring.slots})
        return self._rings[kept]

    def _send(self, message: Mapping[str, Any], inputs: Arrays | None, number: int) -> int:
        """Send a message with inputs, and return the number of the exchange: that of the set if they are one."""
        if not isinstance(inputs, InputSet):
            if inputs is not None:
                inputs, on_gpu = device_arrays.encode(inputs)
                message = {**message, "on_gpu": on_gpu} if on_gpu else message
            self._channel.send(message, inputs, number)
            return number
        slot = inputs.slot
        if self._slots.get(slot.number) is not slot:
            raise errors.InputError("these arrays belong to an engine that was closed: take trt_runner.inputs(n) again")
        slot.begin(inputs)
        self._channel.send(message, slot.shared, slot.number)
        return slot.number

    def _take(self, arrays: Arrays, number: int) -> Arrays:
        """Return received arrays: those of a set of `inputs` as views, and any others as copies."""
        slot = self._slots.get(number)
        return self._channel.copy(arrays) if slot is None else slot.end(arrays)

    def _abandon(self) -> None:
        for ring in self._rings.values():
            ring.abandon()

    def stream(self, batches: Iterable[Arrays], *, window: int, timeout_s: float) -> Iterator[Arrays]:
        """Send batches through the overlapped pipeline, and yield their outputs in order.

        Args:
            batches: The inputs of each query. If it raises, the outputs of the earlier batches are yielded first, then
                its error is raised; the probe stays open.
            window: The most batches in flight, no fewer than the probe's pipeline holds.
            timeout_s: How long to wait for each output, in seconds.

        Raises:
            ProbeError: As for `call`.
        """
        self._check_idle("stream")
        numbered, ended, failure = enumerate(batches), False, None
        pending: deque[Arrays] = deque()  # a probe reads device memory until the outputs arrive, so batches are kept
        with self._guard("stream", timeout_s):
            self._channel.send({"verb": "stream"})
        self._streaming = True
        try:
            while failure is None:
                try:
                    number, batch = next(numbered)
                except StopIteration:
                    break
                except Exception as error:  # noqa: BLE001 - raised below, after the outputs before it
                    failure = error
                    break
                self._check_open("stream")
                with self._guard("stream", timeout_s):
                    self._send({}, batch, number % window)
                pending.append({} if isinstance(batch, InputSet) else batch)
                if len(pending) == window:
                    outputs = self._output(timeout_s)
                    pending.popleft()
                    yield outputs
                    del outputs  # so that its memory may be used again as soon as the caller has dropped it
            ended = True
            with self._guard("stream", timeout_s):
                self._channel.send({"end": True})
            for _ in pending:
                yield self._output(timeout_s)
            if failure is not None:
                raise failure
        finally:
            self._streaming = False
            self._abandon()
            if self._open:
                with self._guard("stream", timeout_s):
                    if not ended:
                        self._channel.send({"end": True})
                    while "ended" not in self._channel.receive()[0]:
                        pass

    def _check_open(self, verb: str) -> None:
        if not self._open:
            raise errors.ProbeError(f"{verb!r} cannot run: the probe has ended, and its engine with it")

    def _check_idle(self, verb: str) -> None:
        """Raise ProbeError if the probe has ended, or if a stream is open: every message then belongs to the stream."""
        self._check_open(verb)
        if self._streaming:
            raise errors.ProbeError(f"{verb!r} cannot run while a stream is open: exhaust or close the stream first")

    def _output(self, timeout_s: float) -> Arrays:
        self._check_open("stream")
        with self._guard("stream", timeout_s):
            reply, outputs, number = self._channel.receive()
        raise_error(reply)
        return self._take(outputs, number)

    @contextlib.contextmanager
    def _guard(self, verb: str, timeout_s: float) -> Iterator[None]:
        """Raise a ProbeError if the probe is lost.

        If a call is interrupted, by Ctrl-C or by a plugin's time-out, its probe is killed: its late reply would be read
        as the reply to the next call.
        """
        self._connection.settimeout(timeout_s)
        try:
            yield
        except TimeoutError as error:
            self.close(kill=True)
            message = f"the probe did not answer {verb!r} within {timeout_s:g} s and was killed"
            raise errors.ProbeError(*with_log(message, self.log)) from error
        except wire.Closed as error:
            raise errors.ProbeError(*with_log(f"the probe {self._end()} in {verb!r}", self.log)) from error
        except (MemoryError, errors.InputError):  # for the message's arrays: nothing was sent, and the probe is in step
            raise
        except BaseException:
            self.close(kill=True)
            raise

    def _wait(
        self, deadline: float, progress: Callable[[str, float], None] | None, last_progress: tuple[str, float]
    ) -> None:
        """Wait for the probe's next message, and repeat the last progress every second.

        Raises:
            TimeoutError: There was none before the deadline.
        """
        while (left_s := deadline - time.monotonic()) > 0:
            if select.select([self._connection], [], [], min(left_s, 1.0))[0]:
                return
            if progress is not None:
                progress(*last_progress)
        raise TimeoutError

    def _end(self) -> str:
        """Give up a probe that has closed its connection, and return how its process ended."""
        self._open = False
        self._channel.close()
        status = self._reap(self.pid, kill=False)
        if os.WIFSIGNALED(status):
            number = os.WTERMSIG(status)
            hint = " (out of host memory?)" if number == signal.SIGKILL else ""
            return f"was killed by {signal.Signals(number).name}{hint}"
        return f"exited with status {os.WEXITSTATUS(status)}"

    @property
    def channel(self) -> ArrayChannel:
        """The connection, for whoever passes on messages instead of calling verbs."""
        return self._channel

    def is_running(self) -> bool:
        """Return whether the process exists and has not been stopped."""
        try:
            state = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return False
        return state not in "TtZX"

    def disconnect(self) -> None:
        """Let the probe free what it holds and exit, without waiting; `close` waits."""
        self._channel.close()

    def close(self, *, kill: bool = False) -> None:
        """End the probe, and wait until its process has ended.

        Args:
            kill: Whether to kill the process, rather than to let it free what it holds and exit.
        """
        if self._open:
            self._open = False
            self.disconnect()
            with contextlib.suppress(errors.ProbeError):  # if the server is lost, its probes have ended too
                self._reap(self.pid, kill=kill)

    def __enter__(self) -> Probe:
        return self

    def __exit__(self, kind: object, *_exception: object) -> None:
        self.close(kill=kind is not None)


def with_log(message: str, log: Path) -> list[str]:
    """Return the lines of an error: the message, and the last `LOG_LINES` lines of a log."""
    try:
        lines = log.read_text(errors="replace").strip().splitlines()
    except OSError:
        lines = []
    if not lines:
        return [f"{message}; its log is empty"]
    return [f"{message}; the end of its log:", *(f"  {line[:MAX_LINE]}" for line in lines[-LOG_LINES:])]


def raise_error(reply: Mapping[str, Any]) -> None:
    """Raise the error that a reply carries; do nothing if it carries none."""
    if "error" in reply:
        kind = getattr(errors, str(reply["error"]["type"]), errors.ProbeError)
        raise kind.from_text(reply["error"]["message"])
