"""The fixtures of this plugin. `trt_runner` is the test's Trial: its engine, its runner, its measurement."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_trt.plugin.session import session_of
from pytest_trt.plugin.stash import DECLARATION

if TYPE_CHECKING:
    from pytest_trt.core.records import Environment
    from pytest_trt.engine.provide import ProvidedEngine
    from pytest_trt.spec.declaration import Declaration
    from pytest_trt.spec.engine_spec import EngineSpec
    from pytest_trt.trial.trial import Trial


@pytest.fixture
def trt_case(request: pytest.FixtureRequest) -> dict[str, Any]:
    """Return this test's combination of `trt_matrix`, by axis; empty without a matrix."""
    return dict(getattr(request, "param", {}))


@pytest.fixture
def trt_spec(request: pytest.FixtureRequest, trt_case: dict[str, Any]) -> EngineSpec:
    """Return the engine that the test's markers declare.

    Override this fixture to make a spec in code: the matrix still applies.
    """
    return _declared(request).spec


def _declared(request: pytest.FixtureRequest) -> Declaration:
    """Return what the test declares.

    Raises:
        DeclarationError: The test was not recognised as one of this plugin when it was collected.
    """
    from pytest_trt.errors import DeclarationError

    if DECLARATION not in request.node.stash:
        raise DeclarationError(
            "the test does not request trt_runner itself, so nothing would be judged: name it among the test's "
            "arguments or in usefixtures, not in request.getfixturevalue()"
        )
    declaration: Declaration = request.node.stash[DECLARATION]
    return declaration


@pytest.fixture
def trt_runner(request: pytest.FixtureRequest, trt_spec: EngineSpec, trt_case: dict[str, Any]) -> Iterator[Trial]:
    """Provide the test's runner.

    `trt_runner(inputs)` infers once, `.stream(batches)` runs the overlapped pipeline, `.measure()` measures and judges,
    `.profile()` times the layers.
    """
    from pytest_trt.errors import DeclarationError
    from pytest_trt.spec.engine_spec import EngineSpec
    from pytest_trt.spec.markers import with_case

    item = request.node
    if not isinstance(trt_spec, EngineSpec):
        raise DeclarationError(f"the fixture trt_spec returned {trt_spec!r}: return a pytest_trt.EngineSpec")
    declared = dataclasses.replace(_declared(request), spec=trt_spec)
    trial = session_of(request.config).create_trial(item, with_case(declared, trt_case))
    try:
        yield trial
    finally:
        trial.close()


@pytest.fixture
def trt_engine(trt_runner: Trial) -> ProvidedEngine:
    """Return the test's engine, built or from the cache: its plan's path, digest, precisions and layers."""
    return trt_runner.engine


@pytest.fixture(scope="session")
def trt_build(request: pytest.FixtureRequest) -> Callable[..., ProvidedEngine]:
    """Return a function that builds an engine, or finds it in the cache: `trt_build(EngineSpec(path=...), batch=8)`.

    The keywords are the shape that is run. Relative paths start at the rootdir.
    """
    bench = session_of(request.config).bench
    folders = (Path(str(request.config.rootpath)),)

    def build(spec: EngineSpec, *, batch: int | None = None, **dims: int) -> ProvidedEngine:
        from pytest_trt.spec.declaration import Declaration, RunShape
        from pytest_trt.trial.case import Case

        with Case(bench, "trt_build", Declaration(spec=spec, run=RunShape(batch=batch, dims=dims)), folders) as case:
            return case.engine

    return build


@pytest.fixture(scope="session")
def trt_device(request: pytest.FixtureRequest) -> Environment:
    """Return the device and the software that tests run on, for the backend that the options choose."""
    from pytest_trt.spec.engine_spec import EngineSpec

    bench = session_of(request.config).bench
    return bench.environment(bench.backend_name(EngineSpec()))
