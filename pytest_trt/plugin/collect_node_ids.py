"""A plugin for the pytest that `baseline prune` starts: writes the node id of every test of ours that it collects,
before any is deselected."""

from __future__ import annotations

import os
from typing import Any

from pytest_trt.plugin.options import is_ours


def pytest_itemcollected(item: Any) -> None:
    if not is_ours(item):  # a test that lost its runner has no use for a baseline
        return
    with open(os.environ["PYTEST_TRT_COLLECTED"], "a", encoding="utf-8") as file:
        file.write(f"{item.nodeid}\0")
