import live
import pytest


def test_the_bound_of_a_rate_is_that_of_clopper_and_pearson():
    assert live.bound(0, 200) == pytest.approx(1 - 0.05 ** (1 / 200))
    assert live.bound(1, 40) == pytest.approx(0.1132, abs=1e-4)
    assert live.bound(3, 3) == pytest.approx(1.0)


def test_an_existing_file_is_continued_and_errors_of_either_kind_are_counted(tmp_path):
    path = tmp_path / "live.json"
    common = {"expected": "ok", "ratio": None, "wall_s": 1.0, "parts_s": {"blocks": 0.1}}
    live.Comparisons(path).add("A/A", status="ok", **common)
    comparisons = live.Comparisons(path)
    comparisons.add("A/A", status="improved", **{**common, "ratio": (0.98, 0.97, 0.99), "wall_s": 3.0})
    comparisons.add("A/A", status="inconclusive", **common)
    table = list(live.lines(live.Comparisons(path)))
    assert "| A/A | 3 | 1 ok, 1 improved, 1 inconclusive | 1, 86.46% | -2.00% [-2.00%, -2.00%] | 1.00 (3.00) |" in table
    assert table[-1] == "A/A: blocks 100 ms"


def test_the_parts_of_a_split_add_up():
    assert [sum(parts) for parts in zip(*live.split(203, 51), strict=True)] == [203, 51]
