"""Lay out the layers of an engine as a graph that flows from top to bottom, and describe it for an SVG image.

The steps are those of Sugiyama, Tagawa and Toda (1981, "Methods for visual understanding of hierarchical system
structures", IEEE Transactions on Systems, Man, and Cybernetics): ranks by the longest path, places for tensors that
pass by ranks, orders by the means of the neighbours, and then positions near them.
"""

from __future__ import annotations

import dataclasses
import itertools
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence

from pytest_trt.core.engine_map import Edge

MOST_LAYERS = 2000
"""How many layers are drawn: a browser needs seconds for more."""

WIDTH, HEIGHT = 190, 36
_GAP_X, _GAP_Y = 16, 26
_PASSING = 8
"""The width of the place of a tensor that passes by a rank."""

_MOST_PASSING = 20_000
_SWEEPS = 4


@dataclasses.dataclass(frozen=True)
class Drawing:
    """A laid-out graph.

    Attributes:
        width: The width of the image.
        height: The height of the image.
        nodes: The left upper corner of each layer.
        paths: The path of each edge, as the attribute of an SVG path.
    """

    width: float
    height: float
    nodes: Sequence[tuple[float, float]]
    paths: Sequence[str]


def lay_out(count: int, edges: Sequence[Edge]) -> Drawing:
    """Return the positions of layers and edges.

    Args:
        count: The number of layers, which are in the order in which they run.
        edges: The tensors between them. Those that lead back are drawn, and do not count for the ranks.
    """
    ranks = _ranks(count, edges)
    chains = _chains(count, ranks, edges)
    places = {**dict(enumerate(ranks)), **{place: rank for chain in chains for place, rank in chain[1:-1]}}
    rows: list[list[int]] = [[] for _ in range(max(ranks, default=-1) + 1)]
    for place, rank in places.items():
        rows[rank].append(place)
    above, below = _neighbours(chains)
    _order(rows, above, below)
    centres = _positions(rows, above, below, lambda place: WIDTH if place < count else _PASSING)
    left = min((x - WIDTH / 2 for x in centres.values()), default=0.0)
    nodes = [(round(centres[n] - WIDTH / 2 - left, 1), ranks[n] * (HEIGHT + _GAP_Y) + 1.0) for n in range(count)]
    paths = [_path([(centres[place] - left, rank) for place, rank in chain]) for chain in chains]
    width = max((x + WIDTH / 2 for x in centres.values()), default=0.0) - left
    return Drawing(round(width + 2), len(rows) * (HEIGHT + _GAP_Y) - _GAP_Y + 2, nodes, paths)


def _ranks(count: int, edges: Iterable[Edge]) -> list[int]:
    """Return the rank of each layer: below all that it reads, but not further above its readers than needed."""
    before: dict[int, list[int]] = {}
    after: dict[int, list[int]] = {}
    for edge in edges:
        if edge.source < edge.target:
            before.setdefault(edge.target, []).append(edge.source)
            after.setdefault(edge.source, []).append(edge.target)
    ranks = [0] * count
    for layer in range(count):
        ranks[layer] = max((ranks[source] + 1 for source in before.get(layer, ())), default=0)
        if layer not in before and layer not in after and layer:  # Nothing is known of it but when it runs.
            ranks[layer] = ranks[layer - 1]
    for layer in reversed(range(count)):
        if layer not in before and layer in after:
            ranks[layer] = max(min(ranks[reader] for reader in after[layer]) - 1, 0)
    return ranks


def _chains(count: int, ranks: Sequence[int], edges: Sequence[Edge]) -> list[list[tuple[int, int]]]:
    """Return the places and ranks that each edge passes, with a place of its own at each rank between its layers."""
    passing = sum(max(abs(ranks[edge.target] - ranks[edge.source]) - 1, 0) for edge in edges)
    chains, free = [], count
    for edge in edges:
        first, last = ranks[edge.source], ranks[edge.target]
        between = range(first + 1, last) if passing <= _MOST_PASSING else range(0)
        middle = list(zip(range(free, free + len(between)), between, strict=True))
        free += len(middle)
        chains.append([(edge.source, first), *middle, (edge.target, last)])
    return chains


def _neighbours(chains: Iterable[Sequence[tuple[int, int]]]) -> tuple[dict[int, list[int]], dict[int, list[int]]]:
    """Return the neighbours of each place in the ranks above and below it."""
    above: dict[int, list[int]] = {}
    below: dict[int, list[int]] = {}
    for chain in chains:
        for (upper, rank), (lower, other) in itertools.pairwise(chain):
            if rank < other:
                above.setdefault(lower, []).append(upper)
                below.setdefault(upper, []).append(lower)
    return above, below


def _order(rows: Sequence[list[int]], above: Mapping[int, list[int]], below: Mapping[int, list[int]]) -> None:
    """Sort each row by the mean position of the neighbours, so that few edges cross."""
    for sweep in range(_SWEEPS):
        near, walk = (above, rows) if sweep % 2 == 0 else (below, rows[::-1])
        at: dict[int, float] = {}
        for row in walk:
            own = _shares(row)
            means = {place: _mean([at[n] for n in near.get(place, ()) if n in at], own[place]) for place in row}
            row.sort(key=means.__getitem__)
            at.update(_shares(row))


def _shares(row: Sequence[int]) -> dict[int, float]:
    """Return where each place is in its row, from 0 to 1."""
    return {place: (number + 0.5) / len(row) for number, place in enumerate(row)}


def _mean(values: Sequence[float], otherwise: float) -> float:
    return statistics.fmean(values) if values else otherwise


def _positions(
    rows: Sequence[Sequence[int]],
    above: Mapping[int, list[int]],
    below: Mapping[int, list[int]],
    width: Callable[[int], float],
) -> dict[int, float]:
    """Return the centre of each place: near its neighbours, and in the order of its row without overlaps."""
    centres: dict[int, float] = {}
    for row in rows:
        total = sum(width(place) + _GAP_X for place in row)
        x = -total / 2
        for place in row:
            centres[place] = x + (width(place) + _GAP_X) / 2
            x += width(place) + _GAP_X
    for sweep in range(2 * _SWEEPS + 1):  # The last one goes down, so that chains are straight.
        down = sweep % 2 == 0
        first, second = (above, below) if down else (below, above)
        for row in rows if down else rows[::-1]:
            near = (first.get(place, ()) or second.get(place, ()) for place in row)
            wished = [_mean([centres[n] for n in some], 0.0) for some in near]
            gaps = [(width(a) + width(b)) / 2 + _GAP_X for a, b in itertools.pairwise(row)]
            centres.update(zip(row, _spread(wished, gaps), strict=True))
    return centres


def _spread(wished: Sequence[float], gaps: Sequence[float]) -> list[float]:
    """Return positions with at least these gaps, as near to the wished ones as a shift to either side allows."""
    right, left = list(wished), list(wished)
    for index, gap in enumerate(gaps):
        right[index + 1] = max(right[index + 1], right[index] + gap)
    for index, gap in reversed(list(enumerate(gaps))):
        left[index] = min(left[index], left[index + 1] - gap)
    return [(a + b) / 2 for a, b in zip(left, right, strict=True)]


def _path(points: Sequence[tuple[float, int]]) -> str:
    """Return a curve through the centres of places at their ranks, from the lower edge of a layer to the upper one."""
    step = HEIGHT + _GAP_Y
    x, rank = points[0]
    parts = [f"M{x:.1f} {rank * step + HEIGHT + 1}"]
    for number, (end, lower) in enumerate(points[1:], 1):
        top = lower * step + 1
        parts.append(f"C{x:.1f} {top - _GAP_Y / 2:.1f} {end:.1f} {top - _GAP_Y / 2:.1f} {end:.1f} {top}")
        if number < len(points) - 1:
            parts.append(f"V{top + HEIGHT}")
        x = end
    return "".join(parts)
