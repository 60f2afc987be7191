"""Test the summary, the advice and the JSON files of trtexec."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest
from samples.inspector import CONV_86
from samples.records import H200, measurement
from samples.reports import RUN

from pytest_trt.core import codec
from pytest_trt.core.records import Block, Layer, LayerProfile, Measurement, Samples
from pytest_trt.engine.backends.tensorrt.layers import parse_layers, read_inspector_json
from pytest_trt.report.trtexec_json import (
    advice,
    export_layer_info,
    export_profile,
    export_times,
    files,
    instability_threshold,
    summary,
)

CONV_11 = {
    **{key: value for key, value in CONV_86.items() if key not in ("Inputs", "Outputs")},
    "Inputs": [{"Name": "x", "Dimensions": [1, 4, 224, 224], "Format": "HWC8", "DataType": "Half"}],
    "Outputs": [{"Name": "y", "Dimensions": [1, 64, 112, 112], "Format": "HWC8", "DataType": "Half"}],
}


def measured(**series: tuple[float, ...]) -> Measurement:
    block = Block(times=series, seconds=1.0)
    return dataclasses.replace(measurement(node_id="a.py::test_a"), samples=(Samples((block,)),), profile=None)


QUIET = {"gpu_ms": (1.0,) * 4, "ms": (1.2,) * 4, "h2d_ms": (0.1,) * 4, "d2h_ms": (0.1,) * 4, "enqueue_ms": (0.1,) * 4}


def test_summary_has_a_line_for_each_series_with_trtexec_percentiles() -> None:
    times = (1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 9.0)
    lines = summary(measured(ms=times, gpu_ms=times)).splitlines()
    assert lines[1] == "Throughput: 3676.47 inf/s"
    assert lines[2] == (
        "Latency: min = 1 ms, max = 9 ms, mean = 4.625 ms, median = 4.5 ms, "
        "percentile(90%) = 9 ms, percentile(95%) = 9 ms, percentile(99%) = 9 ms"
    )
    assert [line.partition(":")[0] for line in lines[3:]] == ["GPU Compute Time", "Total GPU Compute Time"]
    assert lines[-1] == "Total GPU Compute Time: 0.037 s"


def test_summary_has_all_measured_series() -> None:
    assert RUN[0].measurement is not None
    assert [line.partition(":")[0] for line in summary(RUN[0].measurement).splitlines()] == [
        "=== Performance summary ===", "Throughput", "Latency", "Enqueue Time", "H2D Latency", "GPU Compute Time",
        "D2H Latency", "Total Host Walltime", "Total GPU Compute Time",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("series", "starts"),
    [
        ({}, ()),
        ({"enqueue_ms": (0.8,) * 4}, ()),
        ({"enqueue_ms": (0.81,) * 4}, ("bound by enqueue",)),
        ({"h2d_ms": (0.99,) * 4}, ()),
        ({"h2d_ms": (1.0,) * 4}, ("bound by copies in",)),
        ({"d2h_ms": (1.0,) * 4}, ("bound by copies out",)),
        ({"gpu_ms": (1.0, 1.0, 1.03, 1.03)}, ("compute is unstable",)),
        ({"gpu_ms": (1.0, 1.0, 1.019, 1.019)}, ()),
    ],
)
def test_advice_uses_the_thresholds_of_trtexec(series: dict[str, tuple[float, ...]], starts: tuple[str, ...]) -> None:
    lines = advice(measured(**{**QUIET, **series}))
    assert len(lines) == len(starts)
    assert all(line.startswith(start) for line, start in zip(lines, starts, strict=True))


def test_advice_notes_that_contexts_share_the_device() -> None:
    many = dataclasses.replace(measured(**QUIET), proof={"contexts": "4"})
    assert advice(many) == ["several contexts run at once: each latency is longer than with a single context"]


def test_advice_is_for_devices() -> None:
    assert advice(measured(ms=(1.0, 2.0), host_ms=(1.0, 2.0))) == []


@pytest.mark.parametrize(
    ("version", "share"),
    [
        ("8.6.0", 0.01),
        ("8.6.0.post1", 0.01),
        ("10.13.0", 0.01),
        ("10.13.2.6", 0.025),
        ("10.13.3", 0.025),
        ("11.1", 0.025),
    ],
)
def test_instability_threshold_depends_on_the_version(version: str, share: float) -> None:
    assert instability_threshold(dataclasses.replace(H200, backend_version=version)) == share


def test_times_are_laid_end_to_end() -> None:
    rows = json.loads(export_times(measured(**QUIET, host_ms=(1.5,) * 4)))
    assert list(rows[0]) == [
        "startEnqMs", "endEnqMs", "startH2dMs", "endH2dMs", "startComputeMs", "endComputeMs", "startD2hMs", "endD2hMs",
        "h2dMs", "computeMs", "d2hMs", "latencyMs",
    ]  # fmt: skip
    assert [row["startEnqMs"] for row in rows] == [0.0, 1.5, 3.0, 4.5]
    for row in rows:
        assert row["endH2dMs"] - row["startH2dMs"] == pytest.approx(row["h2dMs"])
        assert row["endComputeMs"] - row["startComputeMs"] == pytest.approx(row["computeMs"])
        assert row["endD2hMs"] - row["startD2hMs"] == pytest.approx(row["d2hMs"])
        assert row["h2dMs"] + row["computeMs"] + row["d2hMs"] == pytest.approx(row["latencyMs"])


def test_on_a_cpu_the_whole_latency_is_compute() -> None:
    [row] = json.loads(export_times(measured(ms=(2.0,))))
    assert (row["computeMs"], row["h2dMs"], row["latencyMs"]) == (2.0, 0.0, 2.0)


def test_profile_begins_with_the_count() -> None:
    count, conv, odd = json.loads(export_profile(LayerProfile((Layer("conv", 0.3), Layer("noop")), runs=10)))
    assert count == {"count": 10}
    assert conv == {"name": "conv", "timeMs": 3.0, "averageMs": 0.3, "medianMs": 0.3, "percentage": 100.0}
    assert odd["timeMs"] == 0.0


def test_layer_info_without_an_inspector_has_the_known_fields() -> None:
    layer = Layer("conv + relu", 0.3, "CaskConvolution", "sm90_fprop", "FP16", nodes=("conv", "relu"))
    written = json.loads(export_layer_info(LayerProfile((layer,), bindings=("input", "output"))))
    assert written["Bindings"] == ["input", "output"]
    [row] = written["Layers"]
    assert (row["Name"], row["LayerType"], row["TacticName"]) == ("conv + relu", "CaskConvolution", "sm90_fprop")
    assert row["Metadata"] == "[ONNX Layer: conv]\x1e[ONNX Layer: relu]"


@pytest.mark.parametrize(
    "inspected",
    [
        {"Layers": [CONV_86], "Bindings": ["x", "y"]},
        {"Layers": [CONV_11], "I/O Tensors": [{"Name": "x", "Dimensions": [1, 4], "Format": "Linear"}]},
        {"Layers": ["conv", "relu"], "Bindings": ["x", "y"]},
    ],
    ids=["8.6", "11", "names only"],
)
def test_layer_info_is_that_of_the_inspector(inspected: dict[str, Any]) -> None:
    profile = LayerProfile(parse_layers(inspected), 10, ("x", "y"), read_inspector_json(json.dumps(inspected)))
    sent = codec.decode(LayerProfile, json.loads(json.dumps(codec.encode(profile))))
    assert json.loads(export_layer_info(sent)) == inspected


def test_similar_node_ids_have_different_files() -> None:
    alike = [dataclasses.replace(RUN[0], node_id=f"a.py::test_a[{batch}]") for batch in ("b_1", "b/1", "b-1")]
    names = [name for name in dict(files(alike)) if name.endswith(".txt")]
    assert len(set(names)) == 3
    assert names[0] == "a.py-test-a-b-1.txt"


def test_folder_has_a_summary_and_exports_of_each_measured_test(tmp_path) -> None:
    from pytest_trt.report.header import Header
    from pytest_trt.report.write import write

    write("trtexec", tmp_path / "out", RUN, Header("GPU", "TensorRT"))
    measured_results = [r for r in RUN if r.measurement is not None and any(s.blocks for s in r.measurement.samples)]
    times = sorted((tmp_path / "out").glob("*.times.json"))
    assert len(times) == len(measured_results) > 0
    rows = json.loads(times[0].read_text())
    assert {"h2dMs", "computeMs", "d2hMs", "latencyMs"} <= set(rows[0])
    for file in (tmp_path / "out").glob("*.txt"):
        assert "=== Performance summary ===" in file.read_text()
