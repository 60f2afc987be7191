"""What a probe can be asked: one method a verb, records and arrays in and out."""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import resource
import socket
import sys
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_trt.core import codec
from pytest_trt.core.nvtx import span
from pytest_trt.engine.backends import cuda
from pytest_trt.engine.backends.base import BuildJob, Engine, backend
from pytest_trt.engine.inputs import generate_inputs
from pytest_trt.errors import BackendError, ProbeError, TrtError
from pytest_trt.measure.probe import wire
from pytest_trt.measure.probe.shared_arrays import Crossing
from pytest_trt.pipeline.open import open_runner
from pytest_trt.pipeline.runner import Request, Runner
from pytest_trt.spec.declaration import PipelineOptions
from pytest_trt.spec.engine_spec import EngineSpec

if TYPE_CHECKING:
    from pytest_trt.engine.tensors import Arrays

STACK_BYTES = 96 * 2**20
"""Linux keeps 128 MiB below the stack free of other memory, whatever the limit was at the start."""

_DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

Reply = tuple[dict[str, Any], "Arrays | None"]


def serve(connection: socket.socket) -> None:
    """Answer verbs until the other end closes. An error is an answer too; only a crash ends a probe early."""
    crossing = Crossing(connection)
    probe = Probe(crossing)
    try:
        while True:
            try:
                request, arrays, _number = crossing.receive()
            except wire.Closed:
                return
            try:
                reply, outputs = probe.answer(request, arrays)
            except Exception as error:  # noqa: BLE001 - travels to the parent, which raises it again
                reply, outputs = _failure(error), None
            crossing.send(reply, outputs)
    except wire.Closed:
        return
    finally:
        probe.close()
        crossing.close()


def _failure(error: Exception) -> dict[str, Any]:
    kind, message = type(error).__name__, str(error)
    if isinstance(error, MemoryError):
        kind, message = "ProbeError", f"host memory does not suffice: {message or 'MemoryError'}"
    elif isinstance(error, OSError) and error.errno in _DISK_FULL:
        remedy = "make space, or name another cache with --trt-cache-dir"
        kind, message = "CacheError", f"{error.filename2 or error.filename}: {error.strerror}: {remedy}"
    elif not isinstance(error, TrtError):
        traceback.print_exc()
        sys.stderr.flush()
        kind, message = "ProbeError", f"{kind}: {message}"
    return {"error": {"type": kind, "message": message}}


class Probe:
    """One engine, alone in its process."""

    def __init__(self, crossing: Crossing) -> None:
        self._crossing = crossing
        self._engine: Engine | None = None
        self._runner: Runner | None = None
        self._options = PipelineOptions()
        self._inputs: Arrays = {}
        self._verbs: dict[str, Callable[..., Reply]] = {
            "environment": self.environment,
            "build": self.build,
            "activate": self.activate,
            "load": self.load,
            "open": self.open,
            "draw": self.draw,
            "current_inputs": self.current_inputs,
            "fill": self.fill,
            "block": self.block,
            "throughput": self.throughput,
            "profile": self.profile,
            "memory": self.memory,
            "infer": self.infer,
            "stream": self.stream,
        }

    def answer(self, request: dict[str, Any], arrays: Arrays) -> Reply:
        verb = str(request.pop("verb"))
        if arrays or verb in ("fill", "infer"):  # a model may take no inputs
            request["inputs"] = arrays
        with span(verb):
            return self._verbs[verb](**request)

    def environment(self, name: str, device: str) -> Reply:
        return codec.encode(backend(name).environment(device)), None

    def build(self, job: dict[str, Any]) -> Reply:
        """Build, sending what goes on as messages of their own before the report."""
        work = codec.decode(BuildJob, job)
        deepen_stack()
        report = backend(work.backend).build(work, self._progress)
        return codec.encode(report), None

    def _progress(self, text: str, share: float) -> None:
        self._crossing.send({"progress": [text, share]})

    def activate(self, name: str, device: str) -> Reply:
        """Make the device ready, so that loading an engine is timed without it."""
        backend(name).activate(device)
        return {}, None

    def load(self, name: str, device: str, plan: str, spec: dict[str, Any]) -> Reply:
        """Load the plan: what it takes and gives, and how long reading and deserialising took."""
        chosen = backend(name)
        started = time.perf_counter()
        self._engine = chosen.load(Path(plan), device, codec.decode(EngineSpec, spec))
        return _opened(self._engine, started), None

    def open(self, shapes: dict[str, list[int]], options: dict[str, Any]) -> Reply:
        """Make the session of the engine that is loaded, at these shapes."""
        if self._engine is None:
            raise ProbeError("no engine is loaded in this probe: ask it to load one first")
        started = time.perf_counter()
        given = {key: tuple(shape) for key, shape in shapes.items()}
        self._options = codec.decode(PipelineOptions, options)
        self._runner = open_runner(self._engine, given, self._options)
        return _opened(self._runner, started), None

    def draw(self, seed: int, ranges: dict[str, tuple[float, float]]) -> Reply:
        """Draw inputs from the seed and put them in place as `fill` does."""
        return self.fill(generate_inputs(self._ready().inputs, seed, ranges))

    def current_inputs(self) -> Reply:
        """The inputs that are in place."""
        return {}, self._inputs

    def fill(self, inputs: Arrays) -> Reply:
        """Put the inputs in place and infer once: `first_ms` is that first inference by the host's clock."""
        runner, inputs = self._ready(), self._crossing.own(inputs)
        started = time.perf_counter()
        runner.infer(inputs)
        first_ms = (time.perf_counter() - started) * 1000
        runner.set_inputs(inputs)
        self._inputs = inputs
        return {"first_ms": first_ms, "proof": dict(runner.proof)}, None

    def block(self, count: int) -> Reply:
        started = time.perf_counter()
        times = self._ready().block(count)
        return {"times": times, "seconds": time.perf_counter() - started}, None

    def throughput(self, seconds: float) -> Reply:
        return {"queries_per_s": self._ready().throughput(seconds)}, None

    def profile(self, runs: int) -> Reply:
        return codec.encode(self._ready().profile(runs)), None

    def memory(self) -> Reply:
        """Bytes by name: what the runner knows, and `host`, the process's peak resident set."""
        return {**self._ready().memory(), "host": peak_resident_bytes()}, None

    def infer(self, inputs: Arrays) -> Reply:
        """One inference, on the inputs where they lie, its outputs laid where they are sent from."""
        self._share()
        return {}, self._ready().infer(inputs, functools.partial(self._crossing.place, 0))

    def stream(self) -> Reply:
        """Run the batches that follow, each a message, until one says `end`; outputs go as they are ready, under the
        number of its batch.

        An error is said at once, and what was sent already is let pass.
        """
        ended, numbers = False, deque[int]()

        def requests() -> Iterator[Request]:
            nonlocal ended
            while True:
                message, arrays, number = self._crossing.receive()
                if "end" in message:
                    ended = True
                    return
                numbers.append(number)
                yield arrays, functools.partial(self._crossing.place, number)

        try:
            self._share()
            for outputs in self._ready().serve(requests()):
                self._crossing.send({}, outputs, numbers.popleft())
        except wire.Closed:
            raise
        except Exception as error:  # noqa: BLE001 - travels to the parent, which raises it again
            self._crossing.send(_failure(error))
        while not ended:
            with contextlib.suppress(BackendError):  # memory that cannot be page-locked: nobody reads it any more
                ended = "end" in self._crossing.receive()[0]
        return {"ended": True}, None

    def _share(self) -> None:
        """Page-lock what arrays cross in, where the device copies from there and back: not before it is used, since
        what a process has locked may tell in what is measured."""
        if self._engine is not None and self._engine.kind == "device" and self._options.pinned:
            self._crossing.page_lock(cuda.RegisteredMemory)

    def close(self) -> None:
        for part in (self._runner, self._engine):
            if part is not None:
                part.close()
        self._runner = self._engine = None

    def _ready(self) -> Runner:
        if self._runner is None:
            raise ProbeError("no engine is open in this probe: ask it to open one first")
        return self._runner


def _opened(part: Engine | Runner, started: float) -> dict[str, Any]:
    inputs, outputs = codec.encode(part.inputs), codec.encode(part.outputs)
    return {"inputs": inputs, "outputs": outputs, "seconds": time.perf_counter() - started}


def deepen_stack() -> None:
    """Let this process's stack grow to STACK_BYTES: TensorRT's builder goes down a network layer by layer, and 5000 of
    them end it at the 8 MiB that are usual."""
    soft, hard = resource.getrlimit(resource.RLIMIT_STACK)
    most = STACK_BYTES if hard == resource.RLIM_INFINITY else min(STACK_BYTES, hard)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_STACK, (most, hard))


def peak_resident_bytes() -> int:
    """This process's largest resident set so far (VmHWM, proc(5))."""
    status: Mapping[str, str] = dict(
        line.split(":", 1) for line in Path(f"/proc/{os.getpid()}/status").read_text().splitlines() if ":" in line
    )
    return int(status["VmHWM"].split()[0]) * 1024
