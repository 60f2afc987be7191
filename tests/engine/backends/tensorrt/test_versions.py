"""Test the table of capabilities against installed packages and recorded versions."""

from __future__ import annotations

import importlib
import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest
from samples import ROOT

from pytest_trt.core.backends import BACKENDS
from pytest_trt.engine.backends.tensorrt import versions
from pytest_trt.errors import BackendError, BuildError

INSTALLED = [name for name in ("tensorrt", "tensorrt_rtx") if importlib.util.find_spec(name)]


@pytest.fixture(params=INSTALLED)
def trt(request: pytest.FixtureRequest) -> Any:
    return importlib.import_module(request.param)


@pytest.mark.parametrize("what", versions.SUPPORT)
def test_table_matches_the_installed_package(trt: Any, what: str) -> None:
    version = versions.parse_version(trt.__version__)
    assert versions.has(trt, what) == versions.SUPPORT[what].includes(trt.__name__, version)


def test_table_matches_every_recorded_version() -> None:
    """tensorrt_api.json records the names in the bindings of each version on PyPI."""
    recorded = json.loads((Path(__file__).parent / "tensorrt_api.json").read_text())
    order = [versions.parse_version(version) for version in recorded["versions"]]
    spans = dict.fromkeys(recorded["always"], (order[0], order[-1]))
    spans |= {name: tuple(map(versions.parse_version, span)) for name, span in recorded["names"].items()}

    def has(name: str, version: versions.Version) -> bool:
        first, last = spans.get(name, (versions.NEVER, versions.NEVER))
        return first <= version <= last

    wrong = [
        (what, version)
        for what, support in versions.SUPPORT.items()
        for version in order
        if support.includes("tensorrt", version) != has(support.attribute, version)
    ]
    assert wrong == []


@pytest.mark.parametrize(
    ("name", "version", "typed"),
    [
        ("tensorrt", "8.6.0", False),
        ("tensorrt", "10.16.1.11", False),
        ("tensorrt", "11.0.0", True),
        ("tensorrt_rtx", "1.7.1.116", True),
        ("tensorrt_lean", "11.0", False),
    ],
)
def test_strongly_typed_versions(name: str, version: str, typed: bool) -> None:
    assert versions.strongly_typed(name, version) is typed


@pytest.mark.parametrize(
    ("what", "description"),
    [
        ("fp16", "TensorRT from 8.6 to before 11.0"),
        ("progress", "TensorRT 9.1 and later and TensorRT-RTX"),
        ("compute_capabilities", "TensorRT-RTX"),
    ],
)
def test_support_is_described_in_words(what: str, description: str) -> None:
    assert versions.SUPPORT[what].describe() == description


@pytest.mark.skipif("tensorrt_rtx" not in INSTALLED, reason="needs the package tensorrt_rtx")
def test_missing_option_names_the_versions_that_have_it() -> None:
    trt = importlib.import_module("tensorrt_rtx")
    with pytest.raises(
        BuildError, match=r"fp16 is not in tensorrt_rtx 1\..*: TensorRT from 8\.6 to before 11\.0 has it"
    ):
        versions.require(trt, "fp16")
    assert versions.require(trt, "tf32") is trt.BuilderFlag.TF32
    for kind in ("FLOAT", "HALF", "INT64", "BOOL"):
        assert versions.dtype(getattr(trt.DataType, kind)) in ("float32", "float16", "int64", "bool")


def test_missing_package_names_the_install_command() -> None:
    packages = (name for name, info in BACKENDS.items() if info.plan_product)
    missing = next((name for name in packages if not importlib.util.find_spec(name)), None)
    if missing is None:
        pytest.skip("needs one of TensorRT's packages to be absent")
    with pytest.raises(BackendError, match=rf"{missing} cannot be imported .*pip install"):
        versions.import_package(missing)


def test_invalid_version_is_an_error() -> None:
    assert versions.parse_version("10.16.1.11") == (10, 16)
    with pytest.raises(BackendError, match="'nightly' is not a version"):
        versions.parse_version("nightly")


def test_the_documentation_has_the_table_of_options() -> None:
    page = ROOT / "docs" / "reference" / "tensorrt-versions.md"
    assert versions.option_table() in page.read_text()
