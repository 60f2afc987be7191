"""The tests that a collection found, and which stored tests it shows to be gone."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pytest_trt.plugin.options import uses_plugin

if TYPE_CHECKING:
    from pytest_trt.judge.baselines import BaselineFolder


@dataclasses.dataclass(frozen=True)
class KnownTests:
    """A frozen record of a collection.

    Attributes:
        node_ids: The tests of this plugin, deselected ones included.
        files: The files whose tests are all among them, relative to the rootdir.
        rootdir: The folder that node ids start from.
        whole: Whether the whole suite was collected.
    """

    node_ids: frozenset[str]
    files: frozenset[str]
    rootdir: Path
    whole: bool

    @classmethod
    def of(
        cls, config: pytest.Config, items: Iterable[pytest.Item], collected_files: Iterable[str], *, whole: bool
    ) -> KnownTests:
        """Return the record of a collection.

        Args:
            config: pytest's configuration.
            items: All collected tests, deselected ones included.
            collected_files: The node ids of the modules that pytest collected without an error or a skip.
            whole: Whether the whole suite was collected.
        """
        partial = {Path(word.partition("::")[0]).name for word in map(str, config.args) if "::" in word}
        complete = not config.getoption("lf", False)  # --lf collects a module, and leaves out the tests that passed
        files = (file for file in collected_files if complete and Path(file).name not in partial)
        ours = frozenset(item.nodeid for item in items if uses_plugin(item))
        return cls(ours, frozenset(files), config.rootpath, whole)

    def is_gone(self, node_id: str) -> bool:
        """Return whether a test that has a baseline certainly no longer exists.

        It may exist if its file does, and was not collected in full: ignored, skipped as a whole, or not requested.
        """
        file = node_id.partition("::")[0]
        return node_id not in self.node_ids and (file in self.files or not (self.rootdir / file).exists())


def orphaned_baselines(known: KnownTests, baselines: BaselineFolder) -> Sequence[str]:
    """Return the node ids that have a baseline of this name on any device, but whose test is gone."""
    return sorted(node_id for node_id in baselines.node_ids_except(known.node_ids) if known.is_gone(node_id))
