"""Match the layers of two engines, many to many, since fusions differ from build to build.

Layers are matched by the ONNX nodes that they came from. Unmatched layers between two matches belong together if they
do the same kind of work. Reformats come from no node; they are matched by the layer that they run before or after.
"""

from __future__ import annotations

import dataclasses
import itertools
import re
from collections.abc import Iterator, Mapping, Sequence

from pytest_trt.core.records import Layer

_REFORMAT = re.compile(r"reformat|reorder(in|out)put|copynode", re.IGNORECASE)
"""The kinds and names of layers that copy a tensor or change its format."""

_TARGET = re.compile(r"(?P<tensor>(?:in|out)put tensor \d+)? ?\b(?P<side>to|from) (?P<layer>\S.*)$", re.IGNORECASE)
"""The end of a reformat's name, which names the layer that it runs before (`to`) or after (`from`)."""

_NOT_NODES = frozenset(("PWN", "ForeignNode", "..."))
"""The parts of TensorRT's layer names that are no ONNX nodes."""

_MOST_BY_ORDER = 2000
"""The most layers of both engines together that are matched by order, whose time grows with the square."""


@dataclasses.dataclass(frozen=True)
class Group:
    """Layers that do the same work in both engines.

    Attributes:
        old: The old engine's layers; empty if the work is new.
        new: The new engine's layers; empty if the work was removed.
        near: For reformats, the layer that they run before or after, such as `before conv1`.
    """

    old: tuple[Layer, ...]
    new: tuple[Layer, ...]
    near: str = ""

    @property
    def delta_ms(self) -> float:
        """How much longer the new layers take than the old ones, in ms."""
        return sum(layer.ms or 0.0 for layer in self.new) - sum(layer.ms or 0.0 for layer in self.old)

    @property
    def reformat(self) -> bool:
        """Whether all layers are reformats."""
        return all(is_reformat(layer) for layer in (*self.old, *self.new))


def align(old: Sequence[Layer], new: Sequence[Layer]) -> list[Group]:
    """Return groups of matching layers; every layer of both engines is in exactly one of them.

    Exporters number nodes, so one additional node renames all that follow. If matching by kind and order explains the
    same change with less than half of the movement, the names are ignored.

    Args:
        old: The old engine's layers, in the order in which they run.
        new: The new engine's layers, in the order in which they run.
    """
    compute = [[layer for layer in side if not is_reformat(layer)] for side in (old, new)]
    groups = _by_nodes(*compute)
    if len(old) + len(new) <= _MOST_BY_ORDER and _are_numbered(*compute):
        ordered = _by_order(*compute)
        if _movement(ordered) < _movement(groups) / 2:
            groups = ordered
    return [*groups, *_reformats(old, new, groups)]


def is_reformat(layer: Layer) -> bool:
    """Return whether a layer only copies a tensor or changes its format."""
    return bool(_REFORMAT.search(layer.kind) or _REFORMAT.search(layer.name))


def origins(layer: Layer) -> tuple[str, ...]:
    """Return the ONNX nodes that a layer came from; if the engine does not report them, the parts of its name."""
    if layer.nodes:
        return layer.nodes
    parts = re.findall(r"[^\s()\[\]{}+,]+", layer.name.replace("...", " "))
    return tuple(part for part in parts if part not in _NOT_NODES) or (layer.name,)


def _movement(groups: Sequence[Group]) -> float:
    """Return the sum of the absolute changes of all groups, in ms."""
    return sum(abs(group.delta_ms) for group in groups)


def _by_nodes(old: Sequence[Layer], new: Sequence[Layer]) -> list[Group]:
    """Return connected components of layers that share a node, then groups of the layers between them."""
    layers = [*old, *new]
    roots = list(range(len(layers)))

    def root(index: int) -> int:
        while roots[index] != index:
            roots[index] = roots[roots[index]]
            index = roots[index]
        return index

    first_with: dict[str, int] = {}
    for index, layer in enumerate(layers):
        for node in origins(layer):
            roots[root(index)] = root(first_with.setdefault(node, index))
    members: dict[int, list[int]] = {}
    for index in range(len(layers)):
        members.setdefault(root(index), []).append(index)
    matched = {key for key, indices in members.items() if indices[0] < len(old) <= indices[-1]}
    groups = []
    for key in filter(matched.__contains__, members):
        ours, theirs = ([i for i in members[key] if (i < len(old)) == is_old] for is_old in (True, False))
        groups.append(Group(tuple(layers[i] for i in ours), tuple(layers[i] for i in theirs)))
    anchors = [root(index) if root(index) in matched else None for index in range(len(layers))]
    return [*groups, *_between(old, new, anchors)]


def _between(old: Sequence[Layer], new: Sequence[Layer], anchors: Sequence[int | None]) -> Iterator[Group]:
    """Yield groups of the layers without an anchor, which share no node with the other engine.

    Layers after the same anchor are one group if they have a kind of work in common, as when a backend names a fused
    layer by its output.

    Args:
        old: The old engine's layers.
        new: The new engine's layers.
        anchors: For each old layer, then each new layer, the number of its match; None if it has none.
    """
    gaps: dict[int | None, tuple[list[Layer], list[Layer]]] = {}
    for side, (layers, offset) in enumerate(((old, 0), (new, len(old)))):
        last_anchor: int | None = None
        for index, layer in enumerate(layers):
            anchor = anchors[index + offset]
            if anchor is None:
                gaps.setdefault(last_anchor, ([], []))[side].append(layer)
            last_anchor = anchor if anchor is not None else last_anchor
    for before, after in gaps.values():
        if {layer.kind for layer in before} & {layer.kind for layer in after}:
            yield Group(tuple(before), tuple(after))
        else:
            yield from (Group((layer,), ()) for layer in before)
            yield from (Group((), (layer,)) for layer in after)


def _are_numbered(old: Sequence[Layer], new: Sequence[Layer]) -> bool:
    """Return whether a name that only one side has contains a number."""
    names = [{node for layer in side for node in origins(layer)} for side in (old, new)]
    return names[0] != names[1] and any(re.search(r"\d", node) for node in names[0] ^ names[1])


def _by_order(old: Sequence[Layer], new: Sequence[Layer]) -> list[Group]:
    """Return pairs of the same kind in the order of both sides, then groups of the layers between them.

    The pairs are chosen so that the times move least: an edit distance (Wagner and Fischer 1974) in which to leave a
    layer out costs its time.
    """
    keys = [[_numberless(layer) for layer in side] for side in (old, new)]
    out = [[(layer.ms or 0.0) + 1e-9 for layer in side] for side in (old, new)]
    rows = [list(itertools.accumulate(out[1], initial=0.0))]
    for i, cost in enumerate(out[0]):
        above, row = rows[-1], [rows[-1][0] + cost]
        for j, other in enumerate(out[1]):
            best = min(above[j + 1] + cost, row[j] + other)
            row.append(min(best, above[j] + abs(cost - other)) if keys[0][i] == keys[1][j] else best)
        rows.append(row)
    anchors: list[int | None] = [None] * (len(old) + len(new))
    groups: list[Group] = []
    i, j = len(old), len(new)
    while i and j:
        if keys[0][i - 1] == keys[1][j - 1] and rows[i][j] == rows[i - 1][j - 1] + abs(out[0][i - 1] - out[1][j - 1]):
            i, j = i - 1, j - 1
            anchors[i] = anchors[len(old) + j] = len(groups)
            groups.append(Group((old[i],), (new[j],)))
        elif rows[i][j] == rows[i - 1][j] + out[0][i - 1]:
            i -= 1
        else:
            j -= 1
    return [*groups, *_between(old, new, anchors)]


def _numberless(layer: Layer) -> tuple[str, ...]:
    """Return a layer's kind and the names of its nodes without their numbers."""
    return (layer.kind, *(re.sub(r"\d+", "#", node) for node in origins(layer)))


def _reformats(old: Sequence[Layer], new: Sequence[Layer], groups: Sequence[Group]) -> Iterator[Group]:
    """Yield groups of reformats that run before or after the same group of matched layers.

    Both engines may name that layer differently: the nodes of all its layers are renamed to one of them.
    """
    renamed: tuple[dict[str, str], dict[str, str]] = ({}, {})
    for group in groups:
        name = origins((group.old or group.new)[0])[0]
        for names, layers in zip(renamed, (group.old, group.new), strict=True):
            names.update((node, name) for layer in layers for node in origins(layer))
    sides = [_by_neighbour(layers, names) for layers, names in zip((old, new), renamed, strict=True)]
    for key in dict.fromkeys(itertools.chain(*sides)):
        before, after = (side.get(key, []) for side in sides)
        yield Group(tuple(before), tuple(after), near=key)


def _by_neighbour(layers: Sequence[Layer], renamed: Mapping[str, str]) -> dict[str, list[Layer]]:
    """Return the reformats by the layer that they run before or after, such as `before conv1`.

    That is the layer in the reformat's name, or else the layer that runs next.

    Args:
        layers: An engine's layers, in the order in which they run.
        renamed: The name to use for a node.
    """
    found: dict[str, list[Layer]] = {}
    following = "the end"
    for layer in reversed(layers):
        if not is_reformat(layer):
            following = origins(layer)[0]
            continue
        side, near = "before", following
        if (target := _TARGET.search(layer.name)) is not None:
            side = "before" if target["side"].lower() == "to" else "after"
            near = origins(Layer(target["layer"]))[0]
        found.setdefault(f"{side} {renamed.get(near, near)}", []).insert(0, layer)
    return found
