"""The parent's end of one probe: its verbs, its time-outs and its crashes.

A probe that crashes, hangs or is lost is a ProbeError with what it last said; the run goes on.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from pytest_trt import errors
from pytest_trt.measure.probe import wire
from pytest_trt.measure.probe.shared_arrays import Crossing

if TYPE_CHECKING:
    from pytest_trt.engine.tensors import Arrays

LAST_WORDS = 20
"""How many lines of a lost probe's log its error carries."""


class Reap(Protocol):
    """Waits for a probe's process, or kills it, and returns its wait status (os.wait)."""

    def __call__(self, pid: int, *, kill: bool) -> int: ...


class Probe:
    """A fresh process that holds one engine. `call` asks it a verb (probe/verbs.py)."""

    def __init__(self, reap: Reap, connection: socket.socket, pid: int, log: Path) -> None:
        self._reap, self.pid, self.log = reap, pid, log
        self._connection, self._crossing = connection, Crossing(connection)
        self._open = True
        self._streaming = False

    def call(
        self,
        verb: str,
        inputs: Arrays | None = None,
        *,
        timeout_s: float,
        progress: Callable[[str, float], None] | None = None,
        **arguments: Any,
    ) -> tuple[dict[str, Any], Arrays]:
        """The reply to a verb, and its arrays. `progress` is told what the probe is doing and the share that is done
        (see backends.base.Progress), and is called every second even when nothing is new.

        Raises what the probe raised; ProbeError where it crashed, was killed, or did not answer in time: then it is
        gone.
        """
        self._check_free(verb)
        deadline = time.monotonic() + timeout_s
        doing: tuple[str, float] = ("", -1.0)
        with self._watched(verb, timeout_s):
            self._crossing.send({"verb": verb, **arguments}, inputs)
            while True:
                self._wait(deadline, progress, doing)
                reply, arrays, _number = self._crossing.receive()
                if "progress" not in reply:
                    break
                doing = (str(reply["progress"][0]), float(reply["progress"][1]))
                if progress is not None:
                    progress(*doing)
        raise_error(reply)
        return reply, self._crossing.own(arrays)

    def stream(self, batches: Iterable[Arrays], *, window: int, timeout_s: float) -> Iterator[Arrays]:
        """The outputs of the batches, in order, with `window` batches on their way at most: no fewer than the probe's
        pipeline holds. Raises as `call` does; what `batches` raises comes after the outputs before it, and the probe
        lives on."""
        self._check_free("stream")
        waiting, pending, ended, failure = enumerate(batches), 0, False, None
        with self._watched("stream", timeout_s):
            self._crossing.send({"verb": "stream"})
        self._streaming = True
        try:
            while failure is None:
                try:
                    number, batch = next(waiting)
                except StopIteration:
                    break
                except Exception as error:  # noqa: BLE001 - raised below, at its turn
                    failure = error
                    break
                self._check_open("stream")
                with self._watched("stream", timeout_s):
                    self._crossing.send({}, batch, number % window)
                pending += 1
                if pending == window:
                    yield self._output(timeout_s)
                    pending -= 1
            ended = True
            with self._watched("stream", timeout_s):
                self._crossing.send({"end": True})
            for _ in range(pending):
                yield self._output(timeout_s)
            if failure is not None:
                raise failure
        finally:
            self._streaming = False
            if self._open:
                with self._watched("stream", timeout_s):
                    if not ended:
                        self._crossing.send({"end": True})
                    while "ended" not in self._crossing.receive()[0]:
                        pass

    def _check_open(self, verb: str) -> None:
        if not self._open:
            raise errors.ProbeError(f"{verb!r} was asked of a probe that has ended: what it held is gone")

    def _check_free(self, verb: str) -> None:
        """In the middle of a stream every answer belongs to it."""
        self._check_open(verb)
        if self._streaming:
            message = f"{verb!r} was asked in the middle of a stream: exhaust the stream, or close it, first"
            raise errors.ProbeError(message)

    def _output(self, timeout_s: float) -> Arrays:
        self._check_open("stream")
        with self._watched("stream", timeout_s):
            reply, outputs, _number = self._crossing.receive()
        raise_error(reply)
        return self._crossing.own(outputs)

    @contextlib.contextmanager
    def _watched(self, verb: str, timeout_s: float) -> Iterator[None]:
        """Turn a probe that is lost into a ProbeError. One that is left in the middle, by Ctrl-C or by a plugin's
        time-out, is killed: its answer would be taken for the next one."""
        self._connection.settimeout(timeout_s)
        try:
            yield
        except TimeoutError as error:
            self.close(kill=True)
            message = f"the probe did not answer {verb!r} within {timeout_s:g} s and was killed"
            raise errors.ProbeError(message + last_words(self.log)) from error
        except wire.Closed as error:
            raise errors.ProbeError(f"the probe {self._how_it_ended()} in {verb!r}{last_words(self.log)}") from error
        except MemoryError:  # there was none for what would have been sent
            raise
        except BaseException:
            self.close(kill=True)
            raise

    def _wait(self, deadline: float, progress: Callable[[str, float], None] | None, doing: tuple[str, float]) -> None:
        """Until the probe says something. Raises TimeoutError at the deadline."""
        while (left := deadline - time.monotonic()) > 0:
            if select.select([self._connection], [], [], min(left, 1.0))[0]:
                return
            if progress is not None:
                progress(*doing)
        raise TimeoutError

    def _how_it_ended(self) -> str:
        self._open = False
        self._crossing.close()
        status = self._reap(self.pid, kill=False)
        if os.WIFSIGNALED(status):
            number = os.WTERMSIG(status)
            hint = " (was host memory used up?)" if number == signal.SIGKILL else ""
            return f"was ended by {signal.Signals(number).name}{hint}"
        return f"exited with status {os.WEXITSTATUS(status)}"

    def is_running(self) -> bool:
        """Whether its process is there, and nobody has stopped it."""
        try:
            state = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return False
        return state not in "TtZX"

    def disconnect(self) -> None:
        """Let the probe go, without waiting for its end: it frees what it holds and exits. `close` waits."""
        self._crossing.close()

    def close(self, *, kill: bool = False) -> None:
        """End the probe: it frees what it holds and exits, or is killed."""
        if self._open:
            self._open = False
            self.disconnect()
            with contextlib.suppress(errors.ProbeError):  # a server that is lost took its probes with it
                self._reap(self.pid, kill=kill)

    def __enter__(self) -> Probe:
        return self

    def __exit__(self, kind: object, *_exception: object) -> None:
        self.close(kill=kind is not None)


def last_words(log: Path) -> str:
    """The end of a log, as the end of an error message."""
    try:
        lines = log.read_text(errors="replace").strip().splitlines()
    except OSError:
        lines = []
    if not lines:
        return "; it said nothing"
    shown = "\n".join(f"  {line[:300]}" for line in lines[-LAST_WORDS:])
    return f"; its last words:\n{shown}"


def raise_error(reply: Mapping[str, Any]) -> None:
    if "error" in reply:
        kind = getattr(errors, str(reply["error"]["type"]), errors.ProbeError)
        raise kind(reply["error"]["message"])
