"""Test the errors of providers that do not load, with the messages that onnxruntime-gpu 1.31.1 wrote."""

from __future__ import annotations

import onnxruntime
import pytest

from pytest_trt.engine.backends import cuda
from pytest_trt.engine.backends.base import backend
from pytest_trt.engine.backends.installed import is_installed
from pytest_trt.engine.backends.onnxruntime_gpu.provider import CUDA, TENSORRT, describe_failure, load_provider
from pytest_trt.errors import BackendError

ABSENT = not is_installed("onnxruntime_cuda")

LOAD_FAILURE = (
    "/onnxruntime_src/onnxruntime/core/session/provider_bridge_ort.cc:2043 onnxruntime::Provider& "
    "onnxruntime::ProviderLibrary::Get() [ONNXRuntimeError] : 1 : FAIL : Failed to load library "
    "/site-packages/onnxruntime/capi/libonnxruntime_providers_cuda.so with error: {library}: cannot open shared object "
    "file: No such file or directory"
)
NO_DEVICE = (
    "/onnxruntime_src/onnxruntime/core/providers/cuda/cuda_call.cc:146 std::conditional_t<THRW, void, common::Status> "
    "onnxruntime::CudaCall(ERRTYPE, const char*, const char*, SUCCTYPE, const char*, const char*, int) [with ERRTYPE = "
    "cudaError; bool THRW = true; SUCCTYPE = cudaError; std::conditional_t<THRW, void, common::Status> = void] CUDA "
    "failure 100: no CUDA-capable device is detected ; GPU=-1 ; hostname=vm ; file=cuda_execution_provider.cc ; "
    "line=355 ; expr=cudaSetDevice(info_.device_id);"
)


@pytest.mark.parametrize(
    ("provider", "library", "message"),
    [
        (
            CUDA,
            "libcublasLt.so.13",
            "libcublasLt.so.13 is missing: it was built for CUDA 13.0: pip install 'onnxruntime",
        ),
        (CUDA, "libcudnn.so.9", "libcudnn.so.9 is missing: it was built for CUDA 13.0: pip install"),
        (CUDA, "libcuda.so.1", "libcuda.so.1 is missing: it belongs to the NVIDIA driver"),
        (TENSORRT, "libnvinfer.so.10", "libnvinfer.so.10 is missing: install the TensorRT whose version it names"),
    ],
)
def test_missing_library_is_named_with_a_remedy(provider, library, message):
    text = describe_failure("1.31.1", "13.0", provider, LOAD_FAILURE.format(library=library))
    assert text.startswith(f"the {provider} of onnxruntime-gpu 1.31.1 does not load: {message}")


def test_library_of_another_version_is_named_too(tmp_path, monkeypatch):
    folder = tmp_path / "nvidia" / "cublas" / "lib"
    folder.mkdir(parents=True)
    (folder / "libcublasLt.so.12").touch()
    monkeypatch.syspath_prepend(tmp_path)
    text = describe_failure("1.31.1", "13.0", CUDA, LOAD_FAILURE.format(library="libcublasLt.so.13"))
    assert "libcublasLt.so.13 is missing, and libcublasLt.so.12 is of another version: it was built for CUDA" in text


def test_cuda_failure_is_shown_without_source_positions():
    text = describe_failure("1.31.1", "13.0", CUDA, NO_DEVICE)
    assert "does not load: CUDA failure 100: no CUDA-capable device is detected: check the GPU" in text
    assert "cuda_call.cc" not in text


@pytest.mark.skipif(not ABSENT, reason="onnxruntime-gpu is installed")
@pytest.mark.parametrize("name", ["onnxruntime_cuda", "onnxruntime_tensorrt"])
def test_package_without_the_provider_is_an_error(name):
    with pytest.raises(BackendError, match=r"has no \w+ExecutionProvider, only .*CPU.*pip uninstall onnxruntime, then"):
        backend(name)


@pytest.mark.skipif(ABSENT, reason="needs onnxruntime-gpu: make test-ort-gpu")
@pytest.mark.skipif(cuda.reason_unusable() is None, reason="needs a machine without a GPU")
@pytest.mark.parametrize("provider", [CUDA, TENSORRT])
def test_real_provider_without_a_gpu_is_an_error_that_names_a_library(provider):
    with pytest.raises(BackendError, match=rf"the {provider} of onnxruntime-gpu \S+ does not load: lib\w+\.so\.\d+ is"):
        load_provider(onnxruntime, provider, 0)
