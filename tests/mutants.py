"""Change one operator or number of a module at a time, and check that its unit tests notice.

    python tests/mutants.py                       # every module
    python tests/mutants.py core/stats.py         # one module
    python tests/mutants.py --sample 40 --seed 1  # forty random mutants of each module

The tests of a module are collected once. For each mutant, a forked process gets the changed code and runs them, the
fastest first, until one fails. mutmut and cosmic-ray start an interpreter and pytest for each mutant, which takes many
times as long.

A mutant that no test notices survives. EQUIVALENT lists those that cannot be noticed, with the reason. The exit status
is 1 if fewer than LEAST_KILLED of the others are noticed.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import copy
import dataclasses
import itertools
import os
import random
import resource
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any, NoReturn

ROOT = Path(__file__).resolve().parents[1]

LEAST_KILLED = 0.95

MODULES: dict[str, tuple[str, ...]] = {
    "core/distributions.py": ("core/test_distributions.py",),
    "core/drift.py": ("core/test_drift.py",),
    "core/engine_noise.py": ("core/test_engine_noise.py",),
    "core/noise_levels.py": ("core/test_noise_levels.py",),
    "core/repeats.py": ("core/test_repeats.py",),
    "core/stats.py": ("core/test_stats.py",),
    "measure/stopping.py": ("measure/test_stopping.py",),
    "judge/accuracy/allowed_error.py": ("judge/accuracy/test_allowed_error.py", "judge/accuracy/test_verdicts.py"),
    "judge/accuracy/difference.py": ("judge/accuracy/test_difference.py", "judge/accuracy/test_verdicts.py"),
    "judge/accuracy/norms.py": ("judge/accuracy/test_norms.py",),
    "judge/accuracy/tokens.py": ("judge/accuracy/test_tokens.py",),
    "judge/accuracy/verdicts.py": ("judge/accuracy/test_verdicts.py", "judge/accuracy/test_unordered.py"),
    "judge/baselines/updating.py": ("judge/baselines/test_updating.py",),
    "judge/budgets.py": ("judge/test_budgets.py",),
    "judge/repeats.py": ("judge/test_repeats.py",),
    "judge/suite.py": ("judge/test_suite.py",),
    "judge/regression/blame.py": ("judge/regression/test_blame.py",),
    "judge/regression/card_levels.py": ("judge/regression/test_card_levels.py",),
    "judge/regression/change_points.py": ("judge/regression/test_change_points.py",),
    "judge/regression/changes.py": ("judge/regression/test_changes.py",),
    "judge/regression/estimates.py": ("judge/regression/test_estimates.py",),
    "judge/regression/fleet.py": ("judge/regression/test_fleet.py",),
    "judge/regression/layer_limits.py": ("judge/regression/test_layer_limits.py",),
    "judge/regression/layer_matching.py": ("judge/regression/test_layer_matching.py", "judge/regression/test_blame.py"),
    "judge/regression/offline.py": ("judge/regression/test_offline.py",),
    "judge/regression/paired.py": ("judge/regression/test_paired.py",),
    "judge/regression/placement_change.py": ("judge/regression/test_placement_change.py",),
    "judge/regression/question.py": ("judge/regression/test_question.py",),
    "judge/regression/stored.py": ("judge/regression/test_stored.py", "judge/regression/test_card_levels.py"),
    "judge/regression/trend.py": ("judge/regression/test_trend.py",),
    "judge/regression/windows.py": ("judge/regression/test_windows.py",),
    "spec/gates.py": ("spec/test_gates.py",),
    "trial/choose_comparison.py": ("trial/test_choose_comparison.py",),
    "trial/confirm.py": ("trial/test_confirm.py",),
    "trial/gated_figures.py": ("trial/test_gated_figures.py",),
}
"""The modules, in the package, and their unit tests, in this folder."""

_ROUNDING = "only allows for the rounding of a product"

EQUIVALENT: dict[tuple[str, str, str], str] = {
    (
        "judge/suite.py",
        "holding = [k for k, (value, _) in enumerate(ranked, 1) if value >= len(ranked) / (k * error) * (1 - 1e-9)]",
        change,
    ): _ROUNDING
    for change in (
        "value >= len(ranked) / (k * error) * (1 - 1e-09) -> value > len(ranked) / (k * error) * (1 - 1e-09)",
        "1e-09 -> 1.5000000000000002e-09",
    )
} | {
    (
        "judge/suite.py",
        "return frozenset(node_id for value, node_id in judged if value > 0) - {node_id for _, node_id in held}",
        "0 -> 1",
    ): "an e-value is 0 or at least 1000",
    (
        "core/distributions.py",
        "low, high = 0.0, 1.0",
        "1.0 -> 1.5",
    ): "the search for a quantile begins elsewhere, and ends at the same",
    (
        "core/distributions.py",
        "high *= 2",
        "2 -> 3",
    ): "the search for a quantile begins elsewhere, and ends at the same",
    ("core/distributions.py", "for _ in range(80):", "80 -> 81"): "the search has found the nearest float before",
    (
        "core/distributions.py",
        "while _t_tail(high, freedom) > tail:",
        "_t_tail(high, freedom) > tail -> _t_tail(high, freedom) >= tail",
    ): "a search that has found the quantile exactly may go on",
    (
        "core/distributions.py",
        "low, high = (middle, high) if _t_tail(middle, freedom) > tail else (low, middle)",
        "_t_tail(middle, freedom) > tail -> _t_tail(middle, freedom) >= tail",
    ): "a search that has found the quantile exactly may go on",
    (
        "core/distributions.py",
        "logs = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, count + 1)))])",
        "1 -> 2",
    ): "a logarithm more, which is not read",
    (
        "core/stats.py",
        "coarse = steps[steps > 1e-6]",
        "steps > 1e-06 -> steps >= 1e-06",
    ): "a step of exactly the limit has no probability",
    ("core/stats.py", "_DENSE = (20, 80)", "80 -> 81"): "no look is at 81 units",
    (
        "core/stats.py",
        "STEP_BLOCKS = 16",
        "16 -> 17",
    ): "a number of blocks that is as good; its users test that it is a limit",
    (
        "core/stats.py",
        "freedom = max(int((len(means) - 1) * kept), 1)",
        "1 -> 2",
    ): "fewer than half of the values are winsorised, so that at least three degrees are left",
    (
        "core/stats.py",
        "elif r < DEPENDENT_FROM * error:",
        "r < DEPENDENT_FROM * error -> r <= DEPENDENT_FROM * error",
    ): "an autocorrelation of exactly the limit has no probability",
    (
        "core/stats.py",
        "return math.sqrt((1 + r) / (1 - r)) if r > 0 else 1.0",
        "r > 0 -> r >= 0",
    ): "the factor of no dependence is 1 too",
    ("core/stats.py", "return n > 0 and last_look(n)[0] == n", "0 -> 1"): "there is no look after one unit",
    (
        "core/stats.py",
        "if doublings > 0:",
        "doublings > 0 -> doublings >= 0",
    ): "the last look of the list has the same share either way",
    (
        "judge/budgets.py",
        "if figure not in chosen or rank > chosen[figure][0]:",
        "rank > chosen[figure][0] -> rank >= chosen[figure][0]",
    ): "limits of the same rank are equal",
    ("judge/budgets.py", "self.start(1)", "1 -> 2"): "the rule reads one side, whatever their number",
    (
        "judge/budgets.py",
        "if not self._probes:",
        "not self._probes -> self._probes",
    ): "all blocks of an engine have the same figures",
    (
        "judge/regression/paired.py",
        "for ours, theirs in zip(new, old, strict=True)",
        "True -> False",
    ): "both sides have the same number of probes, as was checked before",
    (
        "judge/regression/paired.py",
        "scattered = [question.build_spread / 4 * (-1) ** n for n in range(builds)]",
        "question.build_spread / 4 * (-1) ** n -> question.build_spread / 4 / (-1) ** n",
    ): "dividing by 1 or -1 is multiplying by it",
    ("judge/regression/paired.py", "self.start(2)", "2 -> 3"): "the rule compares two sides, whatever their number",
    (
        "judge/regression/windows.py",
        "self.start(2)",
        "2 -> 3",
    ): "the rule compares two sides, whatever their number",
    (
        "judge/regression/paired.py",
        "self._needs_blocks = False",
        "False -> True",
    ): "before the first look, no status is decided either",
    (
        "judge/regression/paired.py",
        "self._needs_blocks = alone.high - alone.low > 2 * math.log1p(precision)",
        "alone.high - alone.low > 2 * math.log1p(precision) -> alone.high - alone.low >= 2 * math.log1p(precision)",
    ): "a width of exactly the limit has no probability",
    (
        "judge/regression/paired.py",
        "self._spread_decides = alone.high - alone.low < whole / part",
        "alone.high - alone.low < whole / part -> alone.high - alone.low <= whole / part",
    ): "a width of exactly the limit has no probability",
    (
        "judge/regression/paired.py",
        "enough = self._spread_decides or noise_levels.last_probe_caught_up(self._blocks[0])",
        "0 -> 1",
    ): "both sides have as many blocks after every turn",
    (
        "core/noise_levels.py",
        "centered = [[unit - median + center for unit in units] for units, median in zip(kept, medians, strict=True)]",
        "True -> False",
    ): "every probe has one median",
    (
        "judge/regression/paired.py",
        "shortest = min(map(len, full), default=0)",
        "0 -> 1",
    ): "without a pair, nothing has a length",
    (
        "core/noise_levels.py",
        "orders = [[m for turn, m in enumerate(medians) if first_side(turn) == first] for first in (0, 1)]",
        "first_side(turn) == first -> first_side(turn) != first",
    ): "both orders have the same weight, whichever is first",
    (
        "core/noise_levels.py",
        "residues = [m - mean + rest for order, mean, rest in zip(orders, means, unexplained, strict=True) for m in order]",  # noqa: E501
        "m - mean + rest -> m - mean - rest",
    ): "only the sum of the squares is used, and the residues of an order have a mean of 0",
    (
        "core/noise_levels.py",
        "found = stats.percentile_interval(times, percent, alpha * stats.last_look(max(len(blocks), stats.LOOKS[0]))[1])",  # noqa: E501
        "0 -> 1",
    ): "the first two looks have the same share of the error",
    ("judge/budgets.py", "LARGEST_LOG = 100.0", "100.0 -> 150.0"): "any number far beyond a real margin is as good",
    (
        "judge/budgets.py",
        "waited = any(before < least <= self._seconds for least in (drift.CAPPED_S, noise_levels.MIN_PERCENTILE_S))",
        "before < least <= self._seconds -> before <= least <= self._seconds",
    ): "the budgets are judged once more",
    (
        "judge/budgets.py",
        "self._spread_decides = self._drift_decides = False",
        "False -> True",
    ): "before the first look, no fresh probe is requested either way",
    (
        "measure/stopping.py",
        "if len(self._first_blocks) < stats.STEP_BLOCKS:",
        "len(self._first_blocks) < stats.STEP_BLOCKS -> len(self._first_blocks) <= stats.STEP_BLOCKS",
    ): "a number of blocks that is as good",
    (
        "measure/stopping.py",
        "if self.half_width > max(self._resolution, self._step):",
        "self.half_width > max(self._resolution, self._step) -> self.half_width >= max(self._resolution, self._step)",
    ): "a value of exactly the limit has no probability",
    (
        "measure/stopping.py",
        'reached = "resolution of" if self._step <= self._resolution else "the timer\'s step,"',
        "self._step <= self._resolution -> self._step < self._resolution",
    ): "a value of exactly the limit has no probability",
    (
        "measure/stopping.py",
        "if abs(last[-1] - last[0]) > self.NEAR and last in (sorted(last), sorted(last, reverse=True)):",
        "abs(last[-1] - last[0]) > self.NEAR -> abs(last[-1] - last[0]) >= self.NEAR",
    ): "a value of exactly the limit has no probability",
    (
        "measure/stopping.py",
        "if abs(found.rise) <= max(drift.SEEN * found.error, self.NEAR) and bound < most:",
        (
            "abs(found.rise) <= max(drift.SEEN * found.error, self.NEAR) -> "
            "abs(found.rise) < max(drift.SEEN * found.error, self.NEAR)"
        ),
    ): "a value of exactly the limit has no probability",
    (
        "measure/stopping.py",
        "if abs(found.rise) <= max(drift.SEEN * found.error, self.NEAR) and bound < most:",
        "bound < most -> bound <= most",
    ): "a value of exactly the limit has no probability",
    ("measure/stopping.py", "self.start(1)", "1 -> 2"): "the rules read one side, whatever their number",
    ("measure/stopping.py", "self._step = 0.0", "0.0 -> 1.0"): "before the first look, the step decides nothing",
    (
        "judge/regression/question.py",
        'text = verdict.text.replace(" improved:", " ok:", 1)',
        "1 -> 2",
    ): "the text has its status once",
    (
        "judge/regression/paired.py",
        "return enough and not self.finished() and len(self._blocks[0][-1]) >= stats.LOOKS[0]",
        "0 -> 1",
    ): "both sides have as many blocks after every turn",
    (
        "core/noise_levels.py",
        "residues = [m - mean + rest for order, mean, rest in zip(orders, means, unexplained, strict=True) for m in order]",  # noqa: E501
        "True -> False",
    ): "every order has one mean",
    (
        "judge/regression/change_points.py",
        "strengths = [change if _differ(*side, tail) else -1.0 for change, side in zip(changes, sides, strict=True)]",
        "1.0 -> 1.5",
    ): "any strength below 0 is the weakest",
    (
        "judge/regression/change_points.py",
        "strengths = [change if _differ(*side, tail) else -1.0 for change, side in zip(changes, sides, strict=True)]",
        "True -> False",
    ): "both lists have one element for each point",
    (
        "judge/regression/change_points.py",
        "energy = m * n / count * (2 * between / (m * n) - within_left / (m * (m - 1)) - within_right / (n * (n - 1)))",
        "m * n / count -> m * n * count",
    ): "a constant factor moves no maximum and no sign",
    (
        "judge/regression/change_points.py",
        "return int(m[best]) if energy[best] > 0 else None",
        "energy[best] > 0 -> energy[best] >= 0",
    ): "a split without energy does not differ, and is dropped",
    (
        "judge/regression/change_points.py",
        "return gap > t_quantile(tail, freedom) * error and gap > 0",
        "gap > t_quantile(tail, freedom) * error -> gap >= t_quantile(tail, freedom) * error",
    ): "a gap of exactly the quantile has no probability",
    (
        "judge/regression/change_points.py",
        "return gap > t_quantile(tail, freedom) * error and gap > 0",
        "gap > 0 -> gap >= 0",
    ): "a gap of 0 is never beyond the quantile",
    ("core/drift.py", 'return "power cap" in decode_reasons(state.get("reasons", 0))', "0 -> 1"): (
        "the reason that the number 1 stands for is not the power cap either"
    ),
    (
        "core/drift.py",
        "kept = [(stats.median(half), stats.median(units)) for half, units in zip(newer, probes, strict=True) if half]",
        "True -> False",
    ): "every probe has one newer half",
    (
        "core/drift.py",
        "if sign * whole.rise <= SEEN * whole.error:",
        "sign * whole.rise <= SEEN * whole.error -> sign * whole.rise < SEEN * whole.error",
    ): "a slope of exactly the limit has no probability",
    (
        "core/drift.py",
        "return max(min(max(SEEN_S * sign * whole.rise, hidden), sign * moved + SEEN_S * half.most(sign, alpha)), least)",  # noqa: E501
        "SEEN_S * sign -> SEEN_S / sign",
    ): "dividing by 1 or -1 is multiplying by it",
    ("judge/repeats.py", "self.start(1)", "1 -> 2"): "the rule reads one side, whatever their number",
    (
        "judge/regression/card_levels.py",
        "return max(min(max(differences, default=0.0), -min(differences, default=0.0)), 0.0)",
        "0.0 -> 1.0",
    ): "without a difference, nothing went up as well as down",
    (
        "judge/regression/fleet.py",
        'return dataclasses.replace(judged, status="ok", text=judged.text.replace(" improved:", " ok:", 1))',
        "1 -> 2",
    ): "the text has its status once",
    (
        "judge/regression/fleet.py",
        'if figure != "ms" or abs(shift.log) < max(MIN_SHIFT, shift.margin / math.sqrt(shift.tests)):',
        (
            "abs(shift.log) < max(MIN_SHIFT, shift.margin / math.sqrt(shift.tests)) -> "
            "abs(shift.log) <= max(MIN_SHIFT, shift.margin / math.sqrt(shift.tests))"
        ),
    ): "a shift of exactly the limit has no probability",
    (
        "judge/regression/fleet.py",
        'word = "slower" if shift.log > 0 else "faster"',
        "shift.log > 0 -> shift.log >= 0",
    ): ("a shift of 0 is not reported"),
    (
        "judge/regression/trend.py",
        "drifts = [value / level for value, level in zip(values, levels, strict=True)]",
        "value / level -> value * level",
    ): "where the level does not change, both change at the same points, and other points are dropped",
    (
        "judge/regression/trend.py",
        "drifts = [value / level for value, level in zip(values, levels, strict=True)]",
        "True -> False",
    ): "every run has a value and a level",
}
EQUIVALENT[
    "core/drift.py",
    "least = MOST_UNSEEN if seconds * sum(map(len, probes)) < WATCHED_S else 0.0",
    "seconds * sum(map(len, probes)) < WATCHED_S -> seconds * sum(map(len, probes)) <= WATCHED_S",
] = "a time of exactly the limit has no probability"
EQUIVALENT["judge/regression/estimates.py", "self.start(2)", "2 -> 3"] = (
    "the rule compares two sides, whatever their number"
)
EQUIVALENT[
    "judge/regression/estimates.py",
    "self._probes_decide = alone.needs_s == 0 and _log_width(alone) < whole / 4",
    "_log_width(alone) < whole / 4 -> _log_width(alone) <= whole / 4",
] = "a width of exactly the limit has no probability"
EQUIVALENT.update(
    (("core/engine_noise.py", line, "True -> False"), "every pair has a median, and every order a mean")
    for line in (
        "for side, median in zip(first, pairs.medians, strict=True):",
        "orders = [[m for side, m in zip(first, pairs.medians, strict=True) if side == one] for one in (0, 1)]",
        "squares = sum((m - mean) ** 2 for order, mean in zip(orders, means, strict=True) for m in order)",
    )
)
_RENAMED = "for names, layers in zip(renamed, (group.old, group.new), strict=True):"
_NEIGHBOURS = "sides = [_by_neighbour(layers, names) for layers, names in zip((old, new), renamed, strict=True)]"
_COST = "out = [[(layer.ms or 0.0) + 1e-9 for layer in side] for side in (old, new)]"
_WIDTHS = "kinds, width = max((len(cause.kind) for cause in causes), default=0), max(map(len, names), default=0)"
EQUIVALENT.update(
    ((module, line, change), reason)
    for module, line, changes_of_line, reason in (
        ("judge/regression/layer_matching.py", _RENAMED, ("True -> False",), "there are two sides"),
        ("judge/regression/layer_matching.py", _NEIGHBOURS, ("True -> False",), "there are two sides"),
        (
            "judge/regression/layer_matching.py",
            _COST,
            ("1e-09 -> 1.5000000000000002e-09",),
            "any small cost is as good",
        ),
        (
            "judge/regression/blame.py",
            "sign = -1.0 if delta_ms < 0 else 1.0",
            ("1.0 -> 1.5",),
            "only the sign orders the causes",
        ),
        (
            "judge/regression/blame.py",
            'return ("new reformat" if len(new) > len(old) else "reformat gone"), f"{len(old)} to {len(new)} of them"',
            ("len(new) > len(old) -> len(new) >= len(old)",),
            "the numbers differ, as was checked before",
        ),
        (
            "judge/regression/blame.py",
            'return ("fusion lost" if len(new) > len(old) else "fusion gained"), was',
            ("len(new) > len(old) -> len(new) >= len(old)",),
            "the numbers differ, as was checked before",
        ),
        (
            "judge/regression/blame.py",
            'return ("kernel slower" if group.delta_ms > 0 else "kernel faster"), detail',
            ("group.delta_ms > 0 -> group.delta_ms >= 0",),
            "a layer without a change is unchanged, as was checked before",
        ),
        ("judge/regression/blame.py", _WIDTHS, ("0 -> 1",), "without causes, there is no line"),
        (
            "judge/regression/blame.py",
            "for cause, name in zip(causes, names, strict=True):",
            ("True -> False",),
            "every cause has a name",
        ),
        (
            "judge/accuracy/norms.py",
            "CHUNK = 1 << 20",
            ("1 -> 2", "20 -> 21"),
            "a number of elements that is as good; a test checks that the chunks are joined",
        ),
    )
    for change in changes_of_line
)
EQUIVALENT[
    "judge/regression/layer_limits.py", "lines = Blame(0.0, tuple(changes), timed=False).all_causes()", "0.0 -> 1.0"
] = "causes without times show no time"
"""Mutants that no test can notice, or that need none: the module, the line of the source and the change, and why."""

_COMPARISONS = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In,
}  # fmt: skip
_OPERATORS = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult, ast.Pow: ast.Mult, ast.LShift: ast.RShift, ast.RShift: ast.LShift, ast.MatMult: ast.Add,
}  # fmt: skip
_BOOLEANS = {ast.And: ast.Or, ast.Or: ast.And}


@dataclasses.dataclass(frozen=True)
class Mutant:
    """A frozen record of one change: the number of the node in the module's tree, and its number there."""

    node: int
    change: int
    line: int
    text: str


def changes(node: ast.AST) -> Iterator[ast.AST]:
    """Yield changed copies of a node."""
    changed = copy.copy(node)
    if isinstance(node, ast.Compare):
        for number, operator in enumerate(node.ops):
            changed = copy.copy(node)
            changed.ops = [*node.ops[:number], _COMPARISONS[type(operator)](), *node.ops[number + 1 :]]
            yield changed
    elif isinstance(node, (ast.BinOp, ast.AugAssign)) and type(node.op) in _OPERATORS:
        changed.op = _OPERATORS[type(node.op)]()
        yield changed
    elif isinstance(node, ast.BoolOp):
        changed.op = _BOOLEANS[type(node.op)]()
        yield changed
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.Not, ast.USub)):
        yield node.operand
    elif isinstance(node, ast.Constant) and isinstance(node.value, bool):
        yield ast.copy_location(ast.Constant(not node.value), node)
    elif isinstance(node, ast.Constant) and isinstance(node.value, (int, float)):
        larger = node.value + 1 if isinstance(node.value, int) or not node.value else node.value * 1.5
        yield ast.copy_location(ast.Constant(larger), node)


def nodes(tree: ast.AST) -> list[ast.AST]:
    """Return the nodes of a tree that a mutant may change: without annotations and decorators."""
    found: list[ast.AST] = []

    def visit(node: ast.AST) -> None:
        found.append(node)
        for name, value in ast.iter_fields(node):
            if name in ("annotation", "returns", "decorator_list"):
                continue
            for child in value if isinstance(value, list) else [value]:
                if isinstance(child, ast.AST):
                    visit(child)

    visit(tree)
    return found


def mutants(source: str) -> Iterator[Mutant]:
    """Yield every mutant of a module's source."""
    for number, node in enumerate(nodes(ast.parse(source))):
        for change, changed in enumerate(changes(node)):
            yield Mutant(number, change, node.lineno, f"{ast.unparse(node)} -> {ast.unparse(changed)}")


def mutate(source: str, mutant: Mutant) -> ast.Module:
    """Return the tree of a module with one change."""
    tree = ast.parse(source)
    old = nodes(tree)[mutant.node]
    new = list(changes(old))[mutant.change]

    class Replace(ast.NodeTransformer):
        def visit(self, node: ast.AST) -> ast.AST:
            return new if node is old else self.generic_visit(node)

    changed: ast.Module = Replace().visit(tree)
    return ast.fix_missing_locations(changed)


def install(module: ModuleType, tree: ast.Module) -> None:
    """Give the functions, classes and constants of a loaded module the code of a changed tree.

    Objects keep their identity, so that those who imported them run the changed code too.
    """
    changed = ModuleType(module.__name__)
    changed.__dict__.update(__file__=module.__file__, __package__=module.__package__)
    sys.modules[module.__name__] = changed  # dataclasses look their module up
    try:
        exec(compile(tree, str(module.__file__), "exec"), changed.__dict__)
    finally:
        sys.modules[module.__name__] = module
    for name, new in vars(changed).items():
        old = vars(module).get(name)
        if name.startswith("__") or old is new:
            continue
        if isinstance(old, type):
            if old.__module__ == module.__name__:
                for attribute, value in vars(new).items():
                    _replace(old, attribute, vars(old).get(attribute), value)
        else:
            _replace(module, name, old, new)


def _replace(owner: object, name: str, old: object, new: object) -> None:
    """Replace an attribute: the code of a function, or else the value, wherever it was imported."""
    functions = [_function(value) for value in (old, new)]
    if functions[0] is not None and functions[1] is not None:
        for part in ("__code__", "__defaults__", "__kwdefaults__"):
            with contextlib.suppress(ValueError):  # a closure, which dataclasses make
                setattr(functions[0], part, getattr(functions[1], part))
        clear = getattr(old, "cache_clear", None)
        if clear is not None:
            clear()
    elif not name.startswith("__") and isinstance(new, (int, float, str, tuple, frozenset, dict)) and new != old:
        owners = [m for m in list(sys.modules.values()) if getattr(m, "__dict__", {}).get(name, None) is old]
        for place in owners if isinstance(owner, ModuleType) else [owner]:
            setattr(place, name, new)


def _function(value: object) -> Any:
    for attribute in ("fget", "func", "__func__", "__wrapped__"):
        value = getattr(value, attribute, None) or value
    return value if isinstance(value, FunctionType) else None


class Loop:
    """A plugin of pytest that runs the collected tests once for each mutant."""

    def __init__(self, module: str, chosen: Sequence[Mutant], source: str) -> None:
        self._module, self._chosen, self._source = module, chosen, source
        self.survivors: list[Mutant] = []
        self.problem = f"the tests of {module} were not run"

    def pytest_runtestloop(self, session: Any) -> bool:
        items, report = list(session.items), {}
        started = time.process_time()
        for item, following in _with_next(items):
            began = time.process_time()
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
            report[item.nodeid] = time.process_time() - began
        if session.testsfailed or not items:
            self.problem = f"the tests of {self._module} fail, or there are none: {', '.join(MODULES[self._module])}"
            return True
        self.problem = ""
        cpu_s = int(5 * (time.process_time() - started)) + 10
        items.sort(key=lambda item: report[item.nodeid])
        loaded = sys.modules["pytest_trt." + self._module.removesuffix(".py").replace("/", ".")]
        for mutant in self._chosen:
            child = os.fork()
            if not child:
                self._run(session, items, loaded, mutant, cpu_s)
            if os.waitpid(child, 0)[1] == 0:
                self.survivors.append(mutant)
                print(f"  survives: {self._module}:{mutant.line}: {mutant.text}", file=sys.__stderr__, flush=True)
        return True

    def _run(self, session: Any, items: list[Any], loaded: ModuleType, mutant: Mutant, cpu_s: int) -> NoReturn:
        """Run the tests with a mutant in this process, and end it: with 0 if no test fails."""
        status = 1
        try:
            used = int(time.process_time())
            resource.setrlimit(resource.RLIMIT_CPU, (used + cpu_s, used + cpu_s))
            quiet = os.open(os.devnull, os.O_WRONLY)
            os.dup2(quiet, 1)
            os.dup2(quiet, 2)
            install(loaded, mutate(self._source, mutant))
            for item, following in _with_next(items):
                item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
                if session.testsfailed:
                    break
            status = int(session.testsfailed > 0)
        finally:
            os._exit(status)


def _with_next(items: list[Any]) -> Iterator[tuple[Any, Any]]:
    """Yield each test with the one after it, as pytest requires; None after the last one."""
    return itertools.zip_longest(items, items[1:])


def check(module: str, sample: int | None, generator: random.Random) -> tuple[int, int, int]:
    """Return how many mutants of a module were tried, how many survived, and how many are listed as equivalent."""
    source = (ROOT / "pytest_trt" / module).read_text()
    lines, found = source.splitlines(), list(mutants(source))
    listed = [one for one in found if (module, lines[one.line - 1].strip(), one.text) in EQUIVALENT]
    left = [one for one in found if one not in listed]
    chosen = left if sample is None or sample >= len(left) else generator.sample(left, sample)
    survivors = run_tests(module, sorted(chosen, key=lambda one: one.line), source)
    return len(chosen), survivors, len(listed)


def run_tests(module: str, chosen: Sequence[Mutant], source: str) -> int:
    """Return how many of the mutants survive. The tests run in a forked process: pytest runs only once in a process."""
    import pytest

    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        try:
            loop = Loop(module, chosen, source)
            tests = [str(ROOT / "tests" / test) for test in MODULES[module]]
            with open(os.devnull, "w") as quiet, contextlib.redirect_stdout(quiet):
                pytest.main(["-q", "-p", "no:cacheprovider", "-p", "no:xdist", *tests], plugins=[loop])
            os.write(writing, (loop.problem or str(len(loop.survivors))).encode())
        finally:
            os._exit(0)
    os.close(writing)
    with open(reading) as answers:
        answer = answers.read()
    os.waitpid(child, 0)
    if not answer.isdecimal():
        raise SystemExit(f"mutants.py: {answer or 'pytest crashed'}")
    return int(answer)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("modules", nargs="*", metavar="MODULE", help=f"the modules (all): {', '.join(MODULES)}")
    parser.add_argument("--sample", type=int, metavar="N", help="at most so many random mutants of each module")
    parser.add_argument("--seed", type=int, default=0, help="the seed of the choice (0)")
    arguments = parser.parse_args(argv)
    if unknown := [module for module in arguments.modules if module not in MODULES]:
        parser.error(f"there are no mutants of {unknown[0]}: choose from {', '.join(MODULES)}")
    os.chdir(ROOT)
    generator, tried, survivors = random.Random(arguments.seed), 0, 0
    for module in arguments.modules or MODULES:
        count, survived, listed = check(module, arguments.sample, generator)
        print(f"{module}: {count - survived} of {count} noticed, {listed} listed", flush=True)
        tried, survivors = tried + count, survivors + survived
    share = (tried - survivors) / max(tried, 1)
    print(f"{share:.1%} of {tried} mutants noticed")
    return int(share < LEAST_KILLED)


if __name__ == "__main__":
    sys.exit(main())
