"""Performance and accuracy tests of the two models."""

from __future__ import annotations

import numpy as np
import pytest


@pytest.mark.trt_engine("models/resnet.onnx", dims={"N": (1, 8, 32)})
@pytest.mark.trt_matrix(precision=["fp32", "fp16"], batch=[1, 8])
@pytest.mark.trt_budget(ms=2, memory_mb=600)
@pytest.mark.trt_budget("H200", ms=0.5, p99_ms=1, where={"precision": "fp16", "batch": 1})
@pytest.mark.trt_budget("cpu", ms=250)
def test_resnet(trt_runner):
    trt_runner.measure()


@pytest.mark.trt_engine("models/encoder.onnx", dims={"N": (1, 4, 16), "S": (16, 64, 128)})
@pytest.mark.trt_matrix(S=[32, 128])
@pytest.mark.trt_budget(ms=2)
@pytest.mark.trt_budget("cpu", ms=250, throughput=4)
@pytest.mark.trt_accuracy(reference="onnxruntime")
def test_encoder(trt_runner):
    trt_runner.measure()


@pytest.mark.trt_engine("models/resnet.onnx", dims={"N": (1, 8, 32)})
def test_logits_do_not_depend_on_the_rest_of_the_batch(trt_runner):
    images = np.random.default_rng(0).standard_normal((8, 3, 64, 64), dtype=np.float32)
    together = trt_runner({"image": images})["logits"]
    images[1:] = 0
    np.testing.assert_allclose(trt_runner({"image": images})["logits"][0], together[0], rtol=1e-2, atol=1e-2)
