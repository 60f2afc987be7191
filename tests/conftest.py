"""Fixtures of all tests: small real models, and pytester runs with an engine cache of their own."""

from __future__ import annotations

import importlib
import pkgutil
import subprocess
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import onnx
import pytest
from samples.forked_python import SHORT, Forkserver, Popen
from samples.models import layers_model
from samples.pytest_startup import remember

import pytest_trt

pytest_plugins = ["pytester"]

PLAIN = (
    "--strict-markers -p no:cacheprovider -p no:hypothesispytest -p no:benchmark -p no:rerunfailures -p no:pytest-retry"
)
"""Options of every pytester run: they disable plugins that only cost time."""


@pytest.fixture
def save_model(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that saves a `layers_model` and returns its path."""

    def save(name: str = "m.onnx", folder: Path = tmp_path, **arguments: object) -> Path:
        path = folder / name
        onnx.save(layers_model(**arguments), str(path))  # type: ignore[arg-type]
        return path

    return save


@pytest.fixture(scope="session")
def engine_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One engine cache for all pytester runs of this process."""
    return tmp_path_factory.mktemp("engines") / "cache"


@pytest.fixture(scope="session")
def package_imported() -> None:
    """Import the whole package and the libraries that it imports lazily, and have pytest start faster.

    After a run in this process, pytester removes the modules that the run imported from `sys.modules`. A second import
    would create every class again, and some libraries cannot be imported twice.
    """
    for module in pkgutil.walk_packages(pytest_trt.__path__, "pytest_trt."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    for library in ("fsspec", "onnxruntime", "rich.console"):
        importlib.import_module(library)
    remember()


@pytest.fixture(scope="session")
def forkserver() -> Iterator[Forkserver]:
    """The process that the Python children of tests are forked from."""
    with Forkserver() as server:
        yield server


@pytest.fixture
def forked_children(forkserver: Forkserver, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fork the Python children of this test and of its children from the forkserver, and measure as shortly."""
    monkeypatch.setattr(subprocess, "Popen", Popen)
    for name, value in SHORT.items():
        monkeypatch.setattr(name, value)


@pytest.fixture
def pytester(
    package_imported: None, forked_children: None, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> pytest.Pytester:
    """A pytester whose runs in this process are like those in a process of their own.

    They leave every module as it was, and the warnings that are errors in this run are not errors in them. They load no
    pytest-retry, which cannot be configured twice in one process.
    """
    inline_run = pytester.inline_run

    def run(*arguments: Any, **options: Any) -> Any:
        with warnings.catch_warnings():
            warnings.resetwarnings()
            return inline_run("-p", "no:pytest-retry", *arguments, **options)

    monkeypatch.setattr(pytester, "inline_run", run)
    return pytester


@pytest.fixture
def project(
    pytester: pytest.Pytester,
    save_model: Callable[..., Path],
    engine_cache: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> pytest.Pytester:
    """A folder with m.onnx (x [N, 32] -> y) and an ini file that keeps measurements short.

    Every run reports to out.json. Lines are wide enough for pytest's summary to show whole messages. The lock of the
    device is not the one that other runs on this host use: no figure here needs the device alone.
    """
    save_model(folder=pytester.path)
    monkeypatch.setenv("TMPDIR", str(engine_cache.parent))
    monkeypatch.setattr(tempfile, "tempdir", None)  # a run in this process reads TMPDIR, too
    for name in ("GITHUB_STEP_SUMMARY", "PYTEST_ADDOPTS", "PYTHONDONTWRITEBYTECODE", "FORCE_COLOR", "PY_COLORS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COLUMNS", "150")
    pytester.makeini(
        f"""
        [pytest]
        addopts = {PLAIN}
        trt_cache_dir = {engine_cache}
        trt_backend = onnxruntime
        trt_min_time = 0
        trt_max_time = 1
        trt_resolution = 50%
        trt_report = json:out.json
        """
    )
    return pytester


@pytest.fixture(autouse=True)
def _outside_xdist(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide the xdist that this test may run under from the pytest runs within it."""
    for name in ("PYTEST_XDIST_WORKER", "PYTEST_XDIST_WORKER_COUNT", "PYTEST_XDIST_TESTRUNUID"):
        monkeypatch.delenv(name, raising=False)
