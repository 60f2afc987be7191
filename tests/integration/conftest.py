"""A fixture of integration tests: the verdicts of a run."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest


@pytest.fixture
def verdicts(project: pytest.Pytester) -> Callable[[], dict[str, list[str]]]:
    """The statuses of each test's verdicts in the last run, by the test's name."""

    def read() -> dict[str, list[str]]:
        results = json.loads((project.path / "out.json").read_text())["results"]
        return {r["node_id"].partition("::")[2]: [v["status"] for v in r["verdicts"]] for r in results}

    return read
