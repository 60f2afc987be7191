"""Atomic file writes."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_trt.core.atomic import discard_draft, write_atomically


def test_write_replaces_file_and_leaves_no_draft(tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    for text in ("one", "two \udcff"):
        write_atomically(path, text)
    assert path.read_text() == "two \\udcff"
    assert list(tmp_path.iterdir()) == [path]


def test_failed_write_keeps_file_and_leaves_no_draft(tmp_path: Path) -> None:
    folder = tmp_path / "r.json"
    (folder / "inside").mkdir(parents=True)
    with pytest.raises(OSError, match=r"directory"):
        write_atomically(folder, "text")
    assert list(tmp_path.iterdir()) == [folder]
    with pytest.raises(FileNotFoundError):
        write_atomically(tmp_path / "nowhere" / "r.json", "text")


def test_discard_ignores_missing_draft(tmp_path: Path) -> None:
    discard_draft(tmp_path / "draft")
