"""Fixtures: a probe server, and a probe in a process of its own, with an engine of ONNX Runtime."""

from __future__ import annotations

import pytest

from pytest_trt.measure.engine_probe import EngineProbe, Subject
from pytest_trt.measure.probe.server import ProbeServer
from pytest_trt.spec.declaration import PipelineOptions
from pytest_trt.spec.engine_spec import EngineSpec


@pytest.fixture(scope="module")
def server():
    with ProbeServer("onnxruntime") as server:
        yield server


@pytest.fixture
def subject(save_model):
    return Subject(save_model(), "0", EngineSpec(), {"x": (4, 32)}, PipelineOptions())


@pytest.fixture
def probe(server, subject):
    with EngineProbe(server, subject) as probe:
        yield probe
