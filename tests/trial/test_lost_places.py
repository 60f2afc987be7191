"""Test what the processes of a run know about cards and hosts that have failed."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pytest_trt.trial.lost_places import LostPlaces


def test_what_one_process_adds_all_of_them_know(tmp_path: Path) -> None:
    first, second = LostPlaces(tmp_path / "lost"), LostPlaces(tmp_path / "lost")
    assert not second.reason("GPU-1 gpu01")
    assert first.add("GPU-1 gpu01", "does not work\n##[error]")
    assert second.reason("GPU-1 gpu01") == "does not work\n##[error]"
    assert not second.add("GPU-1 gpu01", "another reason"), "it is known"
    assert second.add("host gpu02", "lost")
    assert first.reason("host gpu02") == "lost"
    assert not first.reason("GPU-2 gpu01")


@pytest.mark.parametrize("shared", [False, True])
def test_a_place_is_added_once(tmp_path: Path, shared: bool) -> None:
    path = tmp_path / "lost" if shared else None
    alone = LostPlaces(path)
    with ThreadPoolExecutor(8 if shared else 1) as threads:
        places = (LostPlaces(path) if shared else alone for _ in range(8))
        added = list(threads.map(lambda lost: lost.add("GPU-1", "reason"), places))
    assert sum(added) == 1
