"""Test that probes are bound to a card before anything else runs in them."""

from __future__ import annotations

import os

import pytest

from pytest_trt.measure.probe import binding
from pytest_trt.measure.probe.binding import Binding
from pytest_trt.measure.probe.server import ProbeServer


def test_next_probe_is_bound_and_a_spare_of_another_card_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    with ProbeServer("onnxruntime") as server:
        server.fork().close()
        spare = server._spare
        assert spare is not None
        server.binding = Binding(visible="GPU-1")
        with server.fork() as probe:
            assert probe.pid != spare.pid
            assert not spare.is_running()
            next_spare = server._spare
            assert next_spare is not None
        with server.fork() as probe:
            assert probe.pid == next_spare.pid, "it is bound to this card already"


def test_binding_hides_other_cards_and_keeps_to_the_node(monkeypatch: pytest.MonkeyPatch) -> None:
    allowed = os.sched_getaffinity(0)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    monkeypatch.setattr(binding, "node_cpus", {0: frozenset({min(allowed)}), 1: frozenset({4095})}.__getitem__)
    try:
        Binding().apply()
        assert (os.environ["CUDA_VISIBLE_DEVICES"], os.sched_getaffinity(0)) == ("0,1", allowed)
        Binding(visible="GPU-2", numa_node=1).apply()
        assert os.environ["CUDA_VISIBLE_DEVICES"] == "GPU-2"
        assert os.sched_getaffinity(0) == allowed, "no CPU of this node may be used"
        Binding(numa_node=0).apply()
        assert os.sched_getaffinity(0) == {min(allowed)}
    finally:
        os.sched_setaffinity(0, allowed)
