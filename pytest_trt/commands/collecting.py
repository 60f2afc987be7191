"""A plugin for the pytest that `baseline prune` starts: writes every node id it collects, before any is deselected."""

from __future__ import annotations

import os
from typing import Any


def pytest_itemcollected(item: Any) -> None:
    with open(os.environ["PYTEST_TRT_COLLECTED"], "a", encoding="utf-8") as file:
        file.write(f"{item.nodeid}\0")
