"""The backends: what each is called, what installs it, and what it can do.

A new backend is one row here and one module that implements `pytest_trt.engine.backends.base.Backend`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Literal

BackendName = Literal["auto", "tensorrt", "tensorrt_rtx", "tensorrt_lean", "tensorrt_dispatch", "onnxruntime"]
"""What a spec, an option or an ini setting may name. PyTorch is only compared with, by `pytest-trt backends`."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class BackendInfo:
    """A frozen record of what the project knows of a backend without importing it.

    Attributes:
        label: The name that a person reads.
        module: The module with `open_backend(name)`.
        install: The command that installs the package of the backend's own name.
        kind: The kind of device that it runs engines on; `any` where the model decides.
        plan_product: The product that a plan's header names where this backend runs such plans.
        builds: Whether it builds engines from ONNX models.
        runs_model: Whether its engine is the ONNX model itself: one engine serves every shape, precisions are
            converted in the model beforehand, and there are no build options, plugins or timing caches.
        ahead_of_time: Whether it builds for compute capabilities that are not at hand.
    """

    label: str
    module: str
    install: str
    kind: Literal["gpu", "cpu", "any"] = "gpu"
    plan_product: str = ""
    builds: bool = True
    runs_model: bool = False
    ahead_of_time: bool = False

    @property
    def runs_plans(self) -> bool:
        """Whether it runs a plan that was built elsewhere."""
        return bool(self.plan_product)


_TENSORRT = "pytest_trt.engine.backends.tensorrt.backend"

BACKENDS: Mapping[str, BackendInfo] = {
    "tensorrt": BackendInfo(
        label="TensorRT",
        module=_TENSORRT,
        install="pip install 'pytest-trt[tensorrt]'",
        plan_product="TensorRT",
    ),
    "tensorrt_rtx": BackendInfo(
        label="TensorRT-RTX",
        module=_TENSORRT,
        install="pip install 'pytest-trt[rtx]'",
        plan_product="TensorRT-RTX",
        ahead_of_time=True,
    ),
    "tensorrt_lean": BackendInfo(
        label="TensorRT lean",
        module=_TENSORRT,
        install="pip install tensorrt-lean (it runs plans built with version_compatible=True)",
        plan_product="TensorRT",
        builds=False,
    ),
    "tensorrt_dispatch": BackendInfo(
        label="TensorRT dispatch",
        module=_TENSORRT,
        install="pip install tensorrt-dispatch (it runs plans built with version_compatible=True, by the lean runtime "
        "that they carry)",
        plan_product="TensorRT",
        builds=False,
    ),
    "onnxruntime": BackendInfo(
        label="ONNX Runtime",
        module="pytest_trt.engine.backends.onnxruntime",
        install="pip install 'pytest-trt[cpu]'",
        kind="cpu",
        runs_model=True,
    ),
    "pytorch": BackendInfo(
        label="PyTorch",
        module="pytest_trt.engine.backends.pytorch",
        install="pip install torch",
        kind="any",
        builds=False,
    ),
}
"""In the order in which `auto` prefers them."""

REFERENCE: BackendName = "onnxruntime"
"""The backend whose fp32 outputs the others are compared with."""


def label_of(name: str) -> str:
    """Return what a person reads for the backend, which a file of another version may name without a row here."""
    return BACKENDS[name].label if name in BACKENDS else name
