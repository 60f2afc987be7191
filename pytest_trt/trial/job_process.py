"""Run a build or a conversion in a process of its own, with limits on its time and memory."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pytest_trt.core import codec
from pytest_trt.core.model_facts import ModelFacts
from pytest_trt.engine.backends.base import BuildJob, BuildReport
from pytest_trt.engine.convert.conversion import Conversion, ConversionJob
from pytest_trt.errors import BuildError, ModelError, ProbeError, TrtError
from pytest_trt.measure.probe.factory import ProbeFactory
from pytest_trt.measure.probe.process_limits import available_bytes
from pytest_trt.spec.engine_spec import Precision

Say = Callable[[str], None]
"""Shows progress: each line replaces the one before, and an empty line ends it."""

MEMORY_SHARE = 0.9
"""How much of the memory that is available when a conversion starts it may use. The rest is for this process, and for
the system, which would otherwise kill any process."""

INSPECTION_TIMEOUT_S = 1800.0
"""How long an inspection may take: as long as a build, unless its spec says otherwise."""

_OUT_OF_MEMORY = re.compile(
    "MemoryError|not enough host memory|bad_alloc|bad allocation|alloc failed|unable to allocate", re.IGNORECASE
)
"""The words of NumPy, protobuf, onnx and ONNX Runtime for memory that they do not get."""


def run_build(server: ProbeFactory, job: BuildJob, say: Say) -> BuildReport:
    """Build an engine in a process of its own, and show its progress.

    Args:
        server: Forks the process.
        job: The build.
        say: Shows the progress.

    Raises:
        BuildError: The build failed, or took longer than the spec's build_timeout_s.
        ProbeError: The process crashed.
    """
    name, limit_s = Path(job.spec.path or job.model).name, job.spec.build_timeout_s
    reply = _run(
        server, "build", say, limit_s - job.preparation_s, f"building {name} ({job.spec.precision})",
        f"building {name} took longer than build_timeout_s={limit_s:g} and was stopped: raise the limit, or lower the "
        "optimization_level",
        job=codec.encode(job),
    )  # fmt: skip
    return codec.decode(BuildReport, reply)


def run_conversion_job(server: ProbeFactory, job: ConversionJob, say: Say) -> Conversion:
    """Convert a model in a process of its own, and show how long that takes.

    Args:
        server: Forks the process.
        job: The conversion.
        say: Shows the progress.

    Raises:
        BuildError: The conversion failed, took longer than `job.timeout_s`, or needed more memory than MEMORY_SHARE.
        ModelError: The model cannot be read.
        ProbeError: The process crashed.
    """
    name, memory_bytes = Path(job.model).name, int(MEMORY_SHARE * available_bytes())
    try:
        reply = _run(
            server, "convert", say, job.timeout_s - job.preparation_s, f"converting {name} ({job.recipe})",
            f"converting {name} took longer than build_timeout_s={job.timeout_s:g} and was stopped: raise the limit, "
            "or name a model that is converted already",
            job=codec.encode(job), memory_bytes=memory_bytes,
        )  # fmt: skip
    except TrtError as error:
        if not _OUT_OF_MEMORY.search(str(error)):
            raise
        raise BuildError.from_text(
            f"converting {name} needs more than {memory_bytes / 1e9:.1f} GB of memory, which is {MEMORY_SHARE:.0%} of "
            f"what was available: end other programs, or name a model that is converted already ({error})"
        ) from error
    return codec.decode(Conversion, reply)


def run_inspection(server: ProbeFactory, model: Path, named: str, precision: Precision, say: Say) -> ModelFacts:
    """Inspect a model in a process of its own, with the limits of a conversion (see `inspection.inspect_model`).

    Args:
        server: Forks the process.
        model: The model's file.
        named: Its path, as the marker is to name it.
        precision: The precision.
        say: Shows the progress.

    Raises:
        BuildError: It took longer than INSPECTION_TIMEOUT_S.
        ModelError: The model cannot be read, or does not fit in the memory.
        ProbeError: The process crashed.
    """
    memory_bytes = int(MEMORY_SHARE * available_bytes())
    try:
        reply = _run(
            server, "inspect", say, INSPECTION_TIMEOUT_S, f"inspecting {model.name}",
            f"inspecting {model.name} took longer than {INSPECTION_TIMEOUT_S:g} s and was stopped: name a smaller "
            "model, or look at this one on a faster machine",
            model=str(model), named=named, precision=precision, memory_bytes=memory_bytes,
        )  # fmt: skip
    except TrtError as error:
        if not _OUT_OF_MEMORY.search(str(error)):
            raise
        raise ModelError.from_text(
            f"{model.name} does not fit in {memory_bytes / 1e9:.1f} GB of memory: end other programs ({error})"
        ) from error
    return codec.decode(ModelFacts, reply)


def _run(
    server: ProbeFactory, verb: str, say: Say, limit_s: float, title: str, too_slow: str, **arguments: Any
) -> dict[str, Any]:
    """Call a verb of a fresh probe, and show its progress.

    Args:
        server: Forks the probe.
        verb: The verb.
        say: Shows the progress.
        limit_s: How long the call may take, in seconds.
        title: What the progress begins with.
        too_slow: The error if the call takes longer.
        arguments: The verb's arguments.
    """
    started, left_s = time.monotonic(), max(limit_s, 0.001)

    def progress(text: str, share: float) -> None:
        done = f", {share:.0%}" if share >= 0 else ""
        say(f"{title}: {text or 'working'}{done}, {time.monotonic() - started:.0f} s")

    try:
        with server.fork() as probe:
            return probe.call(verb, timeout_s=left_s, progress=progress, **arguments)[0]
    except ProbeError as error:
        if time.monotonic() - started < left_s:
            raise
        raise BuildError(too_slow) from error
    finally:
        say("")
