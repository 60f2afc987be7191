"""drafts: files written whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_trt.core.atomic import discard_draft, write_atomically


def test_a_file_is_replaced_and_no_draft_is_left(tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    for text in ("one", "two \udcff"):
        write_atomically(path, text)
    assert path.read_text() == "two \\udcff"
    assert list(tmp_path.iterdir()) == [path]


def test_what_cannot_be_replaced_stays_and_no_draft_is_left(tmp_path: Path) -> None:
    folder = tmp_path / "r.json"
    (folder / "inside").mkdir(parents=True)
    with pytest.raises(OSError, match=r"directory"):
        write_atomically(folder, "text")
    assert list(tmp_path.iterdir()) == [folder]
    with pytest.raises(FileNotFoundError):
        write_atomically(tmp_path / "nowhere" / "r.json", "text")


def test_a_draft_that_is_not_there_need_not_be_removed(tmp_path: Path) -> None:
    discard_draft(tmp_path / "draft")
