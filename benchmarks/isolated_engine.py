"""Load and time a plan in child processes with different conditions, for placement.py.

A child is forked before this process creates a CUDA context. It therefore differs from a probe only in what the
experiment changes.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import select
import signal
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from pytest_trt.engine.backends import cuda
from pytest_trt.engine.backends.base import backend
from pytest_trt.engine.inputs import generate_inputs
from pytest_trt.measure.engine_probe import Subject
from pytest_trt.measure.probe.__main__ import die_with_parent
from pytest_trt.measure.stopping import Steady
from pytest_trt.pipeline.open import open_runner
from pytest_trt.pipeline.runner import Runner

BLOCKS = 8
BLOCK_MS = 10.0
MOST_WARM_UP = 60
MIB = 2**20


def child(work: Callable[[], Any], environment: Mapping[str, str] | None = None, timeout_s: float = 60.0) -> Any:
    """Return the result of `work` from a child process, passed as JSON.

    Args:
        work: The function that the child calls.
        environment: Environment variables that the child sets first.
        timeout_s: The time after which the child is killed.

    Raises:
        RuntimeError: `work` raised an error, or the child died or did not answer in time.
    """
    parent = os.getpid()
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reading)
        _answer(work, writing, parent, environment or {})
    os.close(writing)
    reply, deadline = b"", time.monotonic() + timeout_s
    try:
        while select.select([reading], [], [], max(deadline - time.monotonic(), 0.0))[0]:
            if not (part := os.read(reading, 65536)):
                break
            reply += part
        else:
            raise RuntimeError(f"the process did not answer within {timeout_s:g} s")
    finally:
        os.close(reading)
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)  # It has answered, or never will.
        status = os.waitpid(pid, 0)[1]
    answer = json.loads(reply) if reply else {"error": f"the process ended without an answer (wait status {status})"}
    if "error" in answer:
        raise RuntimeError(answer["error"])
    return answer["value"]


def _answer(work: Callable[[], Any], descriptor: int, parent: int, environment: Mapping[str, str]) -> None:
    """Call `work` in the child, write its result or error to the descriptor, and exit."""
    try:
        die_with_parent(parent)
        os.environ.update(environment)
        answer = {"value": work()}
    except BaseException as error:  # noqa: BLE001 - the parent raises it
        answer = {"error": f"{type(error).__name__}: {error}"}
    with os.fdopen(descriptor, "w") as file:
        json.dump(answer, file)
    os._exit(0)


@contextlib.contextmanager
def bystander(device: str, nbytes: int) -> Iterator[None]:
    """Keep an idle process with a CUDA context and `nbytes` of device memory during the `with` block."""
    parent = os.getpid()
    ready, waiting = os.pipe(), os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            die_with_parent(parent)
            buffer = allocate(device, nbytes)
            os.write(ready[1], b"y")
            os.close(waiting[1])
            os.read(waiting[0], 1)
            del buffer
        finally:
            os._exit(0)
    try:
        os.close(ready[1])
        if os.read(ready[0], 1) != b"y":
            raise RuntimeError(f"the other process could not allocate {nbytes / MIB:.0f} MiB")
        yield
    finally:
        for descriptor in (ready[0], *waiting):
            os.close(descriptor)
        os.waitpid(pid, 0)


def allocate(device: str, nbytes: int) -> cuda.DeviceBuffer | None:
    """Create the CUDA context of this process, and return a buffer that was written once; None for 0 bytes."""
    cuda.device(device).activate()
    if not nbytes:
        return None
    buffer = cuda.DeviceBuffer(nbytes)
    with cuda.Stream() as stream:
        stream.fill(buffer.address, nbytes)
        stream.synchronize()
    return buffer


class Arena:
    """One block of device memory, allocated from its beginning, and again once all of it is free.

    It has the methods that `counting_allocator` calls on its tracker.
    """

    def __init__(self, nbytes: int, alignment: int = 256) -> None:
        self._buffer, self._alignment = cuda.DeviceBuffer(nbytes), alignment
        self._allocated: set[int] = set()
        self.used = 0

    @property
    def address(self) -> int:
        return self._buffer.address

    def allocate(self, nbytes: int) -> int:
        if nbytes == 0:
            return 0
        address = -(-(self.address + self.used) // self._alignment) * self._alignment
        if address + nbytes > self.address + self._buffer.nbytes:
            return 0
        self._allocated.add(address)
        self.used = address + nbytes - self.address
        return address

    def free(self, address: int) -> bool:
        self._allocated.discard(address)
        if not self._allocated:
            self.used = 0
        return True

    def copy_ms(self) -> float:
        """Return the time in ms to copy the used memory on the device.

        It reads the same memory without running any code of TensorRT.
        """
        nbytes, times = self.used, []
        with cuda.Stream() as stream, contextlib.closing(cuda.DeviceBuffer(nbytes)) as copy:
            start, end = cuda.Event(), cuda.Event()
            for _ in range(40):
                start.record(stream)
                stream.copy(copy.address, self.address, nbytes)
                end.record(stream)
                end.synchronize()
                times.append(end.ms_since(start))
        return statistics.median(times[10:])


@dataclasses.dataclass(frozen=True)
class IsolatedEngine:
    """A plan and how it is run. Each public method is work for a `child`, and returns latencies in ms.

    Attributes:
        backend: The name of the backend.
        subject: The engine as a probe opens it.
    """

    backend: str
    subject: Subject

    @contextlib.contextmanager
    def open(self, arena: Arena | None = None) -> Iterator[Runner]:
        """Load the engine and give it inputs; its memory comes from the arena, if there is one."""
        subject = self.subject
        if arena is None:
            engine: Any = backend(self.backend).load(subject.plan, subject.device, subject.spec)
        else:
            from pytest_trt.engine.backends.tensorrt import versions
            from pytest_trt.engine.backends.tensorrt.load import DeviceEngine
            from pytest_trt.engine.backends.tensorrt.memory import counting_allocator

            trt = versions.import_package(self.backend)
            allocator = counting_allocator(trt, arena)  # type: ignore[arg-type]
            engine = DeviceEngine(trt, subject.plan, cuda.device(subject.device), subject.spec, allocator=allocator)
        with contextlib.closing(engine):
            runner = open_runner(engine, subject.shapes, subject.options)
            with contextlib.closing(runner):
                inputs = generate_inputs(runner.inputs, subject.spec.seed, subject.spec.input_ranges)
                runner.infer(inputs)
                runner.set_inputs(inputs)
                yield runner

    def time_alone(self, before: int = 0, after: int = 0, freed: int = 0) -> float:
        """Time the engine in a process that also allocates memory.

        Args:
            before: The bytes that are allocated before the engine is loaded.
            after: The bytes that are allocated after the engine is loaded.
            freed: The bytes that are allocated and freed before the engine is loaded.
        """
        if freed and (buffer := allocate(self.subject.device, freed)):
            buffer.close()
        buffers = [allocate(self.subject.device, before) if before else None]
        with self.open() as runner:
            buffers.append(allocate(self.subject.device, after) if after else None)
            return time_alternately([runner])[0]

    def time_copies(self, count: int) -> list[float]:
        """Load the engine `count` times into one process and time the copies alternately, in the order of loading."""
        with contextlib.ExitStack() as stack:
            return time_alternately([stack.enter_context(self.open()) for _ in range(count)])

    def time_reloaded(self, count: int) -> list[float]:
        """Load, time and unload the engine `count` times; TensorRT's own allocator chooses the memory."""
        found = []
        for _ in range(count):
            with self.open() as runner:
                found += time_alternately([runner])
        return found

    def time_in_arenas(self, order: Sequence[int], nbytes: int) -> list[tuple[float, float]]:
        """Load, time and unload the engine in one arena after another, all of which are allocated first.

        Return the latency, and the time to copy the content of the arena, both in ms.
        """
        cuda.device(self.subject.device).activate()
        arenas = [Arena(nbytes) for _ in range(max(order) + 1)]
        found = []
        for number in order:
            with self.open(arenas[number]) as runner:
                found.append((time_alternately([runner])[0], arenas[number].copy_ms()))
        return found

    def time_in_arena(self, nbytes: int, alignment: int) -> float:
        """Time the engine in an arena that the process allocates before anything else."""
        cuda.device(self.subject.device).activate()
        with self.open(Arena(nbytes, alignment)) as runner:
            return time_alternately([runner])[0]

    def time_layers(self, before: int = 0) -> dict[str, float]:
        """Return the time of each layer in ms, with `before` bytes allocated before the engine is loaded."""
        buffer = allocate(self.subject.device, before) if before else None
        with self.open() as runner:
            time_alternately([runner])
            profile = runner.profile(50)
        del buffer
        return {layer.name: layer.ms or 0.0 for layer in profile.layers}


def time_alternately(runners: Sequence[Runner]) -> list[float]:
    """Return the median time in ms of the computation of each runner, or of the call on a host.

    All runners warm up until they are steady. Their blocks are then measured alternately.
    """
    counts, steadiness = [1] * len(runners), [Steady() for _ in runners]
    figure = "gpu_ms" if "gpu_ms" in runners[0].block(1) else "ms"
    for number, runner in enumerate(runners):
        sample_ms = statistics.median(runner.block(10)[figure])
        counts[number] = max(10, int(BLOCK_MS / sample_ms))

    def block(number: int) -> tuple[float, ...]:
        return runners[number].block(counts[number])[figure]

    for _ in range(MOST_WARM_UP):
        for number, steady in enumerate(steadiness):
            steady.add(block(number))
        if all(steady.is_steady() for steady in steadiness):
            break
    medians: list[list[float]] = [[] for _ in runners]
    for _ in range(BLOCKS):
        for number, block_medians in enumerate(medians):
            block_medians.append(statistics.median(block(number)))
    return [statistics.median(block_medians) for block_medians in medians]
