"""Fixtures: a probe server, and a probe in a process of its own, with an engine of ONNX Runtime."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import pytest
from samples.forked_python import Forkserver, Popen

from pytest_trt.measure.engine_probe import EngineProbe, Subject
from pytest_trt.measure.probe.server import ProbeServer
from pytest_trt.spec.declaration import PipelineOptions
from pytest_trt.spec.engine_spec import EngineSpec


@pytest.fixture(scope="module", autouse=True)
def _probe_servers_are_forks(forkserver: Forkserver) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(subprocess, "Popen", Popen)
        yield


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
