"""Which stored tests a collection shows to be gone."""

from __future__ import annotations

from pathlib import Path

from pytest_trt.judge.baselines.known_tests import KnownTests


def test_a_test_is_gone_only_if_its_file_is_or_was_collected_in_full(tmp_path: Path) -> None:
    for name in ("test_full.py", "test_hidden.py"):
        (tmp_path / name).touch()
    known = KnownTests(frozenset({"test_full.py::test_a"}), frozenset({"test_full.py"}), tmp_path)
    assert not known.is_gone("test_full.py::test_a")
    assert known.is_gone("test_full.py::test_renamed")
    assert known.is_gone("test_removed.py::test_a")
    assert not known.is_gone("test_hidden.py::test_a")
