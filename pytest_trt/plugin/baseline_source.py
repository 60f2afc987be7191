"""Provide what the tests of a run are compared with: stored baselines, or the engines of a git revision."""

from __future__ import annotations

import contextlib
import dataclasses
import re
from collections.abc import Collection, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_trt.errors import BackendError, DeclarationError
from pytest_trt.spec.declaration import Declaration
from pytest_trt.spec.settings import Settings

if TYPE_CHECKING:
    from pytest_trt.judge.baselines import BaselineFolder
    from pytest_trt.trial.against import RevisionBuilder
    from pytest_trt.trial.against.revision import Revision, Worktree
    from pytest_trt.trial.bench import Bench


@dataclasses.dataclass(frozen=True)
class Invocation:
    """A frozen record of how pytest was called: its arguments, the current folder, the ini file (or empty)."""

    arguments: tuple[str, ...]
    folder: str
    inifile: str


class BaselineSource:
    """The baselines of a run, or the git revision that it is compared with. Close it.

    Methods let every TrtError of the baselines or of the revision pass through.

    Args:
        settings: The settings of the run.
        invocation: How pytest was called; a revision's tests are collected in the same way.
        received: In an xdist worker, what `for_workers` returned in the controller.
    """

    def __init__(self, settings: Settings, invocation: Invocation, received: Any = None) -> None:
        self._settings = settings
        self._builder = _revision_builder(settings, invocation, received)
        self.revision: Revision | None = None

    @cached_property
    def baselines(self) -> BaselineFolder | None:
        """The stored baselines; None with --trt-baseline=off."""
        from pytest_trt.judge.baselines import open_baselines

        settings = self._settings
        if settings.baseline is None:
            return None
        return open_baselines(
            settings.baseline_dir, settings.baseline, revision=settings.baseline_ref, rootdir=Path(settings.rootdir)
        )

    def has_baseline(self, node_id: str) -> bool:
        """Whether the test has a stored baseline on any device, and this run compares with stored baselines."""
        settings = self._settings
        if settings.disabled or settings.skip or settings.against or self.baselines is None:
            return False
        return self.baselines.has_test(node_id)

    @property
    def worktree(self) -> Worktree | None:
        """Where the revision's files are; None if there is no revision, or it is not checked out yet."""
        return None if self._builder is None else self._builder.worktree

    def for_workers(self) -> dict[str, Any] | None:
        """Check out the revision, and return it in the form that xdist's workers receive."""
        return None if self._builder is None else self._builder.encode()

    def check_named(self, named: Collection[str]) -> None:
        """Check that what the command line names exists, unless this run saves.

        Args:
            named: The fields of Settings that were given on the command line.

        Raises:
            DeclarationError: The folder, the name or the revision has no baseline.
            GitError: Git does not know the revision.
        """
        settings, folder = self._settings, self.baselines
        explicit = settings.baseline_ref is not None or {"baseline", "baseline_dir"} & set(named)
        if not explicit or folder is None or settings.baseline_save or settings.build_only or settings.against:
            return
        if settings.disabled or settings.skip or not folder.is_empty():
            return
        others = folder.other_names()
        hint = f"it has {', '.join(others)}" if others else "save one first with --trt-baseline-save"
        given = (
            f"--trt-baseline={settings.baseline}"
            if "baseline" in named
            else f"--trt-baseline-dir={settings.baseline_dir}"
        )
        if settings.baseline_ref is not None:
            given = f"--trt-baseline-ref={settings.baseline_ref}"
        raise DeclarationError(f"{given}: there is no baseline in {folder.where}: {hint}, or drop the option")

    def prepare(self, bench: Bench, declared: Mapping[str, Declaration]) -> None:
        """Build the revision's engines, or read remote baselines together. Local ones are read when they are needed.

        Args:
            bench: The resources of the run.
            declared: The tests by node id.
        """
        if self._builder is not None:
            cache_dir = None if self._settings.no_cache else bench.store.folder
            self.revision = self._builder.build(list(declared), cache_dir, bench.say)
        elif self._settings.baseline_dir.is_url and not self._settings.build_only and self.baselines is not None:
            prefetch(bench, self.baselines, declared)

    def close(self) -> None:
        """Remove the revision's worktree."""
        if self._builder is not None:
            self._builder.close()


def _revision_builder(settings: Settings, invocation: Invocation, received: Any) -> RevisionBuilder | None:
    """Return the builder of the revision that tests are compared with; None if they are not compared with one."""
    if settings.against is None or settings.skip or settings.disabled or settings.build_only:
        return None
    from pytest_trt.trial.against import PytestRun, RevisionBuilder

    if received is not None:
        return RevisionBuilder.decode(received)
    hosts = tuple(host.address for host in settings.hosts)
    run = PytestRun(
        _without_location(invocation.arguments), invocation.folder, settings.rootdir, invocation.inifile, hosts
    )
    return RevisionBuilder(settings.against, run)


def _without_location(arguments: Sequence[str]) -> tuple[str, ...]:
    """Leave out the location of the baselines: the run of a revision uses none, and a URL may contain credentials."""
    flag, kept = "--trt-baseline-dir", []
    for previous, argument in zip(("", *arguments), arguments, strict=False):
        if argument.partition("=")[0] != flag and previous != flag:
            kept.append(re.sub(r"(?s)(trt_baseline_dir=).*", r"\1", argument))
    return tuple(kept)


def prefetch(bench: Bench, folder: BaselineFolder, declared: Mapping[str, Declaration]) -> None:
    """Read the baselines of all tests at once: one by one, each would wait for the remote store.

    Raises:
        BaselineError: The baselines cannot be read.
    """
    from pytest_trt.judge.baselines import device_slug

    tests: dict[str, list[str]] = {}
    for node_id, declaration in declared.items():
        with contextlib.suppress(BackendError):  # the test itself fails with this error
            tests.setdefault(device_slug(bench.environment_of(declaration)), []).append(node_id)
    for device, node_ids in tests.items():
        folder.prefetch(node_ids, device)
