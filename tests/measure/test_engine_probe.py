"""An engine in a probe: what it infers, streams, measures and proves."""

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


def test_it_infers_on_arrays_that_cross_as_they_are(probe):
    assert (probe.infer(batch(0.0))["y"] == 0).all()
    doubled, single = probe.infer(batch(2.0))["y"], probe.infer(batch(1.0))["y"]
    np.testing.assert_allclose(doubled, 2 * single, rtol=1e-5)


def test_its_blocks_have_equally_many_samples_of_every_series(probe):
    block = probe.block()
    assert {len(times) for times in block.times.values()} == {len(block.times["ms"])}
    assert block.seconds > 0
    assert min(block.times["ms"]) > 0


def test_its_proof_names_the_threads_and_nothing_that_a_cpu_does_not_have(probe):
    assert probe.proof == {
        "provider": "CPUExecutionProvider", "threads": str(len(os.sched_getaffinity(0))), "spinning": "off",
    }  # fmt: skip
    assert set(probe.block().times) == {"ms", "host_ms"}
    assert set(probe.memory()) == {"host"}


def test_inputs_that_it_draws_are_the_same_in_every_probe(server, subject, probe):
    with EngineProbe(server, subject) as other:
        np.testing.assert_array_equal(probe.current_inputs()["x"], other.current_inputs()["x"])


def test_a_stream_keeps_the_order(probe):
    outputs = list(probe.stream(batch(i) for i in range(20)))
    assert len(outputs) == 20
    for i, output in enumerate(outputs):
        np.testing.assert_allclose(output["y"], i * outputs[1]["y"], rtol=1e-4, atol=1e-4)


def test_a_stream_that_fails_or_is_left_lets_the_probe_live(probe):
    def breaking():
        yield batch(1.0)
        raise RuntimeError("no more")

    outputs = probe.stream(breaking())
    assert next(outputs)["y"].shape == (4, 32)
    with pytest.raises(RuntimeError, match="no more"):
        next(outputs)
    with pytest.raises(InputError, match="it must be"):
        list(probe.stream([batch(1.0), {"x": np.zeros((4, 31), np.float32)}, *[batch(1.0)] * 9]))
    for _ in probe.stream(batch(i) for i in range(100)):
        break
    assert probe.infer(batch(1.0))["y"].shape == (4, 32)


def test_500_different_batches_come_back_in_order_and_right(probe, subject):
    onnxruntime = pytest.importorskip("onnxruntime", reason="needs onnxruntime")
    session = onnxruntime.InferenceSession(str(subject.plan), providers=["CPUExecutionProvider"])
    random = np.random.default_rng(0)
    batches = [{"x": random.standard_normal((4, 32)).astype(np.float32)} for _ in range(500)]
    outputs = list(probe.stream(iter(batches)))  # all are kept: what is handed out never changes again
    for got, given in zip(outputs, batches, strict=True):
        np.testing.assert_allclose(got["y"], session.run(["y"], given)[0], rtol=1e-5, atol=1e-5)


def test_1000_inferences_keep_memory_and_descriptors_flat(probe):
    def held() -> list[tuple[int, int, int]]:
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
    before = held()
    for _ in probe.stream(batch(i) for i in range(500)):
        pass
    for i in range(500):
        probe.infer(batch(i))
    for (host, files, regions), (grown, more_files, more_regions) in zip(before, held(), strict=True):
        assert grown - host < 2**20
        assert (files, regions) == (more_files, more_regions)


def test_in_the_middle_of_a_stream_nothing_else_is_answered(probe):
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


def test_a_probe_that_has_ended_says_so(server, subject):
    probe = EngineProbe(server, subject)
    outputs = probe.stream(batch(i) for i in range(20))
    next(outputs)
    probe.close()
    with pytest.raises(ProbeError, match="'stream' cannot run: the probe has ended"):
        next(outputs)
    with pytest.raises(ProbeError, match="'infer' cannot run: the probe has ended"):
        probe.infer(batch(1.0))


def test_an_error_is_raised_here_as_it_was_there(probe, server, subject, tmp_path):
    with pytest.raises(InputError, match="the engine has no input 'z': it has 'x'"):
        probe.infer({"z": np.zeros(1, np.float32)})
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"not a model")
    with pytest.raises(Exception, match=r"cannot load .*broken.onnx: Protobuf parsing failed"):
        EngineProbe(server, Subject(broken, "0", EngineSpec(), {}, PipelineOptions()))


def test_arrays_beyond_shared_memory_are_an_error_not_a_crash(probe):
    huge = np.broadcast_to(np.float32(0), (1 << 22, 1 << 22))  # 64 TiB, of which nothing exists
    with pytest.raises(MemoryError, match="shared memory cannot be allocated"):
        probe.infer({"x": huge})
