"""Test which cards --trt-device selects among the visible ones."""

from __future__ import annotations

import dataclasses

import pytest

from pytest_trt.core.records import Environment
from pytest_trt.errors import BackendError
from pytest_trt.trial.card_choice import cards_of_kind, hidden_behind, select_cards

H200 = Environment("NVIDIA H200", "gpu", "tensorrt", "10.8", compute_capability="9.0", device_uuid="GPU-aaaa1111-0")
SECOND = dataclasses.replace(H200, device_uuid="GPU-aaaa2222-0")
L4 = dataclasses.replace(H200, device="NVIDIA L4", compute_capability="8.9", device_uuid="GPU-bbbb3333-0")
SLICE = dataclasses.replace(H200, device_uuid="MIG-cccc4444-0", mig_profile="1g.18gb")
CARDS = (L4, H200, SECOND, SLICE)


@pytest.mark.parametrize(
    ("selectors", "chosen"),
    [
        (("all",), CARDS),
        (("0",), (L4,)),
        (("2", "0"), (SECOND, L4)),
        (("0", "0", "all"), CARDS),
        (("GPU-aaaa2222",), (SECOND,)),
        (("gpu-AAAA",), (H200, SECOND)),
        (("mig-cccc4444-0",), (SLICE,)),
        (("H200",), (H200, SECOND)),
        (("nvidia l4", "1"), (L4, H200)),
        (("H200 1g.18gb",), (SLICE,)),
        (("gpu",), CARDS),
    ],
)
def test_cards_are_selected_in_the_order_of_the_option(
    selectors: tuple[str, ...], chosen: tuple[Environment, ...]
) -> None:
    assert select_cards(selectors, CARDS) == chosen


@pytest.mark.parametrize("selector", ["4", "GPU-dddd5555", "GPU-aaa", "A100", "H2", "ALL1"])
def test_a_selector_that_matches_nothing_is_an_error_that_lists_the_cards(selector: str) -> None:
    with pytest.raises(BackendError, match=rf"'{selector}'; there are 0: NVIDIA L4 \(GPU-bbbb3333-0\); 1: ") as caught:
        select_cards(("all", selector), CARDS)
    assert "3: NVIDIA H200 MIG 1g.18gb (MIG-cccc4444-0)" in str(caught.value)


def test_only_cards_that_are_alike_stand_for_each_other() -> None:
    assert cards_of_kind(None, CARDS) == (L4,)
    assert cards_of_kind("H200", CARDS) == (H200, SECOND)
    assert cards_of_kind("gpu", CARDS[1:]) == (H200, SECOND)
    assert cards_of_kind("B200", CARDS) == ()
    larger = dataclasses.replace(SECOND, device_memory_bytes=2 * 10**11)
    assert cards_of_kind("H200", (H200, larger)) == (H200,)


def test_slices_that_cuda_does_not_list_are_listed_one_by_one() -> None:
    def uuids() -> list[str]:
        return ["GPU-a", "MIG-b", "MIG-c"]

    assert hidden_behind(None, (H200, SECOND), uuids) == ()
    assert hidden_behind("0,1", (H200, SECOND), uuids) == ()
    assert hidden_behind(None, (SLICE,), uuids) == ("GPU-a", "MIG-b", "MIG-c")
    assert hidden_behind("MIG-c, MIG-b", (SLICE,), uuids) == ("MIG-c", "MIG-b"), "only what the caller made visible"
    assert hidden_behind("MIG-c", (SLICE,), uuids) == ()
