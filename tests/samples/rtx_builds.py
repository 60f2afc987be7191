"""Builds with TensorRT-RTX ahead of time, on a machine that needs no GPU."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pytest_trt.engine.backends.base import BuildJob, BuildReport, backend
from pytest_trt.spec.engine_spec import EngineSpec

PROFILE = {"x": ((1, 3, 16, 16), (2, 3, 16, 16), (4, 3, 16, 16))}
"""An optimisation profile of `conv_model`: the least, the optimal and the largest shape."""


def build(model: Path, folder: Path, profiles: tuple[Any, ...] = (), **spec: Any) -> tuple[BuildReport, list[Any]]:
    """Build a model for compute capability 8.9, with options of EngineSpec, into `folder`.

    Returns:
        The report of the build, and each reported progress as its text and share.
    """
    progress: list[Any] = []
    made = EngineSpec(**{"compute_capabilities": (89,), **spec})
    job = BuildJob("tensorrt_rtx", "0", made, str(model), str(folder), profiles, str(folder / "timing.cache"))
    report = backend("tensorrt_rtx").build(job, lambda text, share: progress.append((text, share)))
    return report, progress
