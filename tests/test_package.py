"""Test what users install: documented public names, and a complete wheel."""

from __future__ import annotations

import inspect
import subprocess
import sys
import tarfile
import zipfile
from importlib.metadata import entry_points
from pathlib import Path

import pytest

import pytest_trt
from pytest_trt.plugin import fixtures
from pytest_trt.plugin.options import FIXTURES
from pytest_trt.spec.options import MARKERS, OPTIONS

ROOT = Path(__file__).parents[1]
PUBLIC = [name for name in pytest_trt.__all__ if name != "__version__"]


@pytest.mark.parametrize("name", PUBLIC)
def test_public_names_and_their_methods_have_docstrings(name):
    public = getattr(pytest_trt, name)
    assert public.__module__.startswith("pytest_trt.")
    own = {key: member for key, member in vars(public).items() if not key.startswith("_")}
    parts = [public, *(m for m in own.values() if isinstance(m, (property, classmethod)) or inspect.isfunction(m))]
    # what a dataclass writes by itself, its name and fields, is no docstring
    assert not [part for part in parts if (inspect.getdoc(part) or f"{name}(").startswith(f"{name}(")]


def test_fixtures_options_and_markers_are_described():
    for name in FIXTURES:
        assert inspect.getdoc(getattr(fixtures, name))
    assert all(option.help and not option.help.endswith(".") for option in OPTIONS)
    assert all(line.startswith(f"{name}(") and "): " in line for name, line in MARKERS.items())


def test_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'pytest_trt' has no attribute 'Sesion'"):
        pytest_trt.Sesion  # noqa: B018


def test_entry_points_are_installed():
    (plugin,) = (point for point in entry_points(group="pytest11") if point.name == "trt")
    assert plugin.value == "pytest_trt.plugin.hooks"
    (command,) = (point for point in entry_points(group="console_scripts") if point.name == "pytest-trt")
    assert callable(command.load())


def test_wheel_has_types_entry_points_and_license(tmp_path):
    build = "import sys; from hatchling.build import build_wheel; build_wheel(sys.argv[1])"
    subprocess.run([sys.executable, "-c", build, str(tmp_path)], cwd=ROOT, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("pytest_trt-*.whl")
    with zipfile.ZipFile(wheel) as opened:
        names = set(opened.namelist())
        info = next(name.partition("/")[0] for name in names if ".dist-info/" in name)
        metadata = opened.read(f"{info}/METADATA").decode()
        points = opened.read(f"{info}/entry_points.txt").decode()
    sources = {str(path.relative_to(ROOT)) for path in (ROOT / "pytest_trt").rglob("*.py")}
    assert sources <= names
    assert {"pytest_trt/py.typed", "pytest_trt/report/performance.yml", f"{info}/licenses/LICENSE"} <= names
    assert not [name for name in names if not name.startswith(("pytest_trt/", info))]
    assert "[pytest11]\ntrt = pytest_trt.plugin" in points
    assert "pytest-trt = pytest_trt.cli.main:main" in points
    assert "License-Expression: Apache-2.0" in metadata
    assert f"\nVersion: {pytest_trt.__version__}\n" in metadata
    for required in ("pytest>=8", "numpy", "onnx", "pytest-benchmark", "filelock", "platformdirs", "rich"):
        assert f"\nRequires-Dist: {required}" in metadata
    assert not [line for line in metadata.splitlines() if "Requires-Dist: onnxruntime" in line and "extra" not in line]


def test_the_source_distribution_has_the_documents_and_the_tests(tmp_path):
    build = "import sys; from hatchling.build import build_sdist; build_sdist(sys.argv[1])"
    subprocess.run([sys.executable, "-c", build, str(tmp_path)], cwd=ROOT, check=True, capture_output=True)
    (sdist,) = tmp_path.glob("pytest_trt-*.tar.gz")
    with tarfile.open(sdist) as opened:
        names = {name.partition("/")[2] for name in opened.getnames()}
    documents = {"README.md", "CHANGELOG.md", "CONTRIBUTING.md", "RELEASING.md", "SECURITY.md", "LICENSE"}
    assert documents | {"Makefile", "pyproject.toml", "docs/conf.py", "tests/typing/public_api.py"} <= names
    assert "example_project/.github/workflows/performance.yml" in names  # which a wheel copies
    assert {path.name for path in ROOT.glob("*.md")} <= names
    assert not [name for name in names if name.startswith("docs/_build")]
