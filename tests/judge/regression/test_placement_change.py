"""Test the verdict on nodes that run on the CPU."""

from __future__ import annotations

from pytest_trt.judge.regression.placement_change import judge_placement


def test_more_nodes_on_the_cpu_regress():
    (verdict,) = judge_placement({"cpu_nodes": "3", "cpu_operators": "NonZero, TopK"}, {"cpu_nodes": "1"})
    assert (verdict.status, verdict.basis, verdict.figure) == ("regressed", "layers", "cpu_nodes")
    assert verdict.text == "nodes regressed: 3 compute on the CPU, 1 in the baseline's run (NonZero, TopK)"


def test_as_many_or_fewer_are_ok():
    for now, before in (("1", "1"), ("0", "3")):
        (verdict,) = judge_placement({"cpu_nodes": now}, {"cpu_nodes": before})
        assert verdict.status == "ok"


def test_nothing_is_compared_without_both_counts():
    assert judge_placement({"cpu_nodes": "3"}, {}) == ()
    assert judge_placement({}, {"cpu_nodes": "3"}) == ()
    assert judge_placement({"cpu_nodes": "3"}, {"cpu_nodes": "many"}) == ()
