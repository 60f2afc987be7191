"""Named ranges for NVIDIA's profilers."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest

from pytest_trt.core import nvtx
from pytest_trt.measure.engine_probe import EngineProbe, Subject
from pytest_trt.measure.probe.server import ProbeServer
from pytest_trt.spec.declaration import PipelineOptions
from pytest_trt.spec.engine_spec import EngineSpec

STAND_IN = """
import pathlib

class annotate:
    def __init__(self, name, domain):
        self.name = f"{domain}:{name}"

    def __enter__(self):
        self.write("begin")

    def __exit__(self, *exception):
        self.write("end")

    def write(self, what):
        with pathlib.Path(__file__).with_name("ranges.txt").open("a") as file:
            file.write(f"{what} {self.name}\\n")
"""


def test_nvtx_accepts_ranges() -> None:
    package = pytest.importorskip("nvtx", reason="needs the package nvtx")
    nvtx._package.cache_clear()
    assert isinstance(nvtx.span("block"), package.annotate)
    with nvtx.span("block"), nvtx.span("compute"):
        pass


def test_range_does_nothing_without_nvtx(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nvtx, "_package", lambda: None)
    assert isinstance(nvtx.span("block"), contextlib.nullcontext)


def test_probe_marks_each_step_with_a_range(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, save_model) -> None:
    """Only a profiler sees real ranges, so the probe imports a substitute that writes them to a file."""
    (tmp_path / "nvtx.py").write_text(STAND_IN)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    subject = Subject(save_model(), "0", EngineSpec(), {"x": (4, 32)}, PipelineOptions())
    with ProbeServer("onnxruntime") as server, EngineProbe(server, subject) as probe:
        probe.block()
        probe.throughput(0.01)
        probe.profile(3)
    lines = (tmp_path / "ranges.txt").read_text().splitlines()
    names = [line.removeprefix("begin pytest-trt:") for line in lines if line.startswith("begin")]
    assert list(dict.fromkeys(names)) == ["activate", "load", "open", "draw", "block", "throughput", "profile"]
    assert lines[1::2] == [line.replace("begin", "end") for line in lines[::2]], (
        "each range ends before the next one begins"
    )
