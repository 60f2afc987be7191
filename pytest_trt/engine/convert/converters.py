"""Find the installed packages that convert models to half precisions."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.metadata
import importlib.util
from collections.abc import Iterator

from pytest_trt.errors import BuildError


@dataclasses.dataclass(frozen=True)
class _Package:
    """A package that converts models to half precisions.

    Attributes:
        distribution: Its name on PyPI.
        requires: The modules that must be importable.
        module: The module with the conversion.
        runs_model: Whether it runs the model to choose the operators that stay float32.
    """

    distribution: str
    requires: tuple[str, ...]
    module: str
    runs_model: bool = False


PACKAGES = (
    _Package("nvidia-modelopt", ("modelopt", "onnx_graphsurgeon"), "modelopt.onnx.autocast", runs_model=True),
    _Package("onnxruntime", ("onnxruntime",), "onnxruntime.transformers.float16"),
    _Package("onnxruntime-gpu", ("onnxruntime",), "onnxruntime.transformers.float16"),
    _Package("onnxconverter-common", ("onnxconverter_common",), "onnxconverter_common.float16"),
)
"""The best one first."""


@dataclasses.dataclass(frozen=True)
class Converter:
    """An installed package that converts models.

    Attributes:
        name: The package's name and version.
        module: The module with the conversion.
        runs_model: Whether it runs the model to choose the operators that stay float32.
    """

    name: str
    module: str
    runs_model: bool


def find_converters() -> list[Converter]:
    """Return the installed converters, at least one, the best one first.

    Raises:
        BuildError: No converter is installed.
    """
    if found := list(_installed()):
        return found
    raise BuildError(
        "this backend builds models in their own types, and no package that converts a model is installed: "
        "pip install 'nvidia-modelopt[onnx]', onnxruntime, or onnxconverter-common"
    )


def _installed() -> Iterator[Converter]:
    for package in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            version = importlib.metadata.version(package.distribution)
            if all(importlib.util.find_spec(name) for name in package.requires):
                yield Converter(f"{package.distribution} {version}", package.module, package.runs_model)
