"""The table of backends: their names, how to install them, and what they support.

A new backend is one row here, and one module that implements `pytest_trt.engine.backends.base.Backend`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Literal

BackendName = Literal[
    "auto", "tensorrt", "tensorrt_rtx", "tensorrt_lean", "tensorrt_dispatch", "onnxruntime_cuda",
    "onnxruntime_tensorrt", "onnxruntime",
]  # fmt: skip
"""The names that a spec, an option or an ini setting accepts. Only `pytest-trt backends` also runs PyTorch."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class BackendInfo:
    """A frozen record of the facts about a backend that are needed before it is imported.

    Attributes:
        label: The name in reports and messages.
        module: The module that defines `open_backend(name)`.
        install: The command that installs the backend.
        kind: The kind of device that runs the engines; `any` if the model decides.
        plan_product: The product that a plan's header names, for plans that this backend runs. It is empty if the
            backend runs no plans.
        builds: Whether it builds engines from ONNX models.
        runs_model: Whether its engine is the ONNX model itself: one engine serves every shape, precisions are
            converted in the model beforehand, and there are no build options, plugins or timing caches.
        ahead_of_time: Whether it builds engines for GPUs that this machine does not have.
        package: The module that the backend imports; empty if it has the backend's name.
        library: The file in the package's folder without which the package lacks the backend; empty if there is none.
    """

    label: str
    module: str
    install: str
    kind: Literal["gpu", "cpu", "any"] = "gpu"
    plan_product: str = ""
    builds: bool = True
    runs_model: bool = False
    ahead_of_time: bool = False
    package: str = ""
    library: str = ""

    @property
    def runs_plans(self) -> bool:
        """Whether the backend runs a plan that was built elsewhere."""
        return bool(self.plan_product)


_TENSORRT = "pytest_trt.engine.backends.tensorrt.backend"
_ONNXRUNTIME_GPU = "pytest_trt.engine.backends.onnxruntime_gpu.backend"

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
    "onnxruntime_cuda": BackendInfo(
        label="ONNX Runtime CUDA",
        module=_ONNXRUNTIME_GPU,
        install="pip install 'pytest-trt[ort-gpu]'",
        runs_model=True,
        package="onnxruntime",
        library="capi/libonnxruntime_providers_cuda.so",
    ),
    "onnxruntime_tensorrt": BackendInfo(
        label="ONNX Runtime TensorRT",
        module=_ONNXRUNTIME_GPU,
        install="pip install 'pytest-trt[ort-gpu]', and the TensorRT that it was built with",
        runs_model=True,
        package="onnxruntime",
        library="capi/libonnxruntime_providers_tensorrt.so",
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
"""All backends by name, in the order in which `auto` prefers them."""

REFERENCE: BackendName = "onnxruntime"
"""The backend whose fp32 outputs the others are compared with."""


def label_of(name: str) -> str:
    """Return the label of a backend. An unknown name, as in a file of another version, is its own label."""
    return BACKENDS[name].label if name in BACKENDS else name
