"""Build the engines that tests have at a git revision, for --trt-against to compare with.

builder = RevisionBuilder(settings.against, run)   # in an xdist worker: RevisionBuilder.decode(data)
revision = builder.build(node_ids, cache_dir, say)
builder.close()
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from pytest_trt.core import codec
from pytest_trt.trial.against.build import PytestRun, build_revision
from pytest_trt.trial.against.revision import Revision, Worktree
from pytest_trt.trial.against.worktree import Checkout

__all__ = ["PytestRun", "RevisionBuilder"]


class RevisionBuilder:
    """Checks out a git revision, and builds the engines of its tests. Close it.

    Args:
        name: The revision, as the user wrote it.
        run: The pytest run whose tests are compared.
        worktree: Where the revision is checked out already. Without it, the first call checks the revision out, and
            `close` removes it.
    """

    def __init__(self, name: str, run: PytestRun, worktree: Worktree | None = None) -> None:
        self._name, self._run, self.worktree = name, run, worktree
        self._checkout: Checkout | None = None

    def check_out(self) -> Worktree:
        """Check out the revision if this is not done yet, and return where it is.

        Raises:
            GitError: There is no such revision, no repository, or the revision needs a submodule that is absent here.
        """
        if self.worktree is None:
            self._checkout = Checkout(Path(self._run.rootdir), self._name)
            self.worktree = self._checkout.worktree
        return self.worktree

    def build(self, node_ids: Sequence[str], cache_dir: Path | None, say: Callable[[str], None]) -> Revision:
        """Return the engines that these tests have at the revision. See `build_revision`."""
        return build_revision(self.check_out(), self._run, node_ids, cache_dir, say)

    def encode(self) -> dict[str, Any]:
        """Check out the revision, and return this builder in the form that xdist's workers receive."""
        return {"worktree": codec.encode(self.check_out()), "run": codec.encode(self._run)}

    @classmethod
    def decode(cls, data: dict[str, Any]) -> RevisionBuilder:
        """Return the controller's builder in a worker. It uses the controller's worktree, and does not remove it."""
        worktree = codec.decode(Worktree, data["worktree"])
        return cls(worktree.name, codec.decode(PytestRun, data["run"]), worktree)

    def close(self) -> None:
        """Remove the worktree, if this builder made it."""
        if self._checkout is not None:
            self._checkout.close()
            self._checkout = None
