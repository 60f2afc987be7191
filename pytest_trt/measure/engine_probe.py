"""One probe with an engine in it: open it, ask it for blocks, and close it."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_trt.core import codec
from pytest_trt.core.records import Block, LayerProfile
from pytest_trt.engine.tensors import Tensor
from pytest_trt.measure.probe.client import Probe
from pytest_trt.measure.probe.server import ProbeServer
from pytest_trt.spec.declaration import PipelineOptions
from pytest_trt.spec.engine_spec import EngineSpec
from pytest_trt.spec.shape_ranges import Shape

if TYPE_CHECKING:
    from pytest_trt.engine.tensors import Arrays


Tensors = tuple[Tensor, ...]


BLOCK_MS = 10.0
"""How long a block should last: long against the cost of asking for one, short against the drift of clocks, so that
two engines that take turns share what the clock does (docs/background/statistics.md)."""


FEW_SAMPLES = 15
"""Fewer samples make a poor median: a block of a slow engine lasts longer, up to LONG_MS."""


LONG_MS = 50.0


MOST_SAMPLES = 1000


OPEN_TIMEOUT_S = 600.0


BLOCK_TIMEOUT_S = 300.0


def samples_in_block(sample_ms: float, block_ms: float = BLOCK_MS, few: int = FEW_SAMPLES) -> int:
    """How many samples make a block: enough for `block_ms`, and `few` of them at least if LONG_MS holds as many."""
    wanted = max(math.ceil(block_ms / sample_ms), min(few, int(LONG_MS / sample_ms)))
    return max(1, min(MOST_SAMPLES, wanted))


class Clock:
    """How long each part took, in seconds by its name: the time since the part before it ended."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._since = time.perf_counter()

    def ended(self, name: str) -> None:
        now = time.perf_counter()
        self.seconds[name] = self.seconds.get(name, 0.0) + now - self._since
        self._since = now


@dataclasses.dataclass(frozen=True)
class Subject:
    """What is opened in a probe: a plan, at one shape, through one pipeline, on inputs drawn from a seed (or given)."""

    plan: Path
    device: str
    spec: EngineSpec
    shapes: Mapping[str, Shape]
    options: PipelineOptions
    inputs: Arrays | None = None


class EngineProbe:
    """A fresh probe with one engine open in it. `load_s`, `first_ms` and `proof` are known once it is made.

    `probe` is a fresh one of the server's, else it forks one. `clock` hears how long each part took. Raises ProbeError
    where the probe is lost, and whatever the backend raises on loading or on the first inference.
    """

    def __init__(
        self, server: ProbeServer, subject: Subject, clock: Clock | None = None, probe: Probe | None = None
    ) -> None:
        self._probe: Probe = probe or server.fork()
        try:
            self._open(server, subject, clock or Clock())
        except BaseException:
            self._probe.close(kill=True)
            raise

    def _open(self, server: ProbeServer, subject: Subject, clock: Clock) -> None:
        clock.ended("process")
        self._probe.call("activate", timeout_s=OPEN_TIMEOUT_S, name=server.backend, device=subject.device)
        clock.ended("device")
        loaded = _load(self._probe, server, subject.plan, subject.device, subject.spec)
        clock.ended("load")
        opened, _ = self._probe.call(
            "open",
            timeout_s=OPEN_TIMEOUT_S,
            shapes=codec.encode(subject.shapes),
            options=codec.encode(subject.options),
        )
        clock.ended("open")
        self.load_s = float(loaded["seconds"]) + float(opened["seconds"])
        self.inputs, self.outputs = _tensors(opened)
        if subject.inputs is not None:
            filled, _ = self._probe.call("fill", subject.inputs, timeout_s=OPEN_TIMEOUT_S)
        else:
            spec = subject.spec
            ranges = codec.encode(spec.input_ranges)
            filled, _ = self._probe.call("draw", timeout_s=OPEN_TIMEOUT_S, seed=spec.seed, ranges=ranges)
        clock.ended("first run")
        self.first_ms = float(filled["first_ms"])
        self.proof: Mapping[str, str] = filled["proof"]
        self._count = 1
        self._in_flight = subject.options.contexts * subject.options.depth + 1

    def block(self) -> Block:
        """The next block. The first ones also find how many samples make one."""
        while True:
            reply, _ = self._probe.call("block", timeout_s=BLOCK_TIMEOUT_S, count=self._count)
            block = codec.decode(Block, {"times": reply["times"], "seconds": reply["seconds"]})
            sample_ms = max(block.seconds * 1000 / self._count, 1e-6)
            wanted = samples_in_block(sample_ms)
            if wanted <= 2 * self._count:
                return block
            self._count = min(wanted, 10 * self._count)

    def throughput(self, seconds: float) -> float:
        """Queries a second from the overlapped pipeline."""
        reply, _ = self._probe.call("throughput", timeout_s=BLOCK_TIMEOUT_S + seconds, seconds=seconds)
        return float(reply["queries_per_s"])

    def profile(self, runs: int) -> LayerProfile:
        return codec.decode(LayerProfile, self._probe.call("profile", timeout_s=BLOCK_TIMEOUT_S, runs=runs)[0])

    def memory(self) -> Mapping[str, int]:
        """Bytes by name, see `Runner.memory`; `host` is the probe's peak resident set."""
        reply, _ = self._probe.call("memory", timeout_s=BLOCK_TIMEOUT_S)
        return {name: int(size) for name, size in reply.items()}

    def infer(self, inputs: Arrays) -> Arrays:
        return self._probe.call("infer", inputs, timeout_s=BLOCK_TIMEOUT_S)[1]

    def stream(self, batches: Iterable[Arrays]) -> Iterator[Arrays]:
        """Outputs in order, through the overlapped pipeline."""
        return self._probe.stream(batches, window=self._in_flight, timeout_s=BLOCK_TIMEOUT_S)

    def current_inputs(self) -> Arrays:
        """The inputs that `draw` put in place."""
        return self._probe.call("current_inputs", timeout_s=BLOCK_TIMEOUT_S)[1]

    def hang_up(self) -> None:
        self._probe.hang_up()

    def close(self) -> None:
        self._probe.close()

    def __enter__(self) -> EngineProbe:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def read_tensors(server: ProbeServer, plan: Path, device: str, spec: EngineSpec) -> tuple[Tensors, Tensors]:
    """A plan's inputs and outputs, as its runtime has them."""
    with server.fork() as probe:
        return _tensors(_load(probe, server, plan, device, spec))


def _load(probe: Probe, server: ProbeServer, plan: Path, device: str, spec: EngineSpec) -> dict[str, Any]:
    said = codec.encode(spec.without_functions)
    reply, _ = probe.call(
        "load", timeout_s=OPEN_TIMEOUT_S, name=server.backend, device=device, plan=str(plan), spec=said
    )
    return reply


def _tensors(reply: Mapping[str, Any]) -> tuple[Tensors, Tensors]:
    inputs, outputs = (tuple(codec.decode(Tensor, one) for one in reply[name]) for name in ("inputs", "outputs"))
    return inputs, outputs
