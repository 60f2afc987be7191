"""--trt-against: a git revision's tests, collected and built beside this run's own, for theirs to take turns with.

against = Against(settings.against, run)          # in an xdist worker: Against.decoded(what the controller sent)
revision = against.revision(node_ids, cache_dir, say)
against.close()
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from pytest_trt.core import codec
from pytest_trt.trial.against.build import Run, built
from pytest_trt.trial.against.revision import Revision, Worktree
from pytest_trt.trial.against.worktree import Checkout

__all__ = ["Against", "Run"]


class Against:
    """The revision called `name`, for this `run`. Whoever has no `worktree` makes one, and removes it on `close`.

    Every method raises DeclarationError for what cannot be compared.
    """

    def __init__(self, name: str, run: Run, worktree: Worktree | None = None) -> None:
        self._name, self._run, self.worktree = name, run, worktree
        self._checkout: Checkout | None = None

    def check_out(self) -> Worktree:
        """Where the revision's files are, once they are there."""
        if self.worktree is None:
            self._checkout = Checkout(Path(self._run.rootdir), self._name)
            self.worktree = self._checkout.worktree
        return self.worktree

    def revision(self, wanted: Sequence[str], cache_dir: Path | None, say: Callable[[str], None]) -> Revision:
        """The engines that the tests `wanted` have there, built or out of `cache_dir` (see building.built)."""
        return built(self.check_out(), self._run, wanted, cache_dir, say)

    def encoded(self) -> dict[str, Any]:
        """This one, for the workers of a run to take part in."""
        return {"worktree": codec.encode(self.check_out()), "run": codec.encode(self._run)}

    @classmethod
    def decoded(cls, data: dict[str, Any]) -> Against:
        worktree = codec.decode(Worktree, data["worktree"])
        return cls(worktree.name, codec.decode(Run, data["run"]), worktree)

    def close(self) -> None:
        if self._checkout is not None:
            self._checkout.close()
            self._checkout = None
