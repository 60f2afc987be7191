"""Find what the layers of an engine cost, and match those of two engines by the ONNX nodes that they compute."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from pytest_trt.core.engine_map import Counterpart, EngineMap, LayerFacts, Operation, Share
from pytest_trt.core.records import Layer, LayerProfile
from pytest_trt.engine.backends.tensorrt.exported_layers import LayerSizes, layer_sizes, operations
from pytest_trt.judge.regression.blame import describe_change
from pytest_trt.judge.regression.layer_matching import Group, align, is_reformat, origins
from pytest_trt.trial.layer_graph import connect

NO_NODE = "(no ONNX node)"


def map_engine(
    name: str, profile: LayerProfile, notes: Sequence[str] = (), nodes: Iterable[Operation] = ()
) -> EngineMap:
    """Return what the layers of an engine cost.

    Args:
        name: Where the layers come from.
        profile: The layers, with their times if they are known, and the inspector's report for their sizes.
        notes: What a reader should know about the layers.
        nodes: The nodes of the ONNX model, for an engine whose layers do not report the tensors between them.
    """
    sizes = layer_sizes(profile.inspected)
    facts = tuple(_facts(layer, sizes.get(layer.name, LayerSizes())) for layer in profile.layers)
    total = _share("all layers", facts, None)
    reformats = [fact for fact in facts if fact.is_reformat]
    return EngineMap(
        name=name,
        layers=facts,
        total=total,
        reformats=_share("reformats", reformats, total.ms),
        by_type=_shares(facts, lambda fact: fact.layer.kind, total.ms),
        by_precision=_shares(facts, lambda fact: fact.layer.precision, total.ms),
        by_nodes=_shares(facts, _nodes, total.ms),
        edges=connect(profile.layers, operations(profile.inspected) if profile.inspected else nodes),
        notes=tuple(notes),
    )


def compare_engines(old: LayerProfile, new: LayerProfile) -> tuple[Counterpart, ...]:
    """Return the work of two engines side by side, that whose time differs most first."""
    found = map(_counterpart, align(old.layers, new.layers))
    return tuple(sorted(found, key=lambda pair: (-abs(pair.delta_ms), pair.kind == "kernels unchanged")))


def _facts(layer: Layer, sizes: LayerSizes) -> LayerFacts:
    return LayerFacts(layer, is_reformat(layer), sizes.read_mb, sizes.written_mb, sizes.weights_mb)


def _nodes(fact: LayerFacts) -> str:
    """Return the nodes that a layer computes. The name of a reformat names another layer, not nodes of its own."""
    if fact.is_reformat and not fact.layer.nodes:
        return NO_NODE
    return " + ".join(origins(fact.layer))


def _shares(facts: Iterable[LayerFacts], key: Callable[[LayerFacts], str], total: float | None) -> tuple[Share, ...]:
    groups: dict[str, list[LayerFacts]] = {}
    for fact in facts:
        groups.setdefault(key(fact), []).append(fact)
    shares = [_share(name, group, total) for name, group in groups.items()]
    return tuple(sorted(shares, key=lambda share: (-(share.ms or 0.0), -(share.moved_mb or 0.0))))


def _share(name: str, facts: Sequence[LayerFacts], total: float | None) -> Share:
    """Return the cost of layers; `total` is the time of all, None if these are all."""
    times = [fact.layer.ms for fact in facts if fact.layer.ms is not None]
    sizes = [fact.moved_mb for fact in facts if fact.moved_mb is not None]
    ms = sum(times) if times else None
    whole = ms if total is None else total
    share = ms / whole if ms is not None and whole else None
    return Share(name, len(facts), ms, share, sum(sizes) if sizes else None)


def _counterpart(group: Group) -> Counterpart:
    change = describe_change(group)
    nodes = (group.near,) if group.reformat and group.near else _union(group)
    old_ms, new_ms = (sum(layer.ms or 0.0 for layer in side) for side in (group.old, group.new))
    old, new = (tuple(layer.name for layer in side) for side in (group.old, group.new))
    return Counterpart(nodes, old, new, old_ms, new_ms, change.kind, change.detail)


def _union(group: Group) -> tuple[str, ...]:
    return tuple(dict.fromkeys(node for layer in (*group.old, *group.new) for node in origins(layer)))
