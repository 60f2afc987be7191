"""Rows of one model on three backends: one agrees, one is inaccurate, one was not built."""

from pytest_trt.trial.lineup import Row

ROWS = [
    Row("ONNX Runtime fp32", "fp32", built=True, ran=True, figures={"ms": 8.0}, max_abs=0.0, cosine=1.0, agrees=True),
    Row("TensorRT fp16", "fp16", built=True, ran=True, figures={"ms": 0.5, "memory_mb": 30.0}, max_abs=0.01,
        cosine=0.99, agrees=False, departs="output 'y' departs", precisions={"fp16": 0.75, "fp32": 0.25}),
    Row("TensorRT int8", "int8", why="nothing to quantise"),
]  # fmt: skip
