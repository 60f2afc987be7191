"""Test which packages are installed."""

from __future__ import annotations

from pytest_trt.engine.backends.installed import is_installed


def test_is_installed_imports_nothing():
    assert is_installed("onnxruntime")
    assert not is_installed("no_such_package")
