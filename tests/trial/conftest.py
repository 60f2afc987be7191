"""A fixture of all tests of trials: their probe servers are forks."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def _probe_servers_are_forks(forked_children: None) -> None: ...
