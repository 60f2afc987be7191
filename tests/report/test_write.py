"""Test reports in files: their format, complete files only, and names that are not Unicode."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from samples.reports import HEADER, RUN, read_json, text

from pytest_trt.report import html, markdown, result_json
from pytest_trt.report.header import Header
from pytest_trt.report.write import write


def test_format_selects_the_renderer() -> None:
    assert text("md", RUN, HEADER) == markdown.render(RUN, HEADER)
    assert text("html", RUN, HEADER) == html.render(RUN, HEADER)
    assert read_json(text("json-all", RUN, HEADER)) == RUN
    assert json.loads(text("benchmark-json", RUN, HEADER))["benchmarks"]


def test_report_is_written_completely_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "out" / "run.json"
    write("json-all", target, RUN, HEADER)
    assert read_json(target.read_text(encoding="utf-8")) == RUN

    def full(lines: object, head: object) -> Iterator[str]:
        yield "{"
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(result_json, "document", full)
    with pytest.raises(OSError, match=r"No space left on device: .*out/run\.json"):
        write("json", target, RUN[:1], HEADER)
    assert [p.name for p in target.parent.iterdir()] == ["run.json"]
    assert read_json(target.read_text(encoding="utf-8")) == RUN


@pytest.mark.parametrize("format_", ["md", "html", "json"])
def test_name_that_is_not_unicode_is_written_as_its_bytes(tmp_path: Path, format_: str) -> None:
    """The name is that of m\\xe4 in Latin-1, as Python reads it from a file system."""
    write(format_, tmp_path / "out", (dataclasses.replace(RUN[0], node_id="t.py::test_m\udce4"),), HEADER)
    assert r"test_m\udce4" in (tmp_path / "out").read_text(encoding="utf-8")


def test_header_without_an_environment_has_no_gap() -> None:
    assert Header("nothing measured", "").title == "trt: nothing measured, no baseline"
