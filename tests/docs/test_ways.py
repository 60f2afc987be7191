"""The page on ways past the gate has what the tests try."""

from __future__ import annotations

from samples import ways


def test_the_page_on_ways_past_the_gate_has_every_way_that_a_test_tries() -> None:
    expected = ways.render(ways.collect())
    assert ways.table_of(ways.PAGE.read_text()) == expected, "write the page again: cd tests && python -m samples.ways"
