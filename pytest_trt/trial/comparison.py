"""How a test is compared with its baseline: what that asks of the sampling, and the verdicts."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal

from pytest_trt.core import stats
from pytest_trt.core.records import Estimate, LayerProfile, Measurement, Samples, Verdict
from pytest_trt.judge import budgets
from pytest_trt.judge.baselines.baseline import Baseline
from pytest_trt.judge.regression import paired
from pytest_trt.judge.regression import stored as stored_figures
from pytest_trt.judge.regression.blame import Blame, blame
from pytest_trt.judge.regression.changes import describe_changes
from pytest_trt.measure.engine_probe import Subject
from pytest_trt.measure.figures import DEFAULT_PROBE_SPREAD
from pytest_trt.measure.run import MeasuredRun
from pytest_trt.measure.stopping import AllOf, Resolution, Rule
from pytest_trt.spec.expectations import Tolerance
from pytest_trt.trial import probe_spread

if TYPE_CHECKING:
    from pytest_trt.judge.baselines import BaselineFolder

Way = Literal["off", "absent", "identical", "paired", "stored"]

BUILD_SPREAD = 0.01
"""How far two builds of one model may differ, as a share, until --trt-builds has measured it."""

REBUILT = "build lottery: the baseline's model and options, in another build; --trt-builds=3 judges three together"

FROM_BLOCKS = frozenset(("ms", "gpu_ms", "p95_ms", "p99_ms", "enqueue_ms"))
"""Figures that more blocks tell better."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Comparison:
    """`way` is how; `other` is the baseline's engine where the two take turns; `absence` the verdict where there is no
    baseline. `spread` is how far two probes of one plan differ here, and `open_order_effect` how far the order
    in which they are opened moves them, as shares; `since` is what the baseline is called where it is told what
    changed; `rebuilt` is whether this engine is another build of the baseline's model and options: then the build
    lottery is named."""

    way: Way
    spread: float
    open_order_effect: float
    slowdown: float
    memory_growth: float
    tolerance: Tolerance
    baseline: Baseline | None = None
    other: Subject | None = None
    absence: Verdict | None = None
    since: str = "the baseline"
    rebuilt: bool = False

    def against(self, other: Subject) -> Comparison:
        """The same question, asked of another engine in turns."""
        return dataclasses.replace(self, way="paired", other=other)

    def knowing(self, others: Mapping[str, Estimate]) -> Comparison:
        """The comparison, once what it compares with is measured: the engine of a revision has no figures before."""
        if self.baseline is None or not self.measures_other:
            return self
        figures = {**others, **self.baseline.figures}
        return dataclasses.replace(self, baseline=dataclasses.replace(self.baseline, figures=figures))

    @property
    def measures_other(self) -> bool:
        """Whether the figures of what it is compared with are not known yet (see `knowing`)."""
        return self.baseline is not None and "ms" not in self.baseline.figures

    @property
    def time(self) -> str | None:
        return self.baseline.time if self.baseline is not None else None

    @property
    def question(self) -> paired.RegressionQuestion:
        """Is `ms` worse than the baseline's by more than the tolerance?"""
        run_spread = 0.01 if self.spread < DEFAULT_PROBE_SPREAD["cpu"] else DEFAULT_PROBE_SPREAD["cpu"]
        build_spread = self.baseline.build_spread.get("ms", BUILD_SPREAD) if self.baseline else BUILD_SPREAD
        return paired.RegressionQuestion(
            tolerance=self.slowdown,
            spread=self.spread,
            open_order_effect=self.open_order_effect,
            run_spread=run_spread,
            build_spread=build_spread,
        )

    def rule(self, limits: Mapping[str, float], resolution: float, builds: int = 1) -> Rule:
        """When there are blocks enough: each budget decided, and the question of the baseline, with the lottery of so
        many `builds` in it; with neither, when the interval is as narrow as `resolution`, or as a quarter of what
        probes differ by: more blocks of this one would say no more of the next."""
        asked = {name: limit for name, limit in limits.items() if name in FROM_BLOCKS}
        rules: list[Rule] = [budgets.LimitRule(asked, spread=self.spread)] if asked else []
        if self.way == "paired":
            rules.append(paired.PairedRule(self.question, builds))
        elif self.way in ("stored", "absent") or not rules:  # what is to be compared, now or later, has to be narrow
            rules.append(Resolution("ms", max(resolution, self.spread / 4)))
        return AllOf(rules)

    def verdicts(self, sides: Sequence[Sequence[Samples]], figures: Mapping[str, Estimate]) -> tuple[Verdict, ...]:
        """The verdicts of the figures that baselines gate: `ms` and `memory_mb`."""
        if self.absence is not None:
            return (self.absence,)
        if self.baseline is None:
            return ()
        if self.way == "identical":
            return (Verdict("ok", "baseline", "ms", "identical plan: nothing to compare", tolerance=self.slowdown),)
        found = [
            paired.judge_paired(self.question, *sides)
            if self.way == "paired"
            else stored_figures.judge_stored(self.question, figures["ms"], self.baseline)
        ]
        told = (REBUILT,) if self.rebuilt else ()
        if self.way == "paired" and found[0].status == "inconclusive":
            told = (*told, *probe_spread.advice(self.spread, self.open_order_effect))
        found[0] = dataclasses.replace(found[0], details=(*found[0].details, *told))
        if "memory_mb" in figures and "memory_mb" in self.baseline.figures:
            question = paired.RegressionQuestion(figure="memory_mb", tolerance=self.memory_growth)
            found.append(stored_figures.judge_stored(question, figures["memory_mb"], self.baseline))
        return tuple(self._enforced(verdict) for verdict in found)

    def explained(
        self,
        verdicts: Sequence[Verdict],
        measurement: Measurement,
        again: MeasuredRun,
        folder: BaselineFolder | None,
    ) -> tuple[Verdict, ...]:
        """The verdicts, regressions with what changed and which layers explain it. `again` has the new engine's layers
        and, where the two took turns, the old one's; else those that are stored are asked for."""
        if self.baseline is None or not any(verdict.status == "regressed" for verdict in verdicts):
            return tuple(verdicts)
        changed = describe_changes(self.baseline, measurement, since=self.since)
        first = next(verdict for verdict in verdicts if verdict.status == "regressed")

        def with_details(verdict: Verdict) -> Verdict:
            if verdict.status != "regressed":
                return verdict
            found = self._blame(verdict, measurement, again, folder) if verdict.figure == "ms" else None
            lines, causes = ((), ()) if found is None else (found.lines(), found.all_causes())
            said = changed if verdict is first else ()  # once a test
            return dataclasses.replace(verdict, details=(*verdict.details, *lines, *said), causes=causes)

        return tuple(map(with_details, verdicts))

    def _blame(
        self,
        verdict: Verdict,
        measurement: Measurement,
        again: MeasuredRun,
        folder: BaselineFolder | None,
    ) -> Blame | None:
        """Which layers explain a slowdown; None where one side has no profile."""
        sides, profiles = again.sampling.sides, again.profiles
        old, before = (profiles[1], sides[1]) if len(profiles) > 1 else (None, ())
        if old is None and folder is not None and self.baseline is not None:
            data = folder.data(self.baseline)
            old, before = (data.profile, data.samples) if data is not None else (None, ())
        if not profiles or old is None or verdict.ratio is None or self.baseline is None:
            return None
        now, then = measurement.figures["ms"].value, measurement.figures["ms"].value / verdict.ratio.value
        stored, figures = self.baseline.figures, measurement.figures
        others = {
            name: (stored[name].value, figures[name].value)
            for name in ("h2d_ms", "d2h_ms", "enqueue_ms")
            if name in stored and name in figures
        }
        others.update(clocks(before, sides[0]))
        return blame(scaled(old, then), scaled(profiles[0], now), now - then, others)

    def _enforced(self, verdict: Verdict) -> Verdict:
        """A regression that is quarantined until a day that has not passed is said, and does not fail."""
        until = self.tolerance.until
        if self.tolerance.enforce or verdict.status != "regressed" or until is None:
            return verdict
        if datetime.date.today() > until:
            return dataclasses.replace(verdict, details=(*verdict.details, f"its quarantine ended on {until}"))
        text = f"{verdict.text}; quarantined until {until}: {self.tolerance.reason}"
        return dataclasses.replace(verdict, status="unenforced", text=text)


def clocks(old: Sequence[Samples], new: Sequence[Samples]) -> dict[str, tuple[float, float]]:
    """The SM clock that was and is, in MHz: medians over blocks; empty where a side did not read it."""
    read = [[b.state["sm_mhz"] for s in side for b in s.blocks if "sm_mhz" in b.state] for side in (old, new)]
    return {"sm_mhz": (stats.median(read[0]), stats.median(read[1]))} if all(read) else {}


def scaled(profile: LayerProfile, ms: float) -> LayerProfile:
    """A profile whose layers sum up to no more than the latency that was measured: timing each layer by itself costs
    something, and what runs as a graph overlaps."""
    factor = ms / profile.total_ms if profile.total_ms > ms else 1.0
    layers = (dataclasses.replace(layer, ms=layer.ms and layer.ms * factor) for layer in profile.layers)
    return dataclasses.replace(profile, layers=tuple(layers))


def confirmed(first: Sequence[Verdict], again: Sequence[Verdict], *, rebuilt: bool = False) -> tuple[Verdict, ...]:
    """The first verdicts, of which a failing one stands only where it was seen again: what was over budget may have
    been one bad process, and what regressed one unlucky build."""
    seen = {(verdict.basis, verdict.figure): verdict for verdict in again}

    def stands(verdict: Verdict) -> Verdict:
        second = seen.get((verdict.basis, verdict.figure))
        if second is None:  # accuracy is not asked twice
            return verdict
        if verdict.basis == "baseline":
            return paired.confirm_regression(verdict, second, rebuilt=rebuilt)
        if verdict.status == "over_budget" and second.status != "over_budget" and not rebuilt:
            text = f"{verdict.text} (at the limit: not seen again in a fresh probe)"
            return dataclasses.replace(verdict, status="inconclusive", text=text)
        return verdict

    return tuple(stands(verdict) for verdict in first)
