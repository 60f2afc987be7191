"""Test conversions in a process of their own: their errors, and the limits on their time and memory."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from samples.processes import has_ended

from pytest_trt.engine.convert.conversion import ConversionJob
from pytest_trt.engine.convert.run import run_conversion
from pytest_trt.errors import BuildError, ModelError, ProbeError
from pytest_trt.measure.probe.server import ProbeServer
from pytest_trt.measure.probe.wire import CONVERSION
from pytest_trt.trial import job_process
from pytest_trt.trial.job_process import run_conversion_job


@pytest.fixture(scope="module")
def server() -> Iterator[ProbeServer]:
    with ProbeServer(CONVERSION) as started:
        yield started


def save(folder: Path, *, nodes: int = 1, weights: int = 4, kind: int = TensorProto.FLOAT) -> Path:
    """Save a chain of Mul nodes, of which each but the first multiplies by the same weights."""
    chain = [helper.make_node("Mul", [f"t{n}", "w"], [f"t{n + 1}"]) for n in range(nodes)]
    values = [helper.make_tensor_value_info(f"t{n}", kind, [weights]) for n in (0, nodes)]
    stored = numpy_helper.from_array(np.ones(weights, helper.tensor_dtype_to_np_dtype(kind)), "w")
    graph = helper.make_graph(chain, "g", values[:1], values[1:], [stored])
    path = folder / "m.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(path))
    return path


def fp16(model: Path, **limits: float) -> ConversionJob:
    return ConversionJob("fp16", str(model), f"{model}.fp16", **{"timeout_s": 60.0, **limits})


def say_nothing(_text: str) -> None:
    return


def test_conversion_is_that_of_this_process(server: ProbeServer, tmp_path: Path) -> None:
    job = fp16(save(tmp_path))
    there, written = run_conversion_job(server, job, say_nothing), Path(job.output).read_bytes()
    assert (there, written) == (run_conversion(job), Path(job.output).read_bytes())


def test_errors_are_those_of_this_process(server: ProbeServer, tmp_path: Path) -> None:
    """A model without floats cannot be converted, and a file that is no model cannot be read."""
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"no model")
    for job, kind in ((fp16(save(tmp_path, kind=TensorProto.INT64)), BuildError), (fp16(broken), ModelError)):
        texts = set()
        for run in (run_conversion, lambda job: run_conversion_job(server, job, say_nothing)):
            with pytest.raises(kind) as raised:
                run(job)
            texts.add(str(raised.value))
        assert len(texts) == 1


def test_time_is_what_is_left_of_the_build_timeout(server: ProbeServer, tmp_path: Path) -> None:
    job = fp16(save(tmp_path, nodes=5000), timeout_s=50.0, preparation_s=49.9)
    with pytest.raises(BuildError, match=r"^converting m\.onnx took longer than build_timeout_s=50 and was stopped"):
        run_conversion_job(server, job, say_nothing)


def test_memory_is_a_share_of_what_is_available(
    server: ProbeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_process, "available_bytes", lambda: 60 * 10**6)
    run_conversion_job(server, fp16(save(tmp_path)), say_nothing)
    with pytest.raises(
        BuildError, match=r"^converting m\.onnx needs more than 0\.1 GB of memory, which is 90% of what"
    ):
        run_conversion_job(server, fp16(save(tmp_path, weights=15 * 10**6)), say_nothing)


def test_crash_is_an_error_and_leaves_no_process(server: ProbeServer, tmp_path: Path) -> None:
    """The progress of a conversion that takes longer than a second is shown; here that crashes its process."""
    children = Path(f"/proc/{server._process.pid}/task/{server._process.pid}/children")  # type: ignore[union-attr]
    pids: list[int] = []

    def crash(text: str) -> None:
        if text:
            pids.extend(map(int, children.read_text().split()))
            os.kill(pids[0], signal.SIGSEGV)

    with pytest.raises(ProbeError, match=r"the probe was killed by SIGSEGV in 'convert'"):
        run_conversion_job(server, fp16(save(tmp_path, nodes=20_000)), crash)
    assert has_ended(pids[0])
    job: Any = fp16(save(tmp_path))
    assert run_conversion_job(server, job, say_nothing).shares == {"fp16": 1.0}
