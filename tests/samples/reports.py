"""Results of a run, for the tests of reports."""

from __future__ import annotations

import dataclasses
import importlib
import io
from collections.abc import Iterable, Sequence

from pytest_trt.core.past_run import PastRun
from pytest_trt.core.records import Environment, Estimate, Layer, LayerProfile, Result, Samples, Status, Verdict
from pytest_trt.core.report_formats import REPORT_FORMATS
from pytest_trt.report.header import Header, RunHead
from pytest_trt.report.result_json import RunReader
from samples.records import H200, blocks, measurement


def compared(status: Status, ratio: float, figure: str = "ms") -> Verdict:
    """Return the verdict of a comparison with a baseline."""
    change = 100 * (ratio - 1)
    return Verdict(
        status=status,
        basis="baseline",
        figure=figure,
        text=f"latency {status}: 0.306 ms against 0.275 ms, {change:+.1f} % "
        f"[{change - 0.2:+.1f}, {change + 0.2:+.1f}], tolerance 5 %",
        ratio=Estimate(ratio, ratio - 0.002, ratio + 0.002) if figure == "ms" else Estimate.exact(ratio),
        tolerance=0.05,
        resolution=0.003,
        details=("judged engine against engine: 2 probes x 8 blocks, 0.4 s of GPU time",) if status != "ok" else (),
    )


def result(name: str, *verdicts: Verdict, ms: float = 0.272, built_s: float | None = None) -> Result:
    """Return the result of a test of that name, whose latency is `ms`."""
    node_id = f"tests/test_models.py::{name}"
    return Result(
        node_id=node_id,
        verdicts=verdicts,
        measurement=measurement(ms, node_id, engine_digest=node_id),
        built_s=built_s,
        seconds=4.1,
        parts_s={"build": 2.7, "load": 0.2, "measure": 1.2},
    )


HEADER = Header.from_environment(H200, "main")

HEAD = RunHead(
    "0.1.0", ("pytest", "-n", "2"), "ci-7", "models", "2026-07-01T12:00:00+00:00", 61.5, "a1b2c3d4e5f6", "main"
)
"""The head of a run on a CI runner."""

HOSTILE = "test_x[<script>alert(1)</script>|`a`*b*]"
"""A test's name with markup of HTML and Markdown."""

NEW = Verdict("new", "baseline", "ms", "no baseline main of this test for NVIDIA H200 yet")
OVER = Verdict(
    "over_budget", "budget", "p99_ms", "p99 latency over budget: 0.44 ms, the limit is 0.4 ms, 10 % above", limit=0.4
)
RUN = (
    result("test_resnet18[fp16-b1]", compared("ok", 1.001)),
    result("test_resnet18[fp16-b8]", compared("regressed", 1.11), ms=0.306, built_s=27.1),
    result("test_encoder[fp16-b1]", NEW, ms=0.245),
)
"""A run with one test each that is ok, regressed and new."""


def unmeasured(name: str) -> Result:
    """Return the result of a test whose probe was lost."""
    lost = Verdict("error", "run", "", "the probe was killed by signal 9 while it ran: see its log")
    return Result(node_id=f"tests/test_models.py::{name}", verdicts=(lost,))


def on(environment: Environment, sample: Result) -> Result:
    """Return a result as if it was measured in that environment."""
    assert sample.measurement is not None
    return dataclasses.replace(sample, measurement=dataclasses.replace(sample.measurement, environment=environment))


def text(form: str, results: Sequence[Result], header: Header = HEADER) -> str:
    """Return the report in a format that is one file."""
    content: str | Iterable[str] = importlib.import_module(REPORT_FORMATS[form].module).render(results, header)
    return content if isinstance(content, str) else "".join(content)


def read_json(content: str, where: str = "run.json") -> tuple[Result, ...]:
    """Return the results in the JSON of a run."""
    return tuple(RunReader(io.BytesIO(content.encode("utf-8", "surrogatepass")), where))


def paired_result() -> Result:
    """Return a regressed result with all that a report can show: the other side, budgets, accuracy, layers, history."""
    verdicts = (
        compared("regressed", 1.113),
        Verdict("ok", "budget", "p99_ms", "ok", limit=0.4),
        Verdict("ok", "budget", "throughput", "ok", limit=3000),
        Verdict("ok", "accuracy", "logits", "all elements agree"),
    )
    slow = result("test_a", *verdicts, ms=0.306)
    assert slow.measurement is not None
    throttled = tuple(
        dataclasses.replace(block, state={**block.state, "temperature_c": 50.0 + n, "reasons": 4.0 if n > 3 else 0.0})
        for n, block in enumerate(blocks(0.306))
    )
    new_layers = (Layer("same", 0.01), Layer("renamed", 0.2, "Conv", nodes=("/a",)), Layer("new", 0.02))
    old_layers = (Layer("same", 0.01), Layer("earlier name", 0.1, nodes=("/a",)), Layer("gone", 0.05))
    new = dataclasses.replace(
        slow.measurement,
        samples=(Samples(throttled),),
        profile=LayerProfile(new_layers, runs=50),
        step_ms={"8": 0.3, "16": 0.32, "128": 0.4},
    )
    old = measurement(0.275, slow.node_id, profile=LayerProfile(old_layers, runs=50))
    history = (
        PastRun("2026-07-01T12:00:00+00:00", "aaa", 0.25, 0.25, moved=True),
        PastRun(
            "2026-07-02T12:00:00+00:00",
            "bbb",
            0.275,
            0.275,
            1.1,
            "level",
            "another plan",
            moved=True,
            reason="deeper network",
        ),
    )
    return dataclasses.replace(slow, measurement=new, reference=old, history=history)
