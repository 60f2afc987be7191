"""Explain a slowdown by the layers, the copies and the clock of the two engines."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from pytest_trt.core import stats
from pytest_trt.core.records import Estimate, LayerProfile, Samples, Verdict
from pytest_trt.judge.regression.blame import Blame, blame

OTHER_FIGURES = ("h2d_ms", "d2h_ms", "enqueue_ms")
"""Figures outside the layers that a slowdown may come from."""


@dataclasses.dataclass(frozen=True)
class EngineCosts:
    """A frozen record of what one engine costs: its figures, its layers if they were timed, its blocks."""

    figures: Mapping[str, Estimate]
    profile: LayerProfile | None = None
    samples: Sequence[Samples] = ()


def explain_slowdown(verdict: Verdict, new: EngineCosts, old: EngineCosts) -> Blame | None:
    """Return which layers explain a slower latency; None if the verdict is another one or a profile is absent.

    The old latency is the new one divided by the verdict's ratio: both engines were compared side by side, so this is
    better known than the difference of two separate medians.
    """
    is_slowdown = verdict.status == "regressed" and verdict.figure == "ms"
    if not is_slowdown or verdict.ratio is None or new.profile is None or old.profile is None:
        return None
    now_ms = new.figures["ms"].value
    then_ms = now_ms / verdict.ratio.value
    other_figures = {
        name: (old.figures[name].value, new.figures[name].value)
        for name in OTHER_FIGURES
        if name in old.figures and name in new.figures
    }
    other_figures.update(median_clocks(old.samples, new.samples))
    layers = scale_to_latency(old.profile, then_ms), scale_to_latency(new.profile, now_ms)
    return blame(*layers, now_ms - then_ms, other_figures)


def median_clocks(old: Sequence[Samples], new: Sequence[Samples]) -> dict[str, tuple[float, float]]:
    """Return the old and the new SM clock in MHz, medians over blocks; empty if a side did not read it."""
    read = [[b.state["sm_mhz"] for s in side for b in s.blocks if "sm_mhz" in b.state] for side in (old, new)]
    return {"sm_mhz": (stats.median(read[0]), stats.median(read[1]))} if all(read) else {}


def scale_to_latency(profile: LayerProfile, ms: float) -> LayerProfile:
    """Return the profile with its layers scaled so that they sum up to at most the measured latency.

    Timing each layer by itself costs something, and layers that run as a graph overlap.
    """
    factor = ms / profile.total_ms if profile.total_ms > ms else 1.0
    layers = (dataclasses.replace(layer, ms=layer.ms and layer.ms * factor) for layer in profile.layers)
    return dataclasses.replace(profile, layers=tuple(layers))
