"""The names of the precisions that layers report."""

from __future__ import annotations

UNREPORTED = "untold"
"""The precision of a fused layer: the builder does not report in which precision such a layer computes."""

FP32 = frozenset(("fp32", "float32"))
"""The names of single precision: TensorRT's layers have the first, and ONNX Runtime's have NumPy's."""
