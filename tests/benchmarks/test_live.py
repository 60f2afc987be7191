import live
import pytest


def test_the_bound_on_a_rate_is_clopper_and_pearsons():
    assert live.bound(0, 200) == pytest.approx(1 - 0.05 ** (1 / 200))
    assert live.bound(1, 40) == pytest.approx(0.1132, abs=1e-4)
    assert live.bound(3, 3) == pytest.approx(1.0)


def test_a_file_that_is_there_goes_on_and_errors_of_either_kind_are_counted(tmp_path):
    path = tmp_path / "live.json"
    common = {"expected": "ok", "ratio": None, "wall_s": 1.0, "parts_s": {"blocks": 0.1}}
    live.Book(path).add("A/A", status="ok", **common)
    book = live.Book(path)
    book.add("A/A", status="improved", **{**common, "ratio": (0.98, 0.97, 0.99), "wall_s": 3.0})
    book.add("A/A", status="inconclusive", **common)
    table = list(live.lines(live.Book(path)))
    assert "| A/A | 3 | 1 ok, 1 improved, 1 inconclusive | 1, 86.46% | -2.00% [-2.00%, -2.00%] | 1.00 (3.00) |" in table
    assert table[-1] == "A/A: blocks 100 ms"


def test_shares_add_up():
    assert [sum(parts) for parts in zip(*live.shares(203, 51), strict=True)] == [203, 51]
