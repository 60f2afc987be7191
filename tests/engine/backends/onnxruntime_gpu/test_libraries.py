"""Test how the libraries of a provider are found."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_trt.engine.backends.onnxruntime_gpu.libraries import (
    load_dependencies,
    missing_library,
    packaged_libraries,
)


@pytest.mark.parametrize(
    ("message", "name"),
    [
        ("libcublasLt.so.13: cannot open shared object file: No such file or directory", "libcublasLt.so.13"),
        ("... with error: libnvinfer.so.10: cannot open shared object file: No such file", "libnvinfer.so.10"),
        ("/lib/libx.so: undefined symbol: f", ""),
        ("", ""),
    ],
)
def test_name_of_the_missing_library(message, name):
    assert missing_library(message) == name


def test_libraries_of_packages_are_found_on_every_path(tmp_path, monkeypatch):
    for folder in ("a/nvidia/cu13/lib", "b/nvidia/cudnn/lib", "b/tensorrt_libs"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "a/nvidia/cu13/lib/libcublas.so.13").touch()
    (tmp_path / "b/nvidia/cudnn/lib/libcudnn.so.9").touch()
    (tmp_path / "b/tensorrt_libs/libnvinfer.so.10").touch()
    for folder in "ab":
        monkeypatch.syspath_prepend(tmp_path / folder)
    for name in ("libcublas.so.13", "libcudnn.so.*", "libnvinfer.so.10"):
        assert [path for path in packaged_libraries(name) if tmp_path in path.parents]
    assert not list(packaged_libraries("libcublas.so.12"))


def test_library_that_does_not_exist_is_missing(tmp_path):
    assert "libnone.so: cannot open shared object file" in load_dependencies(tmp_path / "libnone.so")


def test_library_that_loads_misses_nothing():
    libraries = [line.split()[-1] for line in Path("/proc/self/maps").read_text().splitlines() if "libm.so" in line]
    assert load_dependencies(Path(libraries[0])) == ""
