"""Open sessions that really use an execution provider on the GPU.

If a provider does not load, ONNX Runtime writes that to its log and runs the model on the CPU. Here it is an error.
"""

from __future__ import annotations

import functools
import importlib.metadata
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pytest_trt.core.backends import BACKENDS
from pytest_trt.engine.backends.onnxruntime_gpu.libraries import load_dependencies, missing_library, packaged_libraries
from pytest_trt.engine.backends.onnxruntime_session import cannot_load, create_session
from pytest_trt.engine.onnx.messages import readable_message
from pytest_trt.errors import BackendError, BuildError

CUDA, TENSORRT = "CUDAExecutionProvider", "TensorrtExecutionProvider"
"""ONNX Runtime's names of the providers."""

PROVIDERS = {"onnxruntime_cuda": (CUDA,), "onnxruntime_tensorrt": (TENSORRT, CUDA)}
"""The providers of each backend, the preferred one first. What none of them runs, the CPU provider runs."""

_LIBRARIES = {CUDA: "libonnxruntime_providers_cuda.so", TENSORRT: "libonnxruntime_providers_tensorrt.so"}

Providers = Sequence[tuple[str, Mapping[str, str]]]
"""Providers with their options."""


def require_package(ort: Any, backend: str) -> None:
    """Raise BackendError if the installed ONNX Runtime was built without a provider of the backend."""
    available = ort.get_available_providers()
    for provider in PROVIDERS[backend]:
        if provider not in available:
            raise BackendError(
                f"onnxruntime {ort.__version__} has no {provider}, only {', '.join(available)}: "
                f"{_package_remedy(backend)}"
            )


def _package_remedy(backend: str) -> str:
    """Return how to get a package with the providers. Two packages contain the module: the later one overwrites it."""
    installed = {name for name in ("onnxruntime", "onnxruntime-gpu") if _is_distribution(name)}
    if len(installed) == 2:
        return (
            "onnxruntime and onnxruntime-gpu are both installed, and one overwrites the other: pip uninstall both, "
            "then pip install onnxruntime-gpu"
        )
    return f"{'pip uninstall onnxruntime, then ' if installed else ''}{BACKENDS[backend].install}"


def _is_distribution(name: str) -> bool:
    try:
        importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


@functools.cache
def load_provider(ort: Any, provider: str, device: int) -> None:
    """Load a provider in this process, and try it on a model of one operator.

    Args:
        ort: The module `onnxruntime`.
        provider: The provider's name.
        device: The number of the GPU.

    Raises:
        BackendError: The provider does not load, or does not work on the GPU. The error names the library that is
            missing.
    """
    library = Path(ort.__file__).parent / "capi" / _LIBRARIES[provider]
    for attempt in range(2):
        options = ort.SessionOptions()
        options.log_severity_level = 4  # The errors below say more.
        try:
            session = ort.InferenceSession(
                _tiny_model(), options, providers=[(provider, {"device_id": str(device)})], enable_fallback=0
            )
            if provider in session.get_providers():
                return
            message = ""
        except Exception as error:  # noqa: BLE001 - ONNX Runtime's exceptions share no base class but Exception
            message = str(error)
            if _cuda_failure(message):
                break
        if attempt == 0:
            message = load_dependencies(library) or message
            if missing_library(message):
                break
    raise BackendError(describe_failure(ort.__version__, getattr(ort, "cuda_version", ""), provider, message))


def describe_failure(version: str, cuda_version: str, provider: str, message: str) -> str:
    """Return an error message that says why a provider does not load, with a remedy.

    Args:
        version: The version of ONNX Runtime.
        cuda_version: The CUDA version that ONNX Runtime was built for; empty if it is not known.
        provider: The provider's name.
        message: The message of the dynamic linker or of ONNX Runtime.
    """
    text = f"the {provider} of onnxruntime-gpu {version} does not load: "
    if failure := _cuda_failure(message):
        return f"{text}{failure}: check the GPU and its driver with nvidia-smi, and CUDA_VISIBLE_DEVICES"
    name = missing_library(message)
    if not name:
        return f"{text}{readable_message(Exception(message))}"
    base = name.partition(".so")[0]
    if base == "libcuda":
        return f"{text}{name} is missing: it belongs to the NVIDIA driver: install it, or run on a machine that has one"
    others = sorted({path.name for path in packaged_libraries(f"{base}.so.*")} - {name})
    if others:
        text += f"{name} is missing, and {', '.join(others)} is of another version"
    else:
        text += f"{name} is missing"
    if base.startswith(("libnvinfer", "libnvonnxparser")):
        return f"{text}: install the TensorRT whose version it names, or put it where the dynamic linker finds it"
    needs = f"it was built for CUDA {cuda_version}: " if cuda_version else ""
    return (
        f"{text}: {needs}pip install 'onnxruntime-gpu[cuda,cudnn]', or put the library where the dynamic linker finds "
        "it (LD_LIBRARY_PATH)"
    )


def _cuda_failure(message: str) -> str:
    """Return the CUDA error in a message of ONNX Runtime; empty if there is none."""
    found = re.search(r"(CUDA|CUDNN|CUBLAS) failure (\d+): (.*?)\s*;", message)
    return f"{found[1]} failure {found[2]}: {found[3]}" if found else ""


def open_session(ort: Any, model: Path, options: Any, providers: Providers) -> Any:
    """Return a session whose first provider has loaded.

    Args:
        ort: The module `onnxruntime`.
        model: The model.
        options: The session's options.
        providers: The providers with their options.

    Raises:
        BackendError: The first provider does not load, or the GPU fails.
        BuildError: ONNX Runtime cannot load the model.
    """
    for name, values in providers:
        load_provider(ort, name, int(values["device_id"]))
    try:
        found = create_session(ort, model, options, providers=list(providers), enable_fallback=0)
    except Exception as error:  # ONNX Runtime's exceptions share no base class but Exception.
        if failure := _cuda_failure(str(error)):
            raise BackendError(f"ONNX Runtime {ort.__version__} cannot load the model: {failure}") from error
        raise BuildError(cannot_load(ort, model, error)) from error
    if providers[0][0] not in found.get_providers():
        raise BackendError(
            f"the {providers[0][0]} of onnxruntime-gpu {ort.__version__} did not load for this model: the session has "
            f"only {', '.join(found.get_providers())}"
        )
    return found


@functools.cache
def _tiny_model() -> bytes:
    """Return a model of one operator."""
    from onnx import TensorProto, helper

    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "xy")
    graph = helper.make_graph([helper.make_node("Neg", ["x"], ["y"])], "g", [x], [y])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    return bytes(model.SerializeToString())
