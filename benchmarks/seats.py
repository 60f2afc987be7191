"""Where an engine can live: processes of many kinds that load one plan and time it, for placement.py.

A seat is a child of this process, forked before anything made a CUDA context, so that it differs from a probe in
nothing but what the experiment does to it.
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
    """What `work` returns in a process of its own, as JSON has it. Raises RuntimeError with what it raised there."""
    parent = os.getpid()
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reading)
        _answer(work, writing, parent, environment or {})
    os.close(writing)
    said, deadline = b"", time.monotonic() + timeout_s
    try:
        while select.select([reading], [], [], max(deadline - time.monotonic(), 0.0))[0]:
            if not (part := os.read(reading, 65536)):
                break
            said += part
        else:
            raise RuntimeError(f"the process did not answer within {timeout_s:g} s")
    finally:
        os.close(reading)
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)  # it has answered, or never will
        status = os.waitpid(pid, 0)[1]
    answer = json.loads(said) if said else {"error": f"the process said nothing (wait status {status})"}
    if "error" in answer:
        raise RuntimeError(answer["error"])
    return answer["value"]


def _answer(work: Callable[[], Any], descriptor: int, parent: int, environment: Mapping[str, str]) -> None:
    """In the child: say what came of it, and never return."""
    try:
        die_with_parent(parent)
        os.environ.update(environment)
        answer = {"value": work()}
    except BaseException as error:  # noqa: BLE001 - told to the parent, which raises it
        answer = {"error": f"{type(error).__name__}: {error}"}
    with os.fdopen(descriptor, "w") as file:
        json.dump(answer, file)
    os._exit(0)


@contextlib.contextmanager
def bystander(device: str, nbytes: int) -> Iterator[None]:
    """Another process with a CUDA context and so many bytes of memory, idle."""
    parent = os.getpid()
    ready, waiting = os.pipe(), os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            die_with_parent(parent)
            kept = occupied(device, nbytes)
            os.write(ready[1], b"y")
            os.close(waiting[1])
            os.read(waiting[0], 1)
            del kept
        finally:
            os._exit(0)
    try:
        os.close(ready[1])
        if os.read(ready[0], 1) != b"y":
            raise RuntimeError(f"no process could hold {nbytes / MIB:.0f} MiB")
        yield
    finally:
        for descriptor in (ready[0], *waiting):
            os.close(descriptor)
        os.waitpid(pid, 0)


def occupied(device: str, nbytes: int) -> cuda.DeviceBuffer | None:
    """Memory of this process's, written once; with 0 bytes no more than the CUDA context."""
    cuda.device(device).activate()
    if not nbytes:
        return None
    buffer = cuda.DeviceBuffer(nbytes)
    with cuda.Stream() as stream:
        stream.fill(buffer.address, nbytes)
        stream.synchronize()
    return buffer


class Arena:
    """Device memory in one piece, given out from its beginning; once nothing of it is in use, from there again. It has
    the verbs that `counting_allocator` calls on its tracker."""

    def __init__(self, nbytes: int, alignment: int = 256) -> None:
        self._buffer, self._alignment = cuda.DeviceBuffer(nbytes), alignment
        self._out: set[int] = set()
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
        self._out.add(address)
        self.used = address + nbytes - self.address
        return address

    def free(self, address: int) -> bool:
        self._out.discard(address)
        if not self._out:
            self.used = 0
        return True

    def copy_ms(self) -> float:
        """How long copying what is in use to elsewhere on the device takes: its memory is read, no code of TensorRT's
        runs."""
        nbytes, times = self.used, []
        with cuda.Stream() as stream, contextlib.closing(cuda.DeviceBuffer(nbytes)) as elsewhere:
            began, ended = cuda.Event(), cuda.Event()
            for _ in range(40):
                began.record(stream)
                stream.copy(elsewhere.address, self.address, nbytes)
                ended.record(stream)
                ended.synchronize()
                times.append(ended.ms_since(began))
        return statistics.median(times[10:])


@dataclasses.dataclass(frozen=True)
class Seat:
    """A plan and how it is run; each method is work for a `child`."""

    backend: str
    subject: Subject

    @contextlib.contextmanager
    def opened(self, arena: Arena | None = None) -> Iterator[Runner]:
        """The engine, loaded and filled, its memory from the arena where there is one."""
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

    def alone(self, before: int = 0, after: int = 0, freed: int = 0) -> float:
        """With so many bytes allocated before the engine is loaded, or after it, or before and freed again."""
        if freed and (buffer := occupied(self.subject.device, freed)):
            buffer.close()
        kept = [occupied(self.subject.device, before) if before else None]
        with self.opened() as runner:
            kept.append(occupied(self.subject.device, after) if after else None)
            return in_turn([runner])[0]

    def crowd(self, count: int) -> list[float]:
        """So many of the same engine in one process, taking turns; in the order of their loading."""
        with contextlib.ExitStack() as stack:
            return in_turn([stack.enter_context(self.opened()) for _ in range(count)])

    def reloaded(self, count: int) -> list[float]:
        """Loaded, timed and unloaded, again and again, where TensorRT's own allocator puts it."""
        found = []
        for _ in range(count):
            with self.opened() as runner:
                found += in_turn([runner])
        return found

    def in_arenas(self, order: Sequence[int], nbytes: int) -> list[tuple[float, float]]:
        """Loaded, timed and unloaded in one arena after another, all of them allocated beforehand: ms, and the ms that
        copying the arena's content takes."""
        cuda.device(self.subject.device).activate()
        arenas = [Arena(nbytes) for _ in range(max(order) + 1)]
        found = []
        for number in order:
            with self.opened(arenas[number]) as runner:
                found.append((in_turn([runner])[0], arenas[number].copy_ms()))
        return found

    def in_arena(self, nbytes: int, alignment: int) -> float:
        """In an arena that is the first thing the process allocates."""
        cuda.device(self.subject.device).activate()
        with self.opened(Arena(nbytes, alignment)) as runner:
            return in_turn([runner])[0]

    def layers(self, before: int = 0) -> dict[str, float]:
        """Each layer's ms, with so many bytes allocated before."""
        kept = occupied(self.subject.device, before) if before else None
        with self.opened() as runner:
            in_turn([runner])
            profile = runner.profile(50)
        del kept
        return {layer.name: layer.ms or 0.0 for layer in profile.layers}


def in_turn(runners: Sequence[Runner]) -> list[float]:
    """The median ms of the compute (on a host: of the call) of each, block by block in turn, once all are steady."""
    counts, watches = [1] * len(runners), [Steady() for _ in runners]
    figure = "gpu_ms" if "gpu_ms" in runners[0].block(1) else "ms"
    for number, runner in enumerate(runners):
        sample_ms = statistics.median(runner.block(10)[figure])
        counts[number] = max(10, int(BLOCK_MS / sample_ms))

    def block(number: int) -> tuple[float, ...]:
        return runners[number].block(counts[number])[figure]

    for _ in range(MOST_WARM_UP):
        for number, watch in enumerate(watches):
            watch.add(block(number))
        if all(watch.is_steady() for watch in watches):
            break
    medians: list[list[float]] = [[] for _ in runners]
    for _ in range(BLOCKS):
        for number, of_one in enumerate(medians):
            of_one.append(statistics.median(block(number)))
    return [statistics.median(of_one) for of_one in medians]
