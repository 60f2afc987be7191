"""What the tests of a pytest run, or of one xdist worker of it, share: settings, budgets, baselines and the bench."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_trt.core.foreign_text import escape_lines
from pytest_trt.errors import TrtError
from pytest_trt.plugin.options import read_options
from pytest_trt.plugin.outcome import RunOutcome
from pytest_trt.plugin.progress import ProgressLine

if TYPE_CHECKING:
    from pytest_trt.core.scratch import ScratchFolder
    from pytest_trt.plugin.baseline_source import BaselineSource
    from pytest_trt.plugin.judging import ItemJudge
    from pytest_trt.spec.budget_file import BudgetFile
    from pytest_trt.spec.settings import Settings
    from pytest_trt.trial.bench import Bench


class RunResources:
    """The resources of one pytest run, or of one xdist worker of it. Each is made when it is first needed.

    Attributes:
        config: pytest's configuration.
        is_worker: Whether this is an xdist worker.
        workers: The xdist workers of this controller.
        outcome: The outcome of the run.
        problems: The usage errors of the run.
        warnings: The warnings of the run.
        progress: The line that shows what is being done.
        options: The options and ini settings that are set, with their values and where each is set.

    Raises:
        pytest.UsageError: An option or ini setting of this plugin is wrong.
    """

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self.is_worker = hasattr(config, "workerinput")
        self.workers: list[Any] = []
        self.outcome = RunOutcome(config, lambda: self.settings)
        self.problems, self.warnings = self.outcome.problems, self.outcome.warnings
        self.progress = ProgressLine(config)
        try:
            self.options = read_options(config)
        except ValueError as error:
            raise pytest.UsageError(escape_lines(str(error))) from error
        if self.options:  # without options, nothing is parsed until a test of ours needs it
            assert self.settings

    @cached_property
    def settings(self) -> Settings:
        """The options and ini settings, parsed."""
        from pytest_trt.spec.parse_settings import parse_settings

        try:
            return parse_settings(self.options, str(self.config.rootpath))
        except TrtError as error:
            raise pytest.UsageError(str(error)) from error

    @cached_property
    def bench(self) -> Bench:
        """The resources that tests run with."""
        from pytest_trt.trial.bench import Bench

        received: dict[str, Any] = getattr(self.config, "workerinput", {})
        lost = Path(received["trt_lost"]) if "trt_lost" in received else None
        bench = Bench(self.settings, self.progress, warn=self.warnings.append, spread=True, lost=lost)
        if self.settings.hosts and received:
            bench.elsewhere.learn(received["trt_hosts"])
        return bench

    @cached_property
    def shared_folder(self) -> ScratchFolder:
        """The folder of files that the workers of this run share."""
        from pytest_trt.core.scratch import ScratchFolder

        return ScratchFolder("run")

    @cached_property
    def budgets(self) -> BudgetFile:
        """The budgets of the ini setting trt_budgets; empty without it. An invalid file is a problem of the run."""
        from pytest_trt.spec.budget_file import BudgetFile, read_budgets

        path = Path(self.settings.rootdir) / (self.settings.budgets or "")
        try:
            return read_budgets(path) if self.settings.budgets else BudgetFile(path)
        except TrtError as error:
            self.problems.append(str(error))
            return BudgetFile(path)

    @cached_property
    def baseline_source(self) -> BaselineSource:
        """The stored baselines or the git revision that tests are compared with."""
        from pytest_trt.plugin.baseline_source import BaselineSource, Invocation

        called = self.config.invocation_params
        invocation = Invocation(tuple(map(str, called.args)), str(called.dir), str(self.config.inipath or ""))
        received = self.config.workerinput.get("trt_against") if self.is_worker else None  # type: ignore[attr-defined]
        return BaselineSource(self.settings, invocation, received)

    @cached_property
    def judge(self) -> ItemJudge:
        """The judge of tests whose bodies have ended."""
        from pytest_trt.plugin.judging import ItemJudge

        return ItemJudge(self.settings, self.bench, self.baseline_source, self.warnings)

    def close(self) -> None:
        """End every process, and remove every worktree, that this run started."""
        if "bench" in self.__dict__:
            self.bench.close()
        if "baseline_source" in self.__dict__:
            self.baseline_source.close()
        if "shared_folder" in self.__dict__:
            self.shared_folder.close()
        self.outcome.close()
