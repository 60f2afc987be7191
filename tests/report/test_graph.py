"""Test the layout of a graph of layers: ranks, no overlaps, few crossings, and edges that end at their layers."""

from __future__ import annotations

import itertools
import re

import pytest

from pytest_trt.core.engine_map import Edge
from pytest_trt.report.html import graph
from pytest_trt.report.html.graph import HEIGHT, WIDTH, lay_out


def edges(*pairs: tuple[int, int]) -> list[Edge]:
    return [Edge(source, target, "t") for source, target in pairs]


def chain(count: int) -> list[tuple[int, int]]:
    return list(itertools.pairwise(range(count)))


def test_layers_are_below_those_that_they_read() -> None:
    pairs = [*chain(6), (0, 3), (2, 5), (1, 5)]
    drawing = lay_out(6, edges(*pairs))
    assert all(drawing.nodes[a][1] + HEIGHT < drawing.nodes[b][1] for a, b in pairs)
    assert drawing.height >= drawing.nodes[-1][1] + HEIGHT


def test_constant_is_just_above_its_reader() -> None:
    drawing = lay_out(5, edges((0, 1), (1, 2), (2, 4), (3, 4)))
    assert drawing.nodes[3][1] == drawing.nodes[2][1]


@pytest.mark.parametrize(
    "pairs", [chain(4), [(0, n) for n in range(1, 9)], [*chain(30), *((n, 29 - n) for n in range(9))]]
)
def test_layers_do_not_overlap_and_lie_in_the_image(pairs: list[tuple[int, int]]) -> None:
    drawing = lay_out(max(map(max, pairs)) + 1, edges(*pairs))
    for (x, y), (other, below) in itertools.combinations(drawing.nodes, 2):
        assert abs(x - other) >= WIDTH or abs(y - below) >= HEIGHT
    assert all(x >= 0 and x + WIDTH <= drawing.width and y + HEIGHT <= drawing.height for x, y in drawing.nodes)


def test_parallel_branches_do_not_cross() -> None:
    drawing = lay_out(8, edges((0, 1), (0, 2), (0, 3), (3, 4), (2, 5), (1, 6), (4, 7), (5, 7), (6, 7)))
    x = [x for x, _ in drawing.nodes]
    upper, lower = (sorted(row, key=x.__getitem__) for row in ((1, 2, 3), (4, 5, 6)))
    assert lower == [7 - layer for layer in upper]


def test_chains_are_straight_also_those_that_end_elsewhere() -> None:
    attention = [(0, 1), (0, 2), (0, 3), (1, 4), (2, 5), (3, 6), (4, 7), (5, 8), (6, 9), (7, 10), (8, 10), (10, 11)]
    drawing = lay_out(13, edges(*attention, (9, 12), (11, 12)))
    for upper, lower in [(1, 4), (2, 5), (3, 6), (4, 7), (5, 8), (6, 9), (10, 11)]:
        assert drawing.nodes[lower][0] == drawing.nodes[upper][0]


def test_edge_goes_from_layer_to_layer_around_those_between() -> None:
    drawing = lay_out(3, edges((0, 1), (1, 2), (0, 2)))
    numbers = [list(map(float, re.findall(r"[-\d.]+", path))) for path in drawing.paths]
    for (source, target), path in zip([(0, 1), (1, 2), (0, 2)], numbers, strict=True):
        assert path[0] == pytest.approx(drawing.nodes[source][0] + WIDTH / 2, abs=0.2)
        assert path[-2] == pytest.approx(drawing.nodes[target][0] + WIDTH / 2, abs=0.2)
    x, y = drawing.nodes[1]
    (passing,) = re.findall(r"([-\d.]+) ([-\d.]+)V", drawing.paths[2])
    assert float(passing[1]) == y
    assert not x < float(passing[0]) < x + WIDTH


def test_nothing_and_edges_back_are_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    assert lay_out(0, []).nodes == []
    assert len(lay_out(2, edges((0, 1), (1, 0))).paths) == 2
    monkeypatch.setattr(graph, "_MOST_PASSING", 0)
    assert "V" not in lay_out(3, edges((0, 1), (1, 2), (0, 2))).paths[2]
