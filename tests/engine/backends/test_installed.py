"""Test which packages are installed."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

from pytest_trt.engine.backends.installed import is_installed


def test_is_installed_imports_nothing():
    assert is_installed("onnxruntime")
    assert not is_installed("no_such_package")


def test_backend_is_installed_only_with_its_library(tmp_path, monkeypatch):
    """The packages onnxruntime and onnxruntime-gpu contain one module; only the second has the provider."""
    monkeypatch.setattr("sys.path", [str(tmp_path)])
    (tmp_path / "onnxruntime" / "capi").mkdir(parents=True)
    (tmp_path / "onnxruntime" / "__init__.py").touch()
    monkeypatch.delitem(sys.modules, "onnxruntime", raising=False)
    importlib.invalidate_caches()
    assert is_installed("onnxruntime")
    assert not is_installed("onnxruntime_cuda")
    (tmp_path / "onnxruntime" / "capi" / "libonnxruntime_providers_cuda.so").touch()
    assert is_installed("onnxruntime_cuda")


def test_another_interpreter_is_asked_for_the_library():
    python = f"{Path(sys.executable).parent}/./{Path(sys.executable).name}"
    assert is_installed("onnxruntime", python) == is_installed("onnxruntime")
    assert is_installed("onnxruntime_cuda", python) == is_installed("onnxruntime_cuda")
