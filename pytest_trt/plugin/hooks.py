"""pytest's hooks. Modules are imported when a hook needs them: a run without tests of this plugin loads few."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import pytest

from pytest_trt.errors import DeclarationError, TrtError
from pytest_trt.plugin import unittest_cases
from pytest_trt.plugin.fixtures import trt_build, trt_case, trt_device, trt_engine, trt_runner, trt_spec
from pytest_trt.plugin.options import add_options, uses_plugin
from pytest_trt.plugin.session import SESSION, Session, session_of
from pytest_trt.plugin.stash import ABSENT, CASES, DECLARATION, FAILED, PROBLEMS, RESULT, STORED, TRIAL, VERDICT_FAILED
from pytest_trt.spec import options

__all__ = ["trt_build", "trt_case", "trt_device", "trt_engine", "trt_runner", "trt_spec"]

_SETUP_ERROR: pytest.StashKey[TrtError] = pytest.StashKey()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Register the options and ini settings."""
    add_options(parser)


def pytest_configure(config: pytest.Config) -> None:
    """Register the markers, and start the session."""
    for line in options.MARKERS.values():
        config.addinivalue_line("markers", line)
    config.stash[SESSION] = Session(config)
    config.pluginmanager.register(config.stash[SESSION], "trt-session")
    config.pluginmanager.register(config.stash[SESSION].collecting, "trt-collecting")


def pytest_unconfigure(config: pytest.Config) -> None:
    """End the processes that the session started."""
    if SESSION in config.stash:
        session_of(config).close()


@pytest.hookimpl(tryfirst=True)
def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Parametrize a test with the combinations of its `trt_matrix`."""
    marks = list(metafunc.definition.iter_markers("trt_matrix"))
    if marks and "trt_case" in metafunc.fixturenames:
        from pytest_trt.spec import markers
        from pytest_trt.spec.case_ids import case_id

        try:
            cases = markers.combinations(markers.matrix_axes(marks))
        except DeclarationError as error:  # shown once everything is collected, so that pytest exits with 4
            session_of(metafunc.config).problems.append(f"{metafunc.definition.nodeid}: {error}")
        else:
            metafunc.parametrize("trt_case", cases, ids=[case_id(case) for case in cases], indirect=True)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_pycollect_makeitem() -> Generator[None, Any, Any]:
    """Store all cases of a test's function with each of them, before any is deselected."""
    items = yield
    if isinstance(items, list) and items and uses_plugin(items[0]):
        for item in items:
            item.stash[CASES] = items
    return items


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Choose, declare and check the tests."""
    session_of(config).collecting.collect(items)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None, Any, Any]:
    """Let an error of our fixtures fail the test in its call, where it is judged."""
    if PROBLEMS in item.stash or ABSENT in item.stash:
        item.setup = lambda: None  # type: ignore[method-assign]
    _discard_earlier_run(item)
    try:
        return (yield)
    except TrtError as error:
        if not uses_plugin(item):
            raise
        item.stash[_SETUP_ERROR] = error  # an engine that cannot be built is a failing test, not an error in a fixture


def _discard_earlier_run(item: pytest.Item) -> None:
    """Discard what an earlier run of this test left: pytest-rerunfailures runs a test again, and it is judged again."""
    _discard(item, _SETUP_ERROR, TRIAL, RESULT, FAILED, VERDICT_FAILED)
    session_of(item.config).failed_tests.discard(item.nodeid)
    item.user_properties[:] = [pair for pair in item.user_properties if not pair[0].startswith("trt_")]


def _discard(item: pytest.Item, *keys: pytest.StashKey[Any]) -> None:
    for key in keys:
        if key in item.stash:
            del item.stash[key]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, Any, Any]:
    """Run the body of a test, then judge it. With --trt-build-only, build its engine instead."""
    if PROBLEMS in item.stash:
        pytest.fail(item.stash[PROBLEMS], pytrace=False)
    if ABSENT in item.stash:
        _leave_out(item, item.stash[ABSENT])
    if not (uses_plugin(item) or STORED in item.stash):
        return (yield)
    session = session_of(item.config)
    if DECLARATION in item.stash and session.settings.build_only:
        item.runtest = lambda: session.build(item)  # type: ignore[method-assign]
    try:
        if _SETUP_ERROR in item.stash:
            raise item.stash[_SETUP_ERROR]
        try:
            outcome = yield
        except BaseException as error:
            item.stash[FAILED] = True
            if not (text := session.judge.judge_after_error(item, error)):
                raise
        else:
            caught = unittest_cases.caught_exception(item)
            item.stash[FAILED] = caught is not None
            text = session.judge.judge(item) if caught is None else session.judge.judge_after_error(item, caught)
    except TrtError as error:
        item.stash[FAILED] = True
        text = session.judge.error_text(item, error)
    if text:
        item.stash[VERDICT_FAILED] = True
        unittest_cases.fail_test(item, text)
    return outcome


def _leave_out(item: pytest.Item, reason: str) -> None:
    """Skip a test whose device is not there; fail it if the run requires a verdict of every test."""
    if text := session_of(item.config).judge.judge_missing(item, reason):
        item.stash[VERDICT_FAILED] = True
        pytest.fail(text, pytrace=False)
    pytest.skip(reason)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, Any, Any]:
    """Add the result to the report of the teardown, which ends the last run of the test.

    The report also travels from an xdist worker to the controller.
    """
    report = yield
    if call.when == "setup" and DECLARATION in item.stash and PROBLEMS not in item.stash:
        report.trt_started = True
    if call.when == "call" and VERDICT_FAILED in item.stash:
        report.trt_verdict_failed = True
        _point_to_test(report)
    if call.when == "teardown" and RESULT in item.stash:
        report.trt_result = session_of(item.config).outcome.line_of(item.stash[RESULT])
    return report


def _point_to_test(report: Any) -> None:
    """Let the failure name the line of the test, which --tb=line shows, instead of a line of this plugin."""
    crash = getattr(report.longrepr, "reprcrash", None)
    if crash is not None:
        path, line, _ = report.location
        crash.path, crash.lineno = path, (line or 0) + 1


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, Any, Any]:
    """Save the measurement after all reports of the test, which show whether it failed. Then forget it."""
    if DECLARATION in item.stash:
        session_of(item.config).progress.begin_test(item.nodeid.partition("::")[2])
    try:
        return (yield)
    finally:
        session_of(item.config).progress.end_test()
        if RESULT in item.stash:
            session_of(item.config).save(item)
        _discard(item, TRIAL, RESULT)  # pytest keeps every item until the run ends


@pytest.hookimpl(wrapper=True)
def pytest_runtestloop(session: pytest.Session) -> Generator[None, Any, Any]:
    """Build engines first, with --trt-prebuild. At the end, complete the verdicts that need all tests together.

    Tests that fail by such a verdict are reported as errors.
    """
    ours = session_of(session.config)
    if session.items and ours.options and ours.settings.prebuild and not (ours.problems or ours.collecting.only_lists):
        from pytest_trt.plugin.prebuild import prebuild_engines

        prebuild_engines(ours, session.items)
    try:
        return (yield)
    finally:
        for report in ours.outcome.settle():
            session.config.hook.pytest_runtest_logreport(report=report)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Remember which tests are expected to have a verdict."""
    session_of(session.config).expect([item for item in session.items if DECLARATION in item.stash])


def pytest_report_collectionfinish(config: pytest.Config, items: list[pytest.Item]) -> str:
    """Say where the tests of this plugin run, and what they are compared with."""
    declared = [item.stash[DECLARATION] for item in items if DECLARATION in item.stash]
    if not declared:
        return ""
    from pytest_trt.plugin.start_line import start_line

    return start_line(session_of(config), declared)


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Show the table, the reports and the problems."""
    session_of(config).show(terminalreporter)


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Write the reports, and set the exit status."""
    session_of(session.config).finish(session)


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Prepare what an xdist worker receives from the controller."""
    session_of(node.config).prepare_worker(node)


@pytest.hookimpl(optionalhook=True)
def pytest_handlecrashitem(crashitem: str, sched: Any) -> None:
    """Record an error for the test during which an xdist worker crashed."""
    session_of(sched.config).outcome.add_lost_test(crashitem)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any, error: object) -> None:
    """Collect the problems and warnings of an xdist worker that ended."""
    session_of(node.config).outcome.merge_worker(node.gateway.id, None if error else getattr(node, "workeroutput", {}))
