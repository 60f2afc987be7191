"""Collect the tests of a run: choose and declare them, check them together, and prepare what they are compared with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pytest

from pytest_trt.core.foreign_text import escape_lines
from pytest_trt.errors import TrtError
from pytest_trt.plugin.options import has_plugin_marker, unknown_setting, uses_plugin
from pytest_trt.plugin.resources import RunResources
from pytest_trt.plugin.stash import ABSENT, DECLARATION, PROBLEMS, STORED

if TYPE_CHECKING:
    import warnings

    from pytest_trt.judge.baselines.known_tests import KnownTests


class Collecting:
    """The collection of a run, as a plugin of pytest.

    Args:
        run: The resources of the run.

    Attributes:
        known: The tests that exist; None before the collection, or without tests of this plugin.
    """

    def __init__(self, run: RunResources) -> None:
        self._run = run
        self._deselected: list[pytest.Item] = []
        self._collected_files: set[str] = set()
        self.known: KnownTests | None = None

    def collect(self, items: list[pytest.Item]) -> None:
        """Choose the tests that run, declare them, check them together, and prepare what they are compared with.

        Raises:
            pytest.UsageError: There are problems; it names them all. In a worker, the tests fail with them instead, and
                the controller receives them.
        """
        ours = any(uses_plugin(item) or has_plugin_marker(item) for item in items)
        if not (self._run.options or ours or (self._run.config.rootpath / ".trt-baselines").is_dir()):
            return  # with baselines and no test of ours, all of these tests are gone
        from pytest_trt.plugin import checks, collection
        from pytest_trt.plugin.known_tests import known_tests

        known, whole = [*items, *self._deselected], checks.collects_everything(self._run.config)
        self.known = known_tests(self._run.config, known, self._collected_files, whole=whole)
        running = collection.select(self._run.config, self._run.settings, items, self._mark_stored(items))
        problems, invalid = collection.declare_all(running, self._run.budgets, build_only=self._run.settings.build_only)
        self._run.problems += problems
        unmatched = checks.unmatched_budgets(self._run.config, self._run.budgets, known)
        (self._run.problems if self._run.settings.strict else self._run.warnings).extend(unmatched)
        self._run.problems += checks.ambiguous_node_ids(self._run.config, known)
        self._run.problems += checks.unmatched_where(running, known, whole=whole)
        self._prepare([item for item in running if DECLARATION in item.stash])
        self._find_orphans()
        self._end_collection([*invalid, *filter(uses_plugin, running)])

    def _mark_stored(self, items: Sequence[pytest.Item]) -> list[pytest.Item]:
        """Mark the tests that no longer use a fixture of this plugin but still have a baseline, and return them."""
        if self._is_remote and not any(
            map(uses_plugin, items)
        ):  # a run without tests of ours must not wait for a remote store
            return []
        source = self._run.baseline_source
        try:
            stored = [item for item in items if not uses_plugin(item) and source.has_baseline(item.nodeid)]
        except TrtError as error:
            self._run.problems.append(str(error))
            return []
        for item in stored:
            item.stash[STORED] = True
        return stored

    @property
    def _is_remote(self) -> bool:
        """Whether reading baselines takes a while: from a store, or from git."""
        return self._run.settings.baseline_dir.is_url or self._run.settings.baseline_ref is not None

    @property
    def only_lists(self) -> bool:
        """Whether pytest only lists tests or fixtures, and runs nothing."""
        return any(map(self._run.config.getoption, ("collectonly", "showfixtures", "show_fixtures_per_test")))

    def _prepare(self, declared: Sequence[pytest.Item]) -> None:
        """Check the devices and read the baselines, unless there are problems or nothing is to run."""
        if not declared or self._run.problems or self.only_lists:
            return
        from pytest_trt.plugin.checks import device_problems, find_absent_devices

        if not self._run.is_worker and (problems := self._run.bench.reach_hosts()):
            self._run.problems += problems
            return
        self._run.problems += find_absent_devices(self._run.bench, declared)
        declared = [item for item in declared if ABSENT not in item.stash]
        self._run.problems += device_problems(self._run.bench, [item.stash[DECLARATION] for item in declared])
        if self._run.problems or not declared:
            return
        try:
            named = {option.field for option, (_, origin) in self._run.options.items() if origin == option.flag}
            self._run.baseline_source.check_named(named)
            self._run.baseline_source.prepare(
                self._run.bench, {item.nodeid: item.stash[DECLARATION] for item in declared}
            )
        except TrtError as error:
            self._run.problems.append(str(error))

    def _find_orphans(self) -> None:
        """Report baselines whose tests are gone, if the whole suite was collected: a deleted test gates nothing."""
        settings, known = self._run.settings, self.known
        if self._run.problems or known is None or not known.whole or self.only_lists:
            return
        if settings.build_only or settings.baseline is None or settings.against or settings.skip or settings.disabled:
            return
        if self._is_remote and not known.node_ids:  # a run without tests of ours must not wait for a remote store
            return
        from pytest_trt.plugin.known_tests import orphaned_baselines

        try:
            baselines = self._run.baseline_source.baselines
            orphans = orphaned_baselines(known, baselines) if baselines is not None else ()
        except TrtError as error:
            self._run.problems.append(str(error))
            return
        if self._run.is_worker:
            self._run.config.workeroutput["trt_orphans"] = list(orphans)  # type: ignore[attr-defined]
        else:
            self._run.outcome.orphans.update(orphans)

    def _end_collection(self, ours: Sequence[pytest.Item]) -> None:
        """Raise the problems; in a worker, pass them to the controller and let each of `ours` fail with them."""
        problems = list(dict.fromkeys(self._run.problems))
        if problems and not self._run.is_worker:
            raise pytest.UsageError(escape_lines("\n".join(problems)))
        if self._run.is_worker:
            output: dict[str, Any] = self._run.config.workeroutput  # type: ignore[attr-defined]
            output.update(trt_problems=problems, trt_warnings=self._run.warnings)
        if problems:
            for item in ours:
                item.stash[PROBLEMS] = escape_lines("\n".join(problems))

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Remember the modules that were collected in full: an absent test of another module may only be hidden."""
        if report.passed and report.nodeid and "::" not in report.nodeid:
            self._collected_files.add(report.nodeid)

    def pytest_warning_recorded(self, warning_message: warnings.WarningMessage) -> None:
        """Make a misspelt ini setting a problem. Pytest only warns about it, and a check would silently be off."""
        problem = unknown_setting(str(warning_message.message))
        if problem and problem not in self._run.problems:
            self._run.problems.append(problem)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self) -> None:
        """Run nothing if pytest warned of a misspelt setting, which it does after the collection."""
        if self._run.problems and not self._run.is_worker:
            for worker in self._run.workers:  # otherwise, xdist waits ten seconds for them
                worker.shutdown()
            raise pytest.UsageError(escape_lines("\n".join(self._run.problems)))

    def pytest_deselected(self, items: list[pytest.Item]) -> None:
        """Remember the tests that do not run: a budget may be for one of them."""
        self._deselected += items
