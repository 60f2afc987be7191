"""A pytest plugin that `pytest-trt baseline prune` loads: write what a collection found, and run nothing.

The file that PYTEST_TRT_COLLECTED names gets a JSON object: `node_ids` of all tests of pytest-trt, deselected ones
included, the `files` that were collected in full, and the `rootdir` that both start from.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from pytest_trt.plugin.known_tests import files_in_full
from pytest_trt.plugin.options import uses_plugin

_node_ids: list[str] = []
_files: list[str] = []


def pytest_itemcollected(item: Any) -> None:
    """Remember the test, unless it no longer uses the plugin: then it needs no baseline."""
    if uses_plugin(item):
        _node_ids.append(item.nodeid)


def pytest_collectreport(report: Any) -> None:
    """Remember a module that was collected without an error or a skip."""
    if report.passed and report.nodeid and "::" not in report.nodeid:
        _files.append(report.nodeid)


def pytest_collection_finish(session: Any) -> None:
    """Write what was found."""
    config = session.config
    found = {"node_ids": _node_ids, "files": sorted(files_in_full(config, _files)), "rootdir": str(config.rootpath)}
    Path(os.environ["PYTEST_TRT_COLLECTED"]).write_text(json.dumps(found), encoding="utf-8")
