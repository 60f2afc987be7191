"""Test the table of one or several models on every backend."""

from __future__ import annotations

from samples.lineup_rows import ROWS

from pytest_trt.cli import lineup_table


def test_table_omits_empty_columns_and_describes_problems():
    lines = lineup_table.plain_text(ROWS, 200).splitlines()
    assert lines[0].split("  ")[0] == "backend"
    assert "host MB" not in lines[0]
    assert lines[2].split()[:4] == ["TensorRT", "fp16", "inaccurate", "0.500"]
    assert lines[2].split()[-1] == "16.00"
    assert lines[4:] == [
        "TensorRT fp16: output 'y' departs",
        "TensorRT fp16: its layers are 75% fp16, 25% fp32",
        "TensorRT int8: nothing to quantise",
    ]


def test_a_narrow_table_leaves_columns_out_and_names_them():
    whole = lineup_table.plain_text(ROWS, 200).splitlines()
    width = len(whole[0])
    assert lineup_table.plain_text(ROWS, width).splitlines() == whole
    narrow = lineup_table.plain_text(ROWS, width - 1).splitlines()
    left_out = narrow[4].removeprefix(f"not shown in {width - 1} columns: ").removesuffix(" (--format=md shows them)")
    assert left_out in whole[0]
    assert left_out not in narrow[0]
    assert max(map(len, narrow[:4])) < width
    assert narrow[5:] == whole[4:]


def test_markdown_names_the_models_if_there_are_several():
    one, two = lineup_table.markdown([("", ROWS)]), lineup_table.markdown([("a", ROWS), ("b", ROWS[:1])])
    assert one.splitlines()[0].startswith("| backend | status | ms |")
    rows = [line.split(" | ") for line in two.splitlines() if line.startswith(("| a", "| b"))]
    assert [row[0] for row in rows] == ["| a", "| a", "| a", "| b"]
    assert len({line.count("|") for line in two.splitlines() if line.startswith("|")}) == 1
    assert "- a, TensorRT int8: nothing to quantise" in two
