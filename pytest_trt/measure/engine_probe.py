"""Open one engine in a probe, and measure its blocks and other figures."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_trt.core import codec
from pytest_trt.core.records import Block, LayerProfile
from pytest_trt.engine.tensors import Tensor, numpy_dtype
from pytest_trt.measure.probe.client import Probe
from pytest_trt.measure.probe.factory import ProbeFactory
from pytest_trt.measure.probe.generations import GenerationJob
from pytest_trt.measure.probe.input_ring import InputRing
from pytest_trt.measure.stopwatch import Stopwatch
from pytest_trt.pipeline.generation import Generated
from pytest_trt.spec.declaration import PipelineOptions
from pytest_trt.spec.engine_spec import EngineSpec
from pytest_trt.spec.shape_ranges import Shape

if TYPE_CHECKING:
    from pytest_trt.engine.tensors import Arrays

BLOCK_MS = 10.0
"""How long a block should last, in ms: long against the cost of requesting one, short against the drift of clocks, so
that two engines in turn run at the same clocks (docs/background/statistics.md)."""

MIN_SAMPLES = 15
"""The least samples of a block, since the median of fewer is poor: a block of a slow engine lasts longer, up to
`MAX_BLOCK_MS`."""

MAX_BLOCK_MS = 50.0
"""How long a block may last to reach `MIN_SAMPLES`, in ms."""

MAX_SAMPLES = 1000
"""The most samples of a block."""

OPEN_TIMEOUT_S = 600.0
"""How long each step of opening an engine may take, in seconds."""

BLOCK_TIMEOUT_S = 300.0
"""How long any other call to a probe may take, in seconds."""

SMALL_QUERY_BYTES = 8 * 10**6
"""The most bytes of the inputs of a query of which several are on their way to the probe."""

Tensors = tuple[Tensor, ...]


@dataclasses.dataclass(frozen=True)
class Subject:
    """What a probe opens: a plan, at one shape, run through one pipeline.

    Attributes:
        plan: The plan's file.
        device: The device that runs it, as the backend names it.
        spec: The options that the engine was built with, and those of loading it.
        shapes: The shape of each input.
        options: The options of the pipeline.
        inputs: The inputs to run on; None to generate them from the seed of `spec`.
        delay_ms: How much longer an inference takes in a block, in ms: a known slowdown.
        generation: What is generated in a pass of its own; None for nothing.
    """

    plan: Path
    device: str
    spec: EngineSpec
    shapes: Mapping[str, Shape]
    options: PipelineOptions
    inputs: Arrays | None = None
    delay_ms: float = 0.0
    generation: GenerationInputs | None = None


@dataclasses.dataclass(frozen=True)
class GenerationInputs:
    """What a measurement generates.

    Attributes:
        job: What a probe generates.
        arrays: The prompt by the name of the input of tokens, and the inputs that are the same in every step.
        prefill_model: The path of the model that the plan of the prompt was built from; None if there is no such plan.
        prefill_sha256: The SHA-256 of that plan.
        prefill_built: Whether that plan was built for this, rather than found in the cache.
    """

    job: GenerationJob
    arrays: Arrays
    prefill_model: str | None = None
    prefill_sha256: str = ""
    prefill_built: bool = False

    @property
    def description(self) -> dict[str, str]:
        """What the description of the test has beside its declaration, as text by name."""
        return {"prefill_sha256": self.prefill_sha256} if self.prefill_sha256 else {}


class EngineProbe:
    """A fresh probe with one engine open in it. Use it as a context manager, or close it.

    Args:
        server: Forks the probe.
        subject: The engine, and how to run it.
        stopwatch: Times the steps of opening.
        probe: A fresh probe of this server; None to fork one.

    Attributes:
        inputs: The engine's inputs, with concrete shapes.
        outputs: The engine's outputs, with concrete shapes.
        load_s: How long loading took, in seconds: reading and deserialising the plan, and making its context.
        first_ms: How long the first inference took, in ms.
        proof: What really runs, as text by name (`Runner.proof`).

    Raises:
        ProbeError: The probe crashed, was killed or did not answer in time. Errors of the backend on loading or on the
            first inference pass through.
    """

    def __init__(
        self, server: ProbeFactory, subject: Subject, stopwatch: Stopwatch | None = None, probe: Probe | None = None
    ) -> None:
        self._probe: Probe = probe or server.fork()
        self._backend, self._device = server.backend, subject.device
        try:
            self._open(server, subject, stopwatch or Stopwatch())
        except BaseException:
            self._probe.close(kill=True)
            raise

    def _open(self, server: ProbeFactory, subject: Subject, stopwatch: Stopwatch) -> None:
        stopwatch.lap("process")
        self._probe.call("activate", timeout_s=OPEN_TIMEOUT_S, name=server.backend, device=subject.device)
        stopwatch.lap("device")
        loaded = _load(self._probe, server, subject.plan, subject.device, subject.spec)
        stopwatch.lap("load")
        opened, _ = self._probe.call(
            "open",
            timeout_s=OPEN_TIMEOUT_S,
            shapes=codec.encode(subject.shapes),
            options=codec.encode(subject.options),
            delay_ms=subject.delay_ms,
        )
        stopwatch.lap("open")
        self.load_s = float(loaded["seconds"]) + float(opened["seconds"])
        self.inputs, self.outputs = _decode_tensors(opened)
        if subject.inputs is not None:
            filled, _ = self._probe.call("fill", dict(subject.inputs), timeout_s=OPEN_TIMEOUT_S)
        else:
            spec = subject.spec
            ranges = codec.encode(spec.input_ranges)
            filled, _ = self._probe.call("draw", timeout_s=OPEN_TIMEOUT_S, seed=spec.seed, ranges=ranges)
        stopwatch.lap("first run")
        self.first_ms = float(filled["first_ms"])
        self.proof: Mapping[str, str] = filled["proof"]
        self._count = 1
        self._in_flight = subject.options.contexts * subject.options.depth + _queries_in_transit(self.inputs)

    @property
    def pid(self) -> int:
        """The probe's process id."""
        return self._probe.pid

    def block(self) -> Block:
        """Measure the next block. The first calls also find how many samples make a block."""
        while True:
            reply, _ = self._probe.call("block", timeout_s=BLOCK_TIMEOUT_S, count=self._count)
            block = codec.decode(Block, {"times": reply["times"], "seconds": reply["seconds"]})
            sample_ms = max(block.seconds * 1000 / self._count, 1e-6)
            count = samples_in_block(sample_ms, BLOCK_MS)
            if count <= 2 * self._count:
                return block
            self._count = min(count, 10 * self._count)

    def throughput(self, seconds: float) -> float:
        """Measure the overlapped pipeline for about that long, and return its queries a second."""
        reply, _ = self._probe.call("throughput", timeout_s=BLOCK_TIMEOUT_S + seconds, seconds=seconds)
        return float(reply["queries_per_s"])

    def profile(self, runs: int) -> LayerProfile:
        """Measure the time of each layer over so many inferences."""
        return codec.decode(LayerProfile, self._probe.call("profile", timeout_s=BLOCK_TIMEOUT_S, runs=runs)[0])

    def memory(self) -> Mapping[str, int]:
        """Return bytes by name: those of `Runner.memory`, and `host`, the probe's peak resident set."""
        reply, _ = self._probe.call("memory", timeout_s=BLOCK_TIMEOUT_S)
        return {name: int(size) for name, size in reply.items()}

    def generate(self, inputs: GenerationInputs, *, keep_logits: bool = False) -> Generated:
        """Generate tokens, and return also the logits of each of them if they are to be kept."""
        reply, found = self._probe.call(
            "generate",
            inputs.arrays,
            timeout_s=OPEN_TIMEOUT_S,
            job=codec.encode(inputs.job),
            name=self._backend,
            device=self._device,
            keep_logits=keep_logits,
        )
        step_ms = tuple(map(float, reply["step_ms"]))
        logits = found["logits"].copy() if keep_logits else None
        return Generated(found["tokens"].copy(), float(reply["ttft_ms"]), step_ms, int(reply["state_bytes"]), logits)

    def infer(self, inputs: Arrays) -> Arrays:
        """Run one inference and return its outputs."""
        return self._probe.call("infer", inputs, timeout_s=BLOCK_TIMEOUT_S)[1]

    def stream(self, batches: Iterable[Arrays]) -> Iterator[Arrays]:
        """Run batches through the overlapped pipeline and yield their outputs in order."""
        return self._probe.stream(batches, window=self._in_flight, timeout_s=BLOCK_TIMEOUT_S)

    def input_sets(self, kept: int) -> InputRing:
        """Return sets of arrays in shared memory for the inputs, to be filled in place (see `InputRing`).

        Args:
            kept: How many outputs stay valid at a time.
        """
        return self._probe.inputs(self.inputs, kept, window=self._in_flight)

    def current_inputs(self) -> Arrays:
        """Return the inputs that blocks run on: those of the subject, or the generated ones."""
        return self._probe.call("current_inputs", timeout_s=BLOCK_TIMEOUT_S)[1]

    def disconnect(self) -> None:
        """Let the probe free what it holds and exit, without waiting; `close` waits."""
        self._probe.disconnect()

    def close(self) -> None:
        """End the probe, and wait until it has exited."""
        self._probe.close()

    def __enter__(self) -> EngineProbe:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def _queries_in_transit(inputs: Tensors) -> int:
    """Return how many queries of a stream are on their way to the probe, beside those in its pipeline.

    With a single one, each query waits for the outputs of an earlier one to cross to the caller and back, which takes
    longer than a small engine computes. Large arrays take long anyway, and much memory.
    """
    nbytes = sum(math.prod(tensor.shape) * numpy_dtype(tensor.dtype).itemsize for tensor in inputs)
    return 3 if nbytes <= SMALL_QUERY_BYTES else 1


def samples_in_block(sample_ms: float, block_ms: float = BLOCK_MS, min_samples: int = MIN_SAMPLES) -> int:
    """Return how many samples make a block.

    Args:
        sample_ms: How long one sample takes, in ms.
        block_ms: How long the block should last, in ms.
        min_samples: The least samples of a block that fit into `MAX_BLOCK_MS`.
    """
    count = max(math.ceil(block_ms / sample_ms), min(min_samples, int(MAX_BLOCK_MS / sample_ms)))
    return max(1, min(MAX_SAMPLES, count))


def read_tensors(server: ProbeFactory, plan: Path, device: str, spec: EngineSpec) -> tuple[Tensors, Tensors]:
    """Return a plan's inputs and outputs as its runtime reports them."""
    with server.fork() as probe:
        return _decode_tensors(_load(probe, server, plan, device, spec))


def _load(probe: Probe, server: ProbeFactory, plan: Path, device: str, spec: EngineSpec) -> dict[str, Any]:
    encoded = codec.encode(spec.without_functions)
    reply, _ = probe.call(
        "load", timeout_s=OPEN_TIMEOUT_S, name=server.backend, device=device, plan=str(plan), spec=encoded
    )
    return reply


def _decode_tensors(reply: Mapping[str, Any]) -> tuple[Tensors, Tensors]:
    inputs, outputs = (tuple(codec.decode(Tensor, one) for one in reply[name]) for name in ("inputs", "outputs"))
    return inputs, outputs
