"""Which layers of one engine are which of another: many to many, since fusions differ from build to build.

Layers are matched by the ONNX nodes that they came from. What is left over between two matches belongs together where
it does the same kind of work. Reformats come from no node; they are matched by what they stand before or behind.
"""

from __future__ import annotations

import dataclasses
import itertools
import re
from collections.abc import Iterator, Mapping, Sequence

from pytest_trt.core.records import Layer

_REFORMAT = re.compile(r"reformat|reorder(in|out)put|copynode", re.IGNORECASE)
_TARGET = re.compile(r"(?P<tensor>(?:in|out)put tensor \d+)? ?\b(?P<side>to|from) (?P<layer>\S.*)$", re.IGNORECASE)
_NOT_NODES = frozenset(("PWN", "ForeignNode", "..."))
_MOST_BY_ORDER = 2000
"""Beyond this many layers, aligning by order costs more than a person waits for."""


@dataclasses.dataclass(frozen=True)
class Group:
    """Layers that do the same work in both engines; one side is empty for what is new or gone. `near` names the layer
    that a group of reformats serves."""

    old: tuple[Layer, ...]
    new: tuple[Layer, ...]
    near: str = ""

    @property
    def delta_ms(self) -> float:
        return sum(layer.ms or 0.0 for layer in self.new) - sum(layer.ms or 0.0 for layer in self.old)

    @property
    def reformat(self) -> bool:
        return all(is_reformat(layer) for layer in (*self.old, *self.new))


def align(old: Sequence[Layer], new: Sequence[Layer]) -> list[Group]:
    """Every layer of both sides in one group.

    Exporters number nodes, so that one node more renames all that follow. Where matching by kind and order explains the
    same change with less than half of the movement, names are not believed.
    """
    compute = [[layer for layer in side if not is_reformat(layer)] for side in (old, new)]
    groups = _by_nodes(*compute)
    if len(old) + len(new) <= _MOST_BY_ORDER and _are_numbered(*compute):
        ordered = _by_order(*compute)
        if _movement(ordered) < _movement(groups) / 2:
            groups = ordered
    return [*groups, *_reformats(old, new, groups)]


def is_reformat(layer: Layer) -> bool:
    return bool(_REFORMAT.search(layer.kind) or _REFORMAT.search(layer.name))


def origins(layer: Layer) -> tuple[str, ...]:
    """The ONNX nodes a layer came from; where the engine does not tell, the parts of the layer's own name."""
    if layer.nodes:
        return layer.nodes
    parts = re.findall(r"[^\s()\[\]{}+,]+", layer.name.replace("...", " "))
    return tuple(part for part in parts if part not in _NOT_NODES) or (layer.name,)


def _movement(groups: Sequence[Group]) -> float:
    return sum(abs(group.delta_ms) for group in groups)


def _by_nodes(old: Sequence[Layer], new: Sequence[Layer]) -> list[Group]:
    """Connected components of layers that share a node; then what is left between two of them."""
    layers = [*old, *new]
    roots = list(range(len(layers)))

    def root(index: int) -> int:
        while roots[index] != index:
            roots[index] = roots[roots[index]]
            index = roots[index]
        return index

    seen: dict[str, int] = {}
    for index, layer in enumerate(layers):
        for node in origins(layer):
            roots[root(index)] = root(seen.setdefault(node, index))
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
    """Groups of the layers without an anchor, which share no node: those behind the same anchor are one where they have
    a kind of work in common, as when a backend names a fused layer by its output."""
    gaps: dict[int | None, tuple[list[Layer], list[Layer]]] = {}
    for side, (layers, offset) in enumerate(((old, 0), (new, len(old)))):
        behind: int | None = None
        for index, layer in enumerate(layers):
            behind_here = anchors[index + offset]
            if behind_here is None:
                gaps.setdefault(behind, ([], []))[side].append(layer)
            behind = behind_here if behind_here is not None else behind
    for before, after in gaps.values():
        if {layer.kind for layer in before} & {layer.kind for layer in after}:
            yield Group(tuple(before), tuple(after))
        else:
            yield from (Group((layer,), ()) for layer in before)
            yield from (Group((), (layer,)) for layer in after)


def _are_numbered(old: Sequence[Layer], new: Sequence[Layer]) -> bool:
    """Whether names say a number, and not all of them are the same on both sides."""
    names = [{node for layer in side for node in origins(layer)} for side in (old, new)]
    return names[0] != names[1] and any(re.search(r"\d", node) for node in names[0] ^ names[1])


def _by_order(old: Sequence[Layer], new: Sequence[Layer]) -> list[Group]:
    """Pairs of the same kind in the order of both sides, chosen so that the times move least (an edit distance, Wagner
    and Fischer 1974, where leaving a layer out costs its time); then what is left between two of them."""
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
    return (layer.kind, *(re.sub(r"\d+", "#", node) for node in origins(layer)))


def _reformats(old: Sequence[Layer], new: Sequence[Layer], groups: Sequence[Group]) -> Iterator[Group]:
    """Those that serve the same place of layers which were matched, whatever these are called on either side."""
    called: tuple[dict[str, str], dict[str, str]] = ({}, {})
    for group in groups:
        name = origins((group.old or group.new)[0])[0]
        for names, layers in zip(called, (group.old, group.new), strict=True):
            names.update((node, name) for layer in layers for node in origins(layer))
    sides = [_placed(layers, names) for layers, names in zip((old, new), called, strict=True)]
    for key in dict.fromkeys(itertools.chain(*sides)):
        before, after = (side.get(key, []) for side in sides)
        yield Group(tuple(before), tuple(after), near=key)


def _placed(layers: Sequence[Layer], called: Mapping[str, str]) -> dict[str, list[Layer]]:
    """Reformats by the place that they serve: what their names say, else what runs next; `called` names nodes."""
    placed: dict[str, list[Layer]] = {}
    following = "the end"
    for layer in reversed(layers):
        if not is_reformat(layer):
            following = origins(layer)[0]
            continue
        said = _TARGET.search(layer.name)
        side, near = ("before", following) if said is None else ("before", said["layer"])
        if said is not None:
            side = "before" if said["side"].lower() == "to" else "after"
            near = origins(Layer(near))[0]
        placed.setdefault(f"{side} {called.get(near, near)}", []).insert(0, layer)
    return placed
