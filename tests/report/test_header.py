"""Test how the first line of a run names the cards of the pool."""

from __future__ import annotations

import dataclasses

from pytest_trt.core.records import Environment
from pytest_trt.report.header import describe_cards

H200 = Environment("NVIDIA H200", "gpu", "tensorrt", "10.8")
L4 = dataclasses.replace(H200, device="NVIDIA L4")


def test_each_kind_of_card_is_counted_and_each_host_is_named():
    assert describe_cards([H200]) == "NVIDIA H200, TensorRT 10.8"
    assert describe_cards([H200, H200]) == "2 x NVIDIA H200, TensorRT 10.8"
    elsewhere = [dataclasses.replace(card, host_name=name) for card, name in ((H200, "a"), (L4, "b"), (H200, "b"))]
    assert describe_cards(elsewhere) == "2 x NVIDIA H200, NVIDIA L4, TensorRT 10.8 on a, b"


def test_many_hosts_are_counted():
    cards = [dataclasses.replace(H200, host_name=f"gpu{number:02}") for number in range(16)]
    assert describe_cards(cards) == "16 x NVIDIA H200, TensorRT 10.8 on gpu00, gpu01, gpu02, 13 more"
    assert describe_cards(cards[:4]).endswith(" on gpu00, gpu01, gpu02, gpu03")
