"""Compare a collection with the stored baselines: which of their tests are gone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pytest_trt.judge.baselines.known_tests import KnownTests
from pytest_trt.plugin.options import uses_plugin

if TYPE_CHECKING:
    from pytest_trt.judge.baselines import BaselineFolder


def known_tests(
    config: pytest.Config, items: Iterable[pytest.Item], collected_files: Iterable[str], *, whole: bool
) -> KnownTests:
    """Return the record of a collection.

    Args:
        config: pytest's configuration.
        items: All collected tests, deselected ones included.
        collected_files: The node ids of the modules that pytest collected without an error or a skip.
        whole: Whether the whole suite was collected.
    """
    ours = frozenset(item.nodeid for item in items if uses_plugin(item))
    return KnownTests(ours, files_in_full(config, collected_files), config.rootpath, whole)


def files_in_full(config: pytest.Config, collected_files: Iterable[str]) -> frozenset[str]:
    """Return the files all of whose tests were collected.

    A test that is named with `::` leaves out the others of its file, and so does --lf for the tests that passed.
    """
    if config.getoption("lf", False):
        return frozenset()
    partial = {Path(word.partition("::")[0]).name for word in map(str, config.args) if "::" in word}
    return frozenset(file for file in collected_files if Path(file).name not in partial)


def orphaned_baselines(known: KnownTests, baselines: BaselineFolder) -> Sequence[str]:
    """Return the node ids that have a baseline of this name on any device, but whose test is gone."""
    return sorted(node_id for node_id in baselines.node_ids_except(known.node_ids) if known.is_gone(node_id))
