"""A pytest plugin that `pytest-trt baseline prune` loads: write the node ids of all collected tests of pytest-trt.

They are written before any is deselected, to the file that PYTEST_TRT_COLLECTED names, each followed by a NUL.
"""

from __future__ import annotations

import os
from typing import Any

from pytest_trt.plugin.options import uses_plugin


def pytest_itemcollected(item: Any) -> None:
    """Write the node id of the test."""
    if not uses_plugin(item):  # a test that no longer uses the runner needs no baseline
        return
    with open(os.environ["PYTEST_TRT_COLLECTED"], "a", encoding="utf-8") as file:
        file.write(f"{item.nodeid}\0")
