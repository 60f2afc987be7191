"""Test the header of a plan, and the errors that it causes before a runtime reads the plan."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from pytest_trt.engine.backends.base import BuildJob, backend
from pytest_trt.engine.backends.plan_header import (
    HEADER_BYTES,
    check_capabilities,
    check_origin,
    parse_header,
    read_origin,
)
from pytest_trt.errors import BackendError
from pytest_trt.spec.engine_spec import EngineSpec


def header(tag: bytes, version: tuple[int, ...], capabilities: int = 0) -> bytes:
    """Return a header as TensorRT-RTX 1.7 writes it, or the beginning of one of TensorRT."""
    start = tag + bytes(20) + bytes(version)
    rest = tag + struct.pack("<I", capabilities) if tag == b"vtrt" else b"more"
    return (start + rest).ljust(HEADER_BYTES, b"\0")


@pytest.fixture
def plan(tmp_path: Path) -> Path:
    return tmp_path / "prebuilt.plan"


def test_metadata_before_a_plan_is_named(plan: Path) -> None:
    metadata = b'{"names": ["cat"]}'
    plan.write_bytes(len(metadata).to_bytes(4, "little") + metadata + header(b"ftrt", (10, 3, 0, 26)))
    with pytest.raises(BackendError, match=r"begins with JSON metadata.* save the bytes from 22 on"):
        read_origin(plan)


def test_header_contains_the_origin() -> None:
    rtx = parse_header(header(b"vtrt", (1, 7, 1, 116), 0b11000))
    assert rtx is not None
    assert (str(rtx), rtx.capabilities) == ("TensorRT-RTX 1.7.1.116", (89, 120))
    old = parse_header(b"ftrt" + bytes(20) + bytes([8, 6, 0, 12]) + b"more")
    assert old is not None
    assert (str(old), old.capabilities) == ("TensorRT 8.6.0.12", ())
    assert parse_header(b"ftrt") is None
    assert parse_header(b"\x08\x07onnx" + bytes(80)) is None


def test_unknown_capabilities_are_ignored() -> None:
    unknown = parse_header(header(b"vtrt", (2, 0, 0, 0), 1 << 9))
    assert unknown is not None
    assert unknown.capabilities == ()


def test_file_that_is_no_plan_is_an_error(plan: Path) -> None:
    plan.write_bytes(b"not a plan at all, but long enough for a header" * 2)
    with pytest.raises(BackendError, match=r"prebuilt\.plan is not a TensorRT plan \(it begins with b'not '"):
        read_origin(plan)


@pytest.mark.parametrize("layout", [1, 2], ids=["plain", "version compatible"])
@pytest.mark.parametrize("size", [63, 64, 58250, 116499])
def test_plan_of_tensorrt_that_was_cut_short_is_an_error(plan: Path, layout: int, size: int) -> None:
    """The header is that of a plan of 116,500 bytes that TensorRT 8.6.0 wrote."""
    head = struct.pack("<4sIQQ4B", b"ftrt", 0, layout, 116500, 8, 6, 0, 12)
    plan.write_bytes(head.ljust(116500, b"\0")[:size])
    with pytest.raises(BackendError, match=rf"prebuilt\.plan was cut short: it has {size} of 116500 bytes: build or"):
        read_origin(plan)
    plan.write_bytes(head.ljust(116500, b"\0"))
    assert read_origin(plan).size_bytes == 116500


@pytest.mark.parametrize(
    ("head", "runtime", "message"),
    [
        (header(b"vtrt", (1, 7, 1, 116), 8), ("tensorrt", "10.16.1.11"),
         r"built by TensorRT-RTX 1\.7\.1\.116: tensorrt cannot run it"),
        (header(b"ftrt", (10, 16, 1, 11)), ("tensorrt_rtx", "1.7.1.116"),
         r"built by TensorRT 10\.16\.1\.11: tensorrt_rtx cannot run it"),
        (header(b"ftrt", (8, 6, 0, 12)), ("tensorrt", "10.16.1.11"),
         r"built by TensorRT 8\.6\.0\.12, but this is tensorrt 10\.16\.1\.11: .*engine_host_code_allowed=True"),
        (header(b"ftrt", (10, 16, 0, 72)), ("tensorrt_dispatch", "10.16.1.11"), r"but this is tensorrt_dispatch"),
        (header(b"vtrt", (1, 7, 1, 116), 8), ("onnxruntime", "1.32.0"), r"onnxruntime cannot run it"),
    ],
)  # fmt: skip
def test_plan_of_another_product_or_version_is_an_error(
    plan: Path, head: bytes, runtime: tuple[str, str], message: str
) -> None:
    plan.write_bytes(head + bytes(1000))
    with pytest.raises(BackendError, match=message):
        check_origin(*runtime, plan, host_code=False)


def test_plan_for_other_devices_is_an_error(plan: Path) -> None:
    plan.write_bytes(header(b"vtrt", (1, 7, 1, 116), 0b110000))
    origin = read_origin(plan)
    check_capabilities(origin, plan, [120], "NVIDIA L4 has")
    with pytest.raises(BackendError, match=r"compute capability 12\.0, 12\.1, but NVIDIA L4 has 8\.9: build it"):
        check_capabilities(origin, plan, [89], "NVIDIA L4 has")
    with pytest.raises(BackendError, match=r"but --trt-compute-capability requests 8\.9, 12\.0: build it for that"):
        check_capabilities(origin, plan, [89, 120], "--trt-compute-capability requests")


def test_plan_of_this_version_and_device_is_accepted(plan: Path) -> None:
    plan.write_bytes(header(b"ftrt", (8, 6, 0, 12)))
    origin = check_origin("tensorrt", "8.6.0", plan, host_code=False)
    assert str(origin) == "TensorRT 8.6.0.12"
    check_capabilities(origin, plan, [90], "its header has none:")
    plan.write_bytes(header(b"vtrt", (1, 7, 1, 116), 8))
    check_origin("tensorrt_rtx", "1.7.1.116", plan, host_code=False)


def test_other_version_is_accepted_if_its_host_code_may_run(plan: Path) -> None:
    plan.write_bytes(header(b"ftrt", (8, 6, 0, 12)))
    origin = check_origin("tensorrt_lean", "10.16.1.11", plan, host_code=True)
    assert origin.version == "8.6.0.12"


def test_onnx_runtime_cannot_run_a_plan(plan: Path) -> None:
    plan.write_bytes(header(b"ftrt", (8, 6, 0, 12)))
    with pytest.raises(BackendError, match=r"built by TensorRT 8\.6\.0\.12, which ONNX Runtime cannot run: choose"):
        backend("onnxruntime").load(plan, "0", EngineSpec())


def test_header_of_tensorrt_rtx_has_capabilities_and_size(tmp_path: Path) -> None:
    """The header has a bit for each capability, and the size of the plan, which shows that a plan was cut short."""
    pytest.importorskip("tensorrt_rtx", reason="needs the package tensorrt_rtx")
    import onnx
    from onnx import TensorProto, helper

    x, y = (helper.make_tensor_value_info(n, TensorProto.FLOAT, [4]) for n in "xy")
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"], "relu")], "g", [x], [y])
    model = tmp_path / "relu.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(model))
    for capabilities in ((75,), (80,), (86,), (89,), (120,), (121,), (80, 89, 120)):
        spec = EngineSpec(compute_capabilities=capabilities)
        job = BuildJob("tensorrt_rtx", "0", spec, str(model), str(tmp_path))
        backend("tensorrt_rtx").build(job, lambda text, share: None)
        assert read_origin(tmp_path / "plan").capabilities == capabilities
    whole, half = (tmp_path / "plan").read_bytes(), tmp_path / "half.plan"
    half.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(BackendError, match=rf"half\.plan was cut short: it has {len(whole) // 2} of {len(whole)} "):
        read_origin(half)
