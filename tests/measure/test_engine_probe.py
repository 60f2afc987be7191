"""Test an engine in a probe: inference, streams, blocks and proof."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from pytest_trt.errors import InputError, ProbeError
from pytest_trt.measure.engine_probe import EngineProbe, Subject
from pytest_trt.spec.declaration import PipelineOptions
from pytest_trt.spec.engine_spec import EngineSpec


def batch(value: float) -> dict[str, np.ndarray]:
    return {"x": np.full((4, 32), value, np.float32)}


def test_probe_infers(probe):
    assert (probe.infer(batch(0.0))["y"] == 0).all()
    doubled, single = probe.infer(batch(2.0))["y"], probe.infer(batch(1.0))["y"]
    np.testing.assert_allclose(doubled, 2 * single, rtol=1e-5)


def test_block_has_equally_many_samples_of_every_series(probe):
    block = probe.block()
    assert {len(times) for times in block.times.values()} == {len(block.times["ms"])}
    assert block.seconds > 0
    assert min(block.times["ms"]) > 0


def test_proof_and_series_on_a_cpu(probe):
    assert probe.proof == {
        "provider": "CPUExecutionProvider", "threads": str(len(os.sched_getaffinity(0))), "spinning": "off",
    }  # fmt: skip
    assert set(probe.block().times) == {"ms", "host_ms"}
    assert set(probe.memory()) == {"host"}


def test_generated_inputs_are_the_same_in_every_probe(server, subject, probe):
    with EngineProbe(server, subject) as other:
        np.testing.assert_array_equal(probe.current_inputs()["x"], other.current_inputs()["x"])


def test_stream_keeps_the_order(probe):
    outputs = list(probe.stream(batch(i) for i in range(20)))
    assert len(outputs) == 20
    for i, output in enumerate(outputs):
        np.testing.assert_allclose(output["y"], i * outputs[1]["y"], rtol=1e-4, atol=1e-4)


def test_probe_survives_a_failed_or_abandoned_stream(probe):
    def failing():
        yield batch(1.0)
        raise RuntimeError("no more")

    outputs = probe.stream(failing())
    assert next(outputs)["y"].shape == (4, 32)
    with pytest.raises(RuntimeError, match="no more"):
        next(outputs)
    with pytest.raises(InputError, match="it must be"):
        list(probe.stream([batch(1.0), {"x": np.zeros((4, 31), np.float32)}, *[batch(1.0)] * 9]))
    for _ in probe.stream(batch(i) for i in range(100)):
        break
    assert probe.infer(batch(1.0))["y"].shape == (4, 32)


def test_stream_of_500_batches_is_correct_and_in_order(probe, subject):
    onnxruntime = pytest.importorskip("onnxruntime", reason="needs onnxruntime")
    session = onnxruntime.InferenceSession(str(subject.plan), providers=["CPUExecutionProvider"])
    random = np.random.default_rng(0)
    batches = [{"x": random.standard_normal((4, 32)).astype(np.float32)} for _ in range(500)]
    outputs = list(probe.stream(iter(batches)))  # all at once: returned arrays must not change later
    for got, inputs in zip(outputs, batches, strict=True):
        np.testing.assert_allclose(got["y"], session.run(["y"], inputs)[0], rtol=1e-5, atol=1e-5)


def test_memory_and_descriptors_do_not_grow_over_1000_inferences(probe):
    def usage() -> list[tuple[int, int, int]]:
        return [
            (
                int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE"),
                len(list(Path(f"/proc/{pid}/fd").iterdir())),
                Path(f"/proc/{pid}/maps").read_text().count("/memfd:pytest-trt"),
            )
            for pid in (os.getpid(), probe._probe.pid)
        ]

    for _ in range(2):
        assert len(list(probe.stream(batch(i) for i in range(50)))) == 50
        probe.infer(batch(1.0))
    before = usage()
    growth = []
    for _ in range(3):  # whatever leaks grows every time; an allocator that keeps more for a busy moment does not
        earlier = usage()
        for _ in probe.stream(batch(i) for i in range(500)):
            pass
        for i in range(500):
            probe.infer(batch(i))
        later = usage()
        assert [files_and_regions for _, *files_and_regions in later] == [rest for _, *rest in before]
        growth.append([memory - held for (held, *_), (memory, *_) in zip(earlier, later, strict=True)])
    assert all(min(grown) < 2**20 for grown in zip(*growth, strict=True)), growth


def test_other_calls_fail_while_a_stream_is_open(probe):
    outputs = probe.stream(batch(i) for i in range(20))
    first = next(outputs)
    with pytest.raises(ProbeError, match="'infer' cannot run while a stream is open: exhaust or close the stream"):
        probe.infer(batch(1.0))
    with pytest.raises(ProbeError, match="'stream' cannot run while a stream is open"):
        next(probe.stream([batch(1.0)]))
    rest = list(outputs)
    assert len(rest) == 19
    np.testing.assert_allclose(rest[1]["y"], 2 * rest[0]["y"], rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(probe.infer(batch(0.0))["y"], first["y"])


def test_calls_to_an_ended_probe_fail(server, subject):
    probe = EngineProbe(server, subject)
    outputs = probe.stream(batch(i) for i in range(20))
    next(outputs)
    probe.close()
    with pytest.raises(ProbeError, match="'stream' cannot run: the probe has ended"):
        next(outputs)
    with pytest.raises(ProbeError, match="'infer' cannot run: the probe has ended"):
        probe.infer(batch(1.0))


def test_errors_of_the_probe_are_raised_in_the_caller(probe, server, subject, tmp_path):
    with pytest.raises(InputError, match="the engine has no input 'z': it has 'x'"):
        probe.infer({"z": np.zeros(1, np.float32)})
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"not a model")
    with pytest.raises(Exception, match=r"cannot load .*broken.onnx: Protobuf parsing failed"):
        EngineProbe(server, Subject(broken, "0", EngineSpec(), {}, PipelineOptions()))


def test_too_large_arrays_are_an_error_not_a_crash(probe):
    huge = np.broadcast_to(np.float32(0), (1 << 22, 1 << 22))  # 64 TiB that are never allocated
    with pytest.raises(MemoryError, match="shared memory cannot be allocated"):
        probe.infer({"x": huge})
