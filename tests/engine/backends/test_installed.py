"""Which packages are installed."""

from __future__ import annotations

from pytest_trt.engine.backends.installed import is_installed


def test_whether_a_package_is_there_is_known_without_importing_it():
    assert is_installed("onnxruntime")
    assert not is_installed("no_such_package")
