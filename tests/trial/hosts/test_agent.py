"""Test what an agent reports about its host."""

from __future__ import annotations

import importlib.util

import pytest

from pytest_trt.spec.settings import Settings
from pytest_trt.trial.hosts.agent import Agent
from pytest_trt.trial.hosts.link import Link


@pytest.mark.parametrize(
    ("packages", "sees_gpu", "missing"),
    [
        ({"numpy", "onnxruntime", "onnx"}, False, []),
        ({"onnxruntime"}, False, ["numpy", "onnx"]),
        ({"numpy", "tensorrt"}, True, ["cuda", "pynvml"]),
        ({"numpy", "tensorrt", "cuda", "pynvml"}, True, []),
        ({"numpy", "tensorrt"}, False, []),
        ({"numpy", "onnxruntime", "onnx"}, True, []),
    ],
)
def test_what_a_host_lacks_depends_on_its_backends_and_gpu(monkeypatch, packages, sees_gpu, missing):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name if name in packages else None)
    serving = Agent(Link(-1, -1), Settings())
    monkeypatch.setattr(serving._host, "sees_gpu", lambda: sees_gpu)
    assert serving.facts()["missing"] == missing
