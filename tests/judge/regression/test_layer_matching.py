"""Test how the layers of two engines are matched; `test_blame` tests the causes that are reported."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Sequence

import pytest

from pytest_trt.core.records import Layer
from pytest_trt.judge.regression import layer_matching
from pytest_trt.judge.regression.layer_matching import Group, align, origins


def layers(*named: tuple[str, float], kind: str = "Conv") -> list[Layer]:
    return [Layer(name, ms, kind, nodes=(name,)) for name, ms in named]


def names(groups: Sequence[Group]) -> set[tuple[str, str]]:
    return {tuple(" ".join(layer.name for layer in side) for side in (g.old, g.new)) for g in groups}  # type: ignore[misc]


RENUMBERED = layers(("Conv_1", 1.0), ("Conv_2", 5.0)), layers(("Conv_2", 1.0), ("Conv_3", 5.0))


def test_renumbered_layers_are_matched_by_order_up_to_a_number_of_layers(monkeypatch: pytest.MonkeyPatch) -> None:
    by_order = {("Conv_1", "Conv_2"), ("Conv_2", "Conv_3")}
    assert names(align(*RENUMBERED)) == by_order
    monkeypatch.setattr(layer_matching, "_MOST_BY_ORDER", 4)
    assert names(align(*RENUMBERED)) == by_order
    monkeypatch.setattr(layer_matching, "_MOST_BY_ORDER", 3)
    assert names(align(*RENUMBERED)) == {("Conv_1", ""), ("Conv_2", "Conv_2"), ("", "Conv_3")}


@pytest.mark.parametrize(("middle", "by_order"), [(1.4, True), (1.5, False), (1.6, False)])
def test_order_counts_if_it_needs_less_than_half_of_the_movement(middle: float, by_order: bool) -> None:
    """By names, 1 ms is gone and 1 ms is new. By order, two layers changed by `middle` - 1 ms each."""
    old = layers(("Conv_1", 1.0), ("Conv_2", middle))
    new = layers(("Conv_2", middle), ("Conv_3", 1.0))
    assert (("Conv_2", "Conv_2") not in names(align(old, new))) == by_order


@pytest.mark.parametrize("extra", [(), (("Softmax", 0.1),)])
def test_names_that_both_sides_have_count_whatever_the_order(extra: tuple[tuple[str, float], ...]) -> None:
    """Two layers exchange their times. By order, one layer would have moved."""
    old, new = layers(("Conv_1", 1.0), ("Conv_2", 5.0)), layers(("Conv_1", 5.0), ("Conv_2", 1.0), *extra)
    assert {("Conv_1", "Conv_1"), ("Conv_2", "Conv_2")} <= names(align(old, new))


def test_layers_between_different_matches_are_apart() -> None:
    old = [*layers(("A", 1.0)), *layers(("X", 1.0), kind="Gemm"), *layers(("B", 1.0))]
    new = [*layers(("A", 1.0), ("B", 1.0)), *layers(("Y", 1.0), kind="Gemm")]
    assert names(align(old, new)) == {("A", "A"), ("B", "B"), ("X", ""), ("", "Y")}
    beside = [*layers(("A", 1.0)), *layers(("Y", 1.0), kind="Gemm"), *layers(("B", 1.0))]
    assert names(align(old, beside)) == {("A", "A"), ("B", "B"), ("X", "Y")}


def single(old: Sequence[Layer], new: Sequence[Layer], anchors: Sequence[int | None]) -> Iterator[Group]:
    """Yield each layer without a match alone, instead of grouping those between two matches."""
    yield from (Group((layer,), ()) for layer, anchor in zip(old, anchors, strict=False) if anchor is None)
    yield from (Group((), (layer,)) for layer, anchor in zip(new, anchors[len(old) :], strict=True) if anchor is None)


def cheapest(old: Sequence[Layer], new: Sequence[Layer]) -> float:
    """Return the least movement of all ways to pair layers of one name without its number, in their order."""
    if not old or not new:
        return sum(layer.ms or 0.0 for layer in (*old, *new))
    ways = [(old[0].ms or 0.0) + cheapest(old[1:], new), (new[0].ms or 0.0) + cheapest(old, new[1:])]
    if old[0].name[0] == new[0].name[0]:
        ways.append(abs((old[0].ms or 0.0) - (new[0].ms or 0.0)) + cheapest(old[1:], new[1:]))
    return min(ways)


def test_order_moves_the_times_least(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layer_matching, "_between", single)
    generator = random.Random(0)
    for _ in range(300):
        old, new = (
            layers(*((f"{generator.choice('AB')}{n}", float(generator.randint(0, 6))) for n in range(size)))
            for size in (generator.randint(0, 5), generator.randint(0, 5))
        )
        groups = layer_matching._by_order(old, new)
        assert sorted(layer.name for group in groups for layer in group.old) == sorted(layer.name for layer in old)
        assert sorted(layer.name for group in groups for layer in group.new) == sorted(layer.name for layer in new)
        assert all(group.old[0].name[0] == group.new[0].name[0] for group in groups if group.old and group.new)
        assert math.isclose(sum(abs(group.delta_ms) for group in groups), cheapest(old, new), abs_tol=1e-6)


def test_reformats_before_one_layer_keep_their_order() -> None:
    named = [Layer(f"Reformatting CopyNode for Input Tensor {n} to Conv_1", 0.1, "NoOp") for n in range(3)]
    conv = layers(("Conv_1", 1.0))
    groups = align([*named, *conv], conv)
    (reformats,) = [group for group in groups if group.reformat]
    assert (list(reformats.old), reformats.new, reformats.near) == (named, (), "before Conv_1")


def test_origins_of_a_layer_are_its_nodes_or_the_parts_of_its_name() -> None:
    assert origins(Layer("x", nodes=("A", "B"))) == ("A", "B")
    assert origins(Layer("PWN(Sigmoid_1, Mul_2) + {ForeignNode[a...b]}")) == ("Sigmoid_1", "Mul_2", "a", "b")
    assert origins(Layer("PWN")) == ("PWN",)
