"""Find the layers that explain a change of latency, and what changed about them.

found = blame(old_profile, new_profile, delta_ms=0.031, others={"h2d_ms": (0.012, 0.012)})
details = found.lines()
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

from pytest_trt.core.figures import FIGURES
from pytest_trt.core.records import Layer, LayerProfile
from pytest_trt.judge.regression.layer_matching import Group, align, origins

CauseKind = Literal[
    "new layer", "layer gone", "new reformat", "reformat gone", "other precision", "fusion lost", "fusion gained",
    "fused differently", "other tactic", "other format", "kernel slower", "kernel faster", "kernels unchanged",
]  # fmt: skip

MIN_CHANGE = 0.05
"""The relative change below which a layer that is otherwise the same is no cause by itself. All such layers together
may be one."""

MIN_EXPLAINED = 0.5
"""The share of the change that layers must explain. If they explain less, the text says so and shows other figures."""

_SHOWN = 0.02
"""The smallest share of the change for which a cause gets a line in a failure's text."""

_OFFSET = 0.1
"""The share of the change from which the other layers get a line because they work against it."""

_NAMED = 3
"""How many new or removed layers of one kind are named one by one."""

_WIDTH = 44
"""The most characters of a layer's name."""


@dataclasses.dataclass(frozen=True)
class Cause:
    """A change of one layer, or of several alike, and what it adds to an inference.

    Attributes:
        kind: What changed.
        layer: The layer's name, or how many layers there are.
        delta_ms: What the change adds to an inference, in ms.
        detail: What it was and is, such as `fp16 to fp32`.
    """

    kind: CauseKind
    layer: str
    delta_ms: float
    detail: str = ""


@dataclasses.dataclass(frozen=True)
class Blame:
    """The causes of a change of latency.

    Attributes:
        delta_ms: The change, in ms.
        causes: The causes, the largest first; those that work against the change come last.
        timed: Whether the layers' times are known.
        others: For other figures, and for `sm_mhz`, the old and the new value.
    """

    delta_ms: float
    causes: tuple[Cause, ...]
    timed: bool = True
    others: Mapping[str, tuple[float, float]] = dataclasses.field(default_factory=dict)

    @property
    def explained(self) -> float:
        """The share of the change that all layers together explain."""
        return sum(cause.delta_ms for cause in self.causes) / self.delta_ms if self.delta_ms else 0.0

    def lines(self, most: int = 3) -> tuple[str, ...]:
        """Return the `most` largest causes and their share of the change, as lines of a failure's text."""
        return tuple(self._lines(most))

    def all_causes(self) -> tuple[str, ...]:
        """Return every cause as a line of a report, with those that work against the change."""
        return tuple(line.strip() for line in _table(self.causes, self._decimals if self.timed else None))

    @property
    def _decimals(self) -> int:
        return min(max(3, 1 - math.floor(math.log10(abs(self.delta_ms)))), 6) if self.delta_ms else 3

    def _lines(self, most: int) -> Iterator[str]:
        if not self.timed:
            yield "blame: layers were not timed; what differs:"
            yield from _table(self.causes[:most], None)
            return
        decimals = self._decimals
        change = f"{self.delta_ms:+.{decimals}f} ms"
        shown = [c for c in self.causes[:most] if c.delta_ms / self.delta_ms > _SHOWN] if self.delta_ms else []
        if self.explained >= MIN_EXPLAINED and shown:
            share = sum(cause.delta_ms for cause in shown) / self.delta_ms
            yield f"blame, explains {100 * share:.0f} % of {change}:"
        else:
            yield f"blame: layers explain only {100 * max(0.0, self.explained):.0f} % of {change}"
        yield from _table(shown, decimals)
        rest = self.delta_ms * self.explained - sum(cause.delta_ms for cause in shown)
        if shown and rest / self.delta_ms < -_OFFSET:
            yield f"  the other layers together {rest:+.{decimals}f} ms"
        if self.explained < MIN_EXPLAINED:
            yield from (f"  {line}" for line in _other_lines(self.others))


def blame(
    old: LayerProfile,
    new: LayerProfile,
    delta_ms: float,
    others: Mapping[str, tuple[float, float]] | None = None,
) -> Blame:
    """Find the causes of the difference between two engines' latencies.

    Args:
        old: The old engine's layers.
        new: The new engine's layers.
        delta_ms: How much longer an inference takes with the new engine, in ms.
        others: For other figures, and for `sm_mhz`, the old and the new value.
    """
    timed = all(any(layer.ms is not None for layer in profile.layers) for profile in (old, new))
    causes = _combine(describe_change(group) for group in align(old.layers, new.layers))
    sign = -1.0 if delta_ms < 0 else 1.0
    ranked = sorted(causes, key=lambda cause: -sign * cause.delta_ms)
    return Blame(delta_ms, tuple(ranked), timed, others or {})


def describe_change(group: Group) -> Cause:
    """Return what changed about matched layers."""
    kind, detail = _kind(group)
    layers = group.new or group.old
    name = group.near if group.reformat else " + ".join(_name(layer) for layer in layers)
    return Cause(kind, name, group.delta_ms, detail)


def _kind(group: Group) -> tuple[CauseKind, str]:
    """Return the most telling change of the layers, and its detail."""
    old, new = group.old, group.new
    if not old:
        return ("new reformat" if group.reformat else "new layer"), _described(new)
    if not new:
        return ("reformat gone" if group.reformat else "layer gone"), _described(old)
    if precisions := _change(_precisions(old), _precisions(new)):
        return "other precision", precisions
    was = "was " + " + ".join(_name(layer) for layer in old)
    if len(old) != len(new) and group.reformat:
        return ("new reformat" if len(new) > len(old) else "reformat gone"), f"{len(old)} to {len(new)} of them"
    if len(old) != len(new):
        return ("fusion lost" if len(new) > len(old) else "fusion gained"), was
    if len(old) > 1 and {_name(layer) for layer in old} != {_name(layer) for layer in new}:
        return "fused differently", was
    if tactics := _change(_tactics(old), _tactics(new)):
        return "other tactic", tactics
    if formats := _change(_formats(old), _formats(new)):
        return "other format", formats
    before = sum(layer.ms or 0.0 for layer in old)
    if abs(group.delta_ms) <= MIN_CHANGE * before:
        return "kernels unchanged", ""
    grown = sorted(set().union(*map(origins, new)) - set().union(*map(origins, old)))
    detail = f"now with {', '.join(grown)}" if grown else "everything else is the same"
    return ("kernel slower" if group.delta_ms > 0 else "kernel faster"), detail


def _combine(causes: Iterator[Cause]) -> Iterator[Cause]:
    """Yield the causes, with those combined that are alike.

    These are all unchanged layers, all layers that changed their precision in the same way, and all new or removed
    layers of one kind.
    """
    together: dict[tuple[str, str], list[Cause]] = {}
    for cause in causes:
        if cause.kind in ("kernels unchanged", "other precision", "new layer", "layer gone"):
            together.setdefault((cause.kind, cause.detail), []).append(cause)
        else:
            yield cause
    for (_, detail), several in together.items():
        most = max(several, key=lambda cause: abs(cause.delta_ms))
        if len(several) <= (_NAMED if most.kind in ("new layer", "layer gone") else 1):
            yield from several
            continue
        if most.kind == "kernels unchanged":
            name, detail = f"{len(several)} layers together", "none by much: clocks or memory, not a single layer"
        else:
            name = f"{len(several)} layers, most in {most.layer}"
        yield Cause(most.kind, name, sum(cause.delta_ms for cause in several), detail)


def _change(then: str, now: str) -> str:
    """Return the change as text; empty if nothing changed, or if one side is unknown."""
    return f"{then} to {now}" if then and now and then != now else ""


def _precisions(layers: Sequence[Layer]) -> str:
    return ", ".join(sorted({layer.precision.lower() for layer in layers if layer.precision}))


def _tactics(layers: Sequence[Layer]) -> str:
    return ", ".join(layer.tactic for layer in layers if layer.tactic)


def _formats(layers: Sequence[Layer]) -> str:
    return ", ".join(layer.formats for layer in layers if layer.formats)


def _described(layers: Sequence[Layer]) -> str:
    return _tactics(layers) or ", ".join(dict.fromkeys(layer.kind for layer in layers if layer.kind))


def _name(layer: Layer) -> str:
    """Return the layer's name, or the nodes that it came from if its name is a number."""
    return " + ".join(origins(layer)) if layer.name.isdecimal() or not layer.name else layer.name


def _table(causes: Sequence[Cause], decimals: int | None) -> Iterator[str]:
    names = [_cut(cause.layer, _WIDTH) for cause in causes]
    kinds, width = max((len(cause.kind) for cause in causes), default=0), max(map(len, names), default=0)
    for cause, name in zip(causes, names, strict=True):
        added = "" if decimals is None else f"{cause.delta_ms:+.{decimals}f} ms   "
        yield f"  {cause.kind:<{kinds}}   {name:<{width}}   {added}{_cut(cause.detail, 2 * _WIDTH)}".rstrip()


def _cut(text: str, width: int) -> str:
    printable = "".join(character if character.isprintable() else " " for character in text)
    return printable if len(printable) <= width else f"{printable[: width - 3]}..."


def _other_lines(others: Mapping[str, tuple[float, float]]) -> Iterator[str]:
    """Yield lines with the other figures that may explain the change: transfers, enqueue, clocks."""
    for name, (then, now) in others.items():
        about = FIGURES.get(name)
        title, unit = (about.title, about.unit) if about else (name.rpartition("_")[0], name.rpartition("_")[2].upper())
        title = {"sm_mhz": "SM clock", "mem_mhz": "memory clock"}.get(name, title)
        unit = "MHz" if name.endswith("_mhz") else unit
        yield f"{title}: {then:.4g} to {now:.4g} {unit}"
