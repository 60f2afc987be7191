"""What the tests of a run are compared with: baselines that are stored, or what they are at a git revision."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_trt.errors import BackendError
from pytest_trt.spec.declaration import Declaration
from pytest_trt.spec.settings import Settings
from pytest_trt.trial.bench import _environment

if TYPE_CHECKING:
    from pytest_trt.judge.baselines import BaselineFolder
    from pytest_trt.trial.against import Against
    from pytest_trt.trial.against.revision import Revision, Worktree
    from pytest_trt.trial.bench import Bench


class Compared:
    """`asked` is how pytest was called: its arguments, the folder, the ini file. `sent` is what `encoded` gave in the
    run of which this is an xdist worker. Close it. Every TrtError of what is compared with passes through."""

    def __init__(self, settings: Settings, asked: tuple[tuple[str, ...], str, str], sent: Any = None) -> None:
        self._settings = settings
        self._against = _against(settings, asked, sent)
        self.revision: Revision | None = None

    @cached_property
    def baselines(self) -> BaselineFolder | None:
        """The stored baselines; None with --trt-baseline=off."""
        from pytest_trt.judge.baselines import open_baselines

        said = self._settings
        if said.baseline is None:
            return None
        return open_baselines(said.baseline_dir, said.baseline, revision=said.baseline_ref, rootdir=Path(said.rootdir))

    @property
    def worktree(self) -> Worktree | None:
        """Where the revision's files are; None where there is none, or they are not yet there."""
        return None if self._against is None else self._against.worktree

    def encoded(self) -> dict[str, Any] | None:
        """The revision, checked out, for the workers of this run."""
        return None if self._against is None else self._against.encoded()

    def get_ready(self, bench: Bench, declared: Mapping[str, Declaration]) -> None:
        """Have the engines of these tests at the revision built; or read their baselines together where each would take
        a remote place's latency. Those in a folder are read as they are needed."""
        if self._against is not None:
            cache_dir = None if self._settings.no_cache else bench.store.folder
            self.revision = self._against.revision(list(declared), cache_dir, bench.say)
        elif "://" in self._settings.baseline_dir and not self._settings.build_only and self.baselines is not None:
            read_together(bench, self.baselines, declared)

    def close(self) -> None:
        if self._against is not None:
            self._against.close()


def _against(settings: Settings, asked: tuple[tuple[str, ...], str, str], sent: Any) -> Against | None:
    """The revision that tests are compared with; None where there is none, or nothing is compared."""
    if settings.against is None or settings.skip or settings.disabled or settings.build_only:
        return None
    from pytest_trt.trial.against import Against, Run

    if sent is not None:
        return Against.decoded(sent)
    arguments, folder, inifile = asked
    return Against(settings.against, Run(arguments, folder, settings.rootdir, inifile))


def read_together(bench: Bench, folder: BaselineFolder, declared: Mapping[str, Declaration]) -> None:
    """Read the baselines of all these tests at once: one by one, a remote place would take its latency for each. Raises
    BaselineError where it cannot be read."""
    from pytest_trt.judge.baselines import device_slug

    tests: dict[str, list[str]] = {}
    for node_id, declaration in declared.items():
        with contextlib.suppress(BackendError):  # that test will say so itself
            tests.setdefault(device_slug(_environment(bench, declaration)), []).append(node_id)
    for device, node_ids in tests.items():
        folder.prefetch(node_ids, device)
