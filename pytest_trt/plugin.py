"""The hooks, and nothing else. Rooms are imported when a hook needs them: a run without such tests pays for none."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import pytest

from pytest_trt import settings as options
from pytest_trt.fixtures import trt_build, trt_case, trt_device, trt_engine, trt_runner, trt_spec
from pytest_trt.session import DECLARATION, FIXTURES, RESULT, SESSION, Session, of

__all__ = ["trt_build", "trt_case", "trt_device", "trt_engine", "trt_runner", "trt_spec"]


def pytest_addoption(parser: pytest.Parser) -> None:
    options.add_options(parser)


def pytest_configure(config: pytest.Config) -> None:
    from pytest_trt.markers import MARKERS

    for line in MARKERS.values():
        config.addinivalue_line("markers", line)
    config.stash[SESSION] = Session(config, options.parse(config))
    config.pluginmanager.register(config.stash[SESSION], "trt-session")


def pytest_unconfigure(config: pytest.Config) -> None:
    if SESSION in config.stash:
        of(config).close()


@pytest.hookimpl(tryfirst=True)
def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    from pytest_trt import markers
    from pytest_trt.errors import DeclarationError

    marks = list(metafunc.definition.iter_markers("trt_matrix"))
    if marks and "trt_case" in metafunc.fixturenames:
        try:
            cases = markers.combinations(markers.axes(marks))
        except DeclarationError as error:  # raised for good once everything is collected, so that pytest exits with 4
            of(metafunc.config).problems.append(f"{metafunc.definition.nodeid}: {error}")
        else:
            metafunc.parametrize("trt_case", cases, ids=[markers.case_id(case) for case in cases], indirect=True)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    session = of(config)
    ours = [item for item in items if _is_ours(item)]
    if session.settings.only and len(ours) < len(items):
        config.hook.pytest_deselected(items=[item for item in items if not _is_ours(item)])
        items[:] = ours
    if session.settings.skip:
        for item in ours:
            item.add_marker(pytest.mark.skip(reason="--trt-skip"))
        return
    session.collect(ours, check_devices=not config.option.collectonly)


def _is_ours(item: pytest.Item) -> bool:
    from pytest_trt.markers import MARKERS

    asks = not FIXTURES.isdisjoint(getattr(item, "fixturenames", ()))
    return asks or any(mark.name in MARKERS for mark in item.iter_markers())


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    if DECLARATION in pyfuncitem.stash and of(pyfuncitem.config).settings.build_only:
        of(pyfuncitem.config).build(pyfuncitem)
        return True
    return None


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, Any, Any]:
    from pytest_trt.errors import TrtError

    session = of(item.config)
    if DECLARATION not in item.stash:
        return (yield)
    try:
        outcome = yield
        text = session.judge(item)
    except TrtError as error:
        text = session.error(item, error)
    if text:
        pytest.fail(text, pytrace=False)
    return outcome


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, Any, Any]:
    report = yield
    if call.when == "call" and RESULT in item.stash:
        from pytest_trt import codec

        report.trt_result = codec.encode(item.stash[RESULT])
    return report


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    of(config).show(terminalreporter)


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    of(session.config).finish(session)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    of(node.config).merge(getattr(node, "workeroutput", {}))
