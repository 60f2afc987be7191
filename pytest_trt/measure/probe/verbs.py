"""The verbs of a probe: one method for each, with JSON values and arrays in and out."""

from __future__ import annotations

import contextlib
import errno
import functools
import socket
import sys
import tempfile
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_trt.core import codec
from pytest_trt.core.foreign_text import escape
from pytest_trt.core.nvtx import span
from pytest_trt.engine.backends import cuda
from pytest_trt.engine.backends.base import BuildJob, Engine, backend
from pytest_trt.engine.convert.conversion import ConversionJob
from pytest_trt.engine.inputs import generate_inputs
from pytest_trt.errors import BackendError, ProbeError, TrtError
from pytest_trt.measure.probe import process_limits, wire
from pytest_trt.measure.probe.device_arrays import ImportedArrays
from pytest_trt.measure.probe.generations import GenerationJob, Generations, run_generation
from pytest_trt.measure.probe.shared_arrays import ArrayChannel
from pytest_trt.pipeline.open import open_runner
from pytest_trt.pipeline.runner import Request, Runner
from pytest_trt.spec.declaration import PipelineOptions
from pytest_trt.spec.engine_spec import EngineSpec, Precision

if TYPE_CHECKING:
    from pytest_trt.engine.tensors import Arrays

_DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

Reply = tuple[dict[str, Any], "Arrays | None"]
"""A reply's JSON object, and the arrays that go with it, if any."""


def serve(connection: socket.socket) -> None:
    """Answer calls until the other end closes the connection. An error is a reply too: only a crash ends a probe."""
    channel = ArrayChannel(connection)
    probe = Probe(channel)
    try:
        while True:
            try:
                request, arrays, number = channel.receive()
            except wire.Closed:
                return
            try:
                reply, outputs = probe.answer(request, arrays, number)
            except Exception as error:  # noqa: BLE001 - sent to the parent, which raises it again
                reply, outputs = _error_reply(error), None
            channel.send(reply, outputs, number)
    except wire.Closed:
        return
    finally:
        probe.close()
        channel.close()


def _error_reply(error: Exception) -> dict[str, Any]:
    """Return an error as a reply that `client.raise_error` raises again."""
    kind, message = type(error).__name__, str(error)
    if isinstance(error, MemoryError):
        kind, message = "ProbeError", f"not enough host memory: {message or 'MemoryError'}"
    elif isinstance(error, OSError) and error.errno in _DISK_FULL:
        remedy = "make space, or name another cache with --trt-cache-dir"
        kind, message = "CacheError", f"{error.filename2 or error.filename}: {error.strerror}: {remedy}"
    elif not isinstance(error, TrtError):
        traceback.print_exc()
        sys.stderr.flush()
        kind, message = "ProbeError", escape(f"{kind}: {message.strip()}")
    return {"error": {"type": kind, "message": message}}


class Probe:
    """The one engine of this process. Its public methods are the verbs, and `answer` calls them by name.

    A verb's arguments and the object that it returns are JSON values; `codec` encodes the records among them.
    """

    def __init__(self, channel: ArrayChannel) -> None:
        self._channel = channel
        self._number = 0
        self._imported = ImportedArrays()
        self._engine: Engine | None = None
        self._runner: Runner | None = None
        self._options = PipelineOptions()
        self._spec = EngineSpec()
        self._generations = Generations()
        self._inputs: Arrays = {}
        self._verbs: dict[str, Callable[..., Reply]] = {
            "environments": self.environments,
            "convert": self.convert,
            "inspect": self.inspect,
            "check": self.check,
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
            "generate": self.generate,
            "infer": self.infer,
            "stream": self.stream,
        }

    def answer(self, request: dict[str, Any], arrays: Arrays, number: int = 0) -> Reply:
        """Call the verb that a request names, with the request's other entries as its arguments.

        Args:
            request: The request.
            arrays: The arrays that came with it.
            number: The number of the exchange.
        """
        verb, self._number = str(request.pop("verb")), number
        arrays = {**arrays, **self._imported.decode(request.pop("on_gpu", {}))}
        if arrays or verb in ("fill", "infer"):  # a model may take no inputs
            request["inputs"] = arrays
        with span(verb):
            return self._verbs[verb](**request)

    def environments(self, name: str) -> Reply:
        """Return the environment records of this backend on each device that this process sees: `found`."""
        chosen = backend(name)
        found = tuple(chosen.environment(str(number)) for number in range(chosen.device_count()))
        return {"found": codec.encode(found)}, None

    def convert(self, job: dict[str, Any], memory_bytes: int) -> Reply:
        """Convert a model with at most so many more bytes of memory, and return the conversion."""
        from pytest_trt.engine.convert.run import run_conversion  # no other verb needs it

        process_limits.raise_stack_limit()
        process_limits.limit_memory(memory_bytes)
        decoded = codec.decode(ConversionJob, job)
        tempfile.tempdir = str(Path(decoded.output).parent)  # for converters: the cache removes what is left of it
        return codec.encode(run_conversion(decoded)), None

    def inspect(self, model: str, named: str, precision: Precision, memory_bytes: int) -> Reply:
        """Return what a model contains (`inspection.inspect_model`), with at most so many more bytes of memory."""
        from pytest_trt.engine.inspection import inspect_model  # no other verb needs it

        process_limits.raise_stack_limit()
        process_limits.limit_memory(memory_bytes)
        return codec.encode(inspect_model(Path(model), named, precision)), None

    def check(self, name: str, model: str, spec: dict[str, Any]) -> Reply:
        """Raise an error if the backend does not take a model (`Backend.check`)."""
        process_limits.raise_stack_limit()
        backend(name).check(Path(model), codec.decode(EngineSpec, spec))
        return {}, None

    def build(self, job: dict[str, Any]) -> Reply:
        """Build an engine and return the report, after messages with the build's progress."""
        decoded = codec.decode(BuildJob, job)
        process_limits.raise_stack_limit()
        report = backend(decoded.backend).build(decoded, self._progress)
        return codec.encode(report), None

    def _progress(self, text: str, share: float) -> None:
        self._channel.send({"progress": [text, share]})

    def activate(self, name: str, device: str) -> Reply:
        """Make the device ready, so that loading an engine is timed without it."""
        backend(name).activate(device)
        return {}, None

    def load(self, name: str, device: str, plan: str, spec: dict[str, Any]) -> Reply:
        """Load a plan.

        Returns:
            `inputs` and `outputs`, the tensors of the plan, and `seconds`, how long reading and deserialising took.
        """
        chosen, self._spec = backend(name), codec.decode(EngineSpec, spec)
        started = time.perf_counter()
        self._engine = chosen.load(Path(plan), device, self._spec)
        return _opened(self._engine, started), None

    def open(self, shapes: dict[str, list[int]], options: dict[str, Any], delay_ms: float = 0.0) -> Reply:
        """Open the runner of the loaded engine at these shapes, with a known slowdown (see `open_runner`).

        Returns:
            `inputs` and `outputs`, the tensors with concrete shapes, and `seconds`, how long opening took.
        """
        if self._engine is None:
            raise ProbeError("no engine is loaded in this probe: call 'load' first")
        started = time.perf_counter()
        concrete = {name: tuple(shape) for name, shape in shapes.items()}
        self._options = codec.decode(PipelineOptions, options)
        self._runner = open_runner(self._engine, concrete, self._options, delay_ms, self._spec.state)
        return _opened(self._runner, started), None

    def draw(self, seed: int, ranges: dict[str, tuple[float, float]]) -> Reply:
        """Generate inputs from the seed, and set them as `fill` does."""
        return self.fill(generate_inputs(self._ready().inputs, seed, ranges))

    def current_inputs(self) -> Reply:
        """Return the inputs that blocks run on."""
        return {}, self._inputs

    def fill(self, inputs: Arrays) -> Reply:
        """Set the inputs that blocks run on, and run the first inference on them.

        Returns:
            `first_ms`, how long that inference took by the host's clock, and `proof` (`Runner.proof`).
        """
        runner, inputs = self._ready(), self._channel.copy(inputs)
        started = time.perf_counter()
        runner.infer(inputs)
        first_ms = (time.perf_counter() - started) * 1000
        runner.set_inputs(inputs)
        self._inputs = inputs
        return {"first_ms": first_ms, "proof": dict(runner.proof)}, None

    def block(self, count: int) -> Reply:
        """Measure a block of so many samples: `times` in ms by figure, and `seconds` for the whole block."""
        started = time.perf_counter()
        times = self._ready().block(count)
        return {"times": times, "seconds": time.perf_counter() - started}, None

    def throughput(self, seconds: float) -> Reply:
        """Measure the overlapped pipeline for about that long: `queries_per_s`."""
        return {"queries_per_s": self._ready().throughput(seconds)}, None

    def profile(self, runs: int) -> Reply:
        """Return the layer profile of so many inferences."""
        return codec.encode(self._ready().profile(runs)), None

    def memory(self) -> Reply:
        """Return bytes by name: those of `Runner.memory`, and `host`, the process's peak resident set before that."""
        host = process_limits.peak_resident_bytes()  # `Runner.memory` may load the plan a second time.
        return {**self._ready().memory(), "host": host}, None

    def generate(
        self, inputs: Arrays, job: dict[str, Any], name: str, device: str, *, keep_logits: bool = False
    ) -> Reply:
        """Generate tokens: `ttft_ms`, `step_ms` and `state_bytes`, and the arrays `tokens` and, if kept, `logits`."""
        if self._engine is None:
            raise ProbeError("no engine is loaded in this probe: call 'load' first")
        steps = functools.partial(self._generations.open, self._engine, self._spec.state, self._options)
        decoded = codec.decode(GenerationJob, job)
        found = run_generation(steps(backend(name), device, decoded), decoded, inputs, keep_logits=keep_logits)
        arrays = {"tokens": found.tokens} if found.logits is None else {"tokens": found.tokens, "logits": found.logits}
        return {"ttft_ms": found.ttft_ms, "step_ms": found.step_ms, "state_bytes": found.state_bytes}, arrays

    def infer(self, inputs: Arrays) -> Reply:
        """Run one inference. Its inputs are read, and its outputs are written, in shared memory."""
        self._page_lock_regions()
        return {}, self._ready().infer(inputs, functools.partial(self._channel.allocate, self._number))

    def stream(self) -> Reply:
        """Run the batches of the messages that follow, until one has `end`.

        The outputs of each batch are sent as soon as they are ready, with the batch's number. An error is sent at once;
        the batches that follow it are then received and dropped.
        """
        ended, numbers = False, deque[int]()

        def requests() -> Iterator[Request]:
            nonlocal ended
            while True:
                message, arrays, number = self._channel.receive()
                if "end" in message:
                    ended = True
                    return
                numbers.append(number)
                arrays = {**arrays, **self._imported.decode(message.get("on_gpu", {}))}
                yield arrays, functools.partial(self._channel.allocate, number)

        try:
            self._page_lock_regions()
            for outputs in self._ready().serve(requests()):
                self._channel.send({}, outputs, numbers.popleft())
        except wire.Closed:
            raise
        except Exception as error:  # noqa: BLE001 - sent to the parent, which raises it again
            self._channel.send(_error_reply(error))
        while not ended:
            with contextlib.suppress(BackendError):  # memory cannot be page-locked: nothing will use it
                ended = "end" in self._channel.receive()[0]
        return {"ended": True}, None

    def _page_lock_regions(self) -> None:
        """Page-lock the shared memory of arrays if the device copies from and to it.

        Not before the first inference or stream, since page-locked memory may change what is measured.
        """
        if self._engine is not None and self._engine.kind == "device" and self._options.pinned:
            self._channel.page_lock(cuda.RegisteredMemory)

    def close(self) -> None:
        """Free the runner and the engine."""
        self._generations.close()
        for part in (self._runner, self._engine, self._imported):
            if part is not None:
                part.close()
        self._runner = self._engine = None

    def _ready(self) -> Runner:
        if self._runner is None:
            raise ProbeError("no engine is open in this probe: call 'open' first")
        return self._runner


def _opened(part: Engine | Runner, started: float) -> dict[str, Any]:
    inputs, outputs = codec.encode(part.inputs), codec.encode(part.outputs)
    return {"inputs": inputs, "outputs": outputs, "seconds": time.perf_counter() - started}
