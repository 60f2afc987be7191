"""Judge what a test requires of the layers of its engine: their number, their precisions, and that none has changed.

Layers do not scatter from run to run, so every verdict is exact.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence

from pytest_trt.core.node_patterns import matches
from pytest_trt.core.precision import FP32, UNREPORTED
from pytest_trt.core.records import Layer, LayerProfile, Status, Verdict
from pytest_trt.judge.regression.blame import Blame, Cause, describe_change
from pytest_trt.judge.regression.layer_matching import align, is_reformat, origins
from pytest_trt.spec.expectations import LayerLimits

_MOST_NAMED = 5
"""How many layers the details of a verdict name."""

_STRUCTURAL = frozenset((
    "new layer", "layer gone", "new reformat", "reformat gone", "other precision", "fusion lost", "fusion gained",
    "fused differently",
))  # fmt: skip
"""The changes that are not left to the builder's timing, as the choice of a kernel is."""


def judge_layers(limits: LayerLimits, layers: Sequence[Layer], backend: str) -> tuple[Verdict, ...]:
    """Return a verdict for each limit that needs no baseline.

    Args:
        limits: What the test requires.
        layers: The layers of the engine, in the order in which they run.
        backend: The name of the backend, for messages.
    """
    if not layers:
        text = f"trt_layers cannot be checked: {backend} reports no layers of this engine"
        return (_verdict("error", "", text),)
    found: list[Verdict] = []
    if limits.max_layers is not None:
        found.append(_judge_count("max_layers", "layers", layers, limits.max_layers))
    if limits.max_reformats is not None:
        reformats = [layer for layer in layers if is_reformat(layer)]
        found.append(_judge_count("max_reformats", "reformats", reformats, limits.max_reformats))
    if limits.no_fp32:
        found.append(_judge_no_fp32(limits.no_fp32, layers, backend))
    return tuple(found)


def judge_unchanged(new: LayerProfile, old: LayerProfile) -> Verdict:
    """Return the verdict whether the layers are those of the baseline's engine.

    Kernels and memory formats may differ, since the builder chooses them by timing. Layers that an exporter numbered
    anew are the same.

    Args:
        new: The layers of the engine.
        old: The layers of the baseline's engine.
    """
    changes = list(_changes(old.layers, new.layers))
    counts = f"{len(new.layers)} layers, the baseline's engine has {len(old.layers)}"
    if not changes:
        return _verdict("ok", "unchanged", f"layers ok: the same as in the baseline's engine ({counts})")
    kinds = Counter(change.kind for change in changes)
    listed = ", ".join(f"{count} x {kind}" for kind, count in kinds.most_common())
    lines = Blame(0.0, tuple(changes), timed=False).all_causes()
    return _verdict(
        "regressed", "unchanged", f"layers regressed: {listed} ({counts})", details=_first(lines), causes=lines
    )


def _changes(old: Sequence[Layer], new: Sequence[Layer]) -> Iterator[Cause]:
    if list(map(_identity, old)) == list(map(_identity, new)):
        return
    for group in align(old, new):
        change = describe_change(group)
        if change.kind in _STRUCTURAL:
            yield change
        elif _unnumbered_nodes(group.old) != _unnumbered_nodes(group.new):
            before = ", ".join(name for layer in group.old for name in origins(layer))
            yield Cause("fused differently", change.layer, group.delta_ms, f"was {before}")


def _unnumbered_nodes(layers: Sequence[Layer]) -> list[str]:
    """Return the nodes that layers came from, without numbers: an exporter numbers all nodes anew if one is added."""
    return sorted(re.sub(r"\d+", "#", node) for layer in layers if not is_reformat(layer) for node in origins(layer))


def _identity(layer: Layer) -> tuple[bool, str, list[str]]:
    return is_reformat(layer), layer.precision, _unnumbered_nodes([layer])


def _judge_count(argument: str, what: str, layers: Sequence[Layer], most: int) -> Verdict:
    status: Status = "over_budget" if len(layers) > most else "ok"
    text = f"{what} {status.replace('_', ' ')}: {len(layers)}, at most {most}"
    details = _first([_described(layer) for layer in layers]) if status == "over_budget" else ()
    return _verdict(status, argument, text, limit=float(most), details=details)


def _judge_no_fp32(patterns: Sequence[str], layers: Sequence[Layer], backend: str) -> Verdict:
    named = {pattern: [layer for layer in layers if _is_named(layer, pattern)] for pattern in patterns}
    if unmatched := [pattern for pattern, matching in named.items() if not matching]:
        examples = ", ".join(name for layer in layers[:3] for name in origins(layer)[:1])
        text = f"no_fp32: no layer is {unmatched[0]!r}: name layers of this engine, such as {examples}"
        return _verdict("error", "no_fp32", text)
    matching = list({id(layer): layer for found in named.values() for layer in found}.values())
    in_fp32 = [layer for layer in matching if layer.precision in FP32]
    if in_fp32:
        text = f"no_fp32 over budget: {len(in_fp32)} of {len(matching)} named layers compute in fp32"
        return _verdict("over_budget", "no_fp32", text, details=_first([_described(layer) for layer in in_fp32]))
    unknown = [layer for layer in matching if layer.precision == UNREPORTED or not (layer.precision or layer.formats)]
    if not unknown:
        return _verdict("ok", "no_fp32", f"no_fp32 ok: none of {len(matching)} named layers computes in fp32")
    if any(layer.precision == UNREPORTED for layer in unknown):
        text = (
            f"no_fp32 inconclusive: {len(unknown)} of {len(matching)} named layers are fused, and report no precision"
        )
        return _verdict("inconclusive", "no_fp32", text, details=_first([_described(layer) for layer in unknown]))
    text = (
        f"no_fp32 cannot be checked: {backend} reports no precision of {len(unknown)} of {len(matching)} named layers: "
        "build the engine with profiling_verbosity='detailed'"
    )
    return _verdict("error", "no_fp32", text, details=_first([_described(layer) for layer in unknown]))


def _is_named(layer: Layer, pattern: str) -> bool:
    """Return whether a pattern matches a layer, or a node that it came from. A reformat belongs to no node."""
    names = (layer.name,) if is_reformat(layer) else (layer.name, *origins(layer))
    return any(matches(pattern, name) for name in names)


def _described(layer: Layer) -> str:
    text = " ".join(filter(None, (layer.name, f"({layer.kind})" if layer.kind else "", layer.precision)))
    return "".join(character if character.isprintable() else " " for character in text)


def _first(lines: Sequence[str]) -> tuple[str, ...]:
    more = len(lines) - _MOST_NAMED
    return (*lines[:_MOST_NAMED], *([f"and {more} more"] if more > 0 else []))


def _verdict(
    status: Status,
    argument: str,
    text: str,
    *,
    limit: float | None = None,
    details: tuple[str, ...] = (),
    causes: tuple[str, ...] = (),
) -> Verdict:
    return Verdict(status, "layers", argument, text, limit=limit, details=details, causes=causes)
