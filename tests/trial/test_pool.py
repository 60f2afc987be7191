"""Test which card of a pool a test uses, and what happens if one fails."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest

from pytest_trt.core.records import Environment
from pytest_trt.errors import BackendError, TrtError
from pytest_trt.measure.probe.binding import Binding
from pytest_trt.trial.hosts.card_locks import CardLocks
from pytest_trt.trial.pool import CardPool

FIRST = Environment("NVIDIA H200", "gpu", "tensorrt", "10.8", device_uuid="GPU-1", numa_node=0)
SECOND = dataclasses.replace(FIRST, device_uuid="GPU-2", numa_node=1)
L4 = dataclasses.replace(FIRST, device="NVIDIA L4", device_uuid="GPU-3", numa_node=None)


class Cards:
    """Cards as probes would see them, some of which do not work."""

    def __init__(self, *cards: Environment, broken: tuple[Environment, ...] = ()) -> None:
        self.cards, self.broken = cards, list(broken)
        self.checked: list[str | None] = []

    def list(self, backend: str, binding: Binding) -> tuple[Environment, ...]:
        return tuple(c for c in self.cards if c.backend == backend and binding.visible in (None, c.device_uuid))

    def check(self, backend: str, card: Environment) -> None:
        self.checked.append(card.device_uuid)
        if card in self.broken:
            raise BackendError("cudaSetDevice failed")


@pytest.fixture
def pool_of(tmp_path: Path) -> Callable[..., tuple[CardPool, list[str]]]:
    def make(cards: Cards, *selectors: str) -> tuple[CardPool, list[str]]:
        warnings: list[str] = []
        claim = CardLocks(tmp_path, lambda text: None).claim
        return CardPool(selectors or ("all",), cards.list, cards.check, claim, warnings.append), warnings

    return make


def test_two_workers_use_two_cards_and_keep_them(pool_of):
    cards = Cards(FIRST, SECOND)
    (one, _), (other, _) = pool_of(cards), pool_of(cards)
    assert [one.take("tensorrt"), other.take("tensorrt"), one.take("tensorrt")] == [FIRST, SECOND, FIRST]
    assert cards.checked == ["GPU-1", "GPU-2"], "each card once by each worker"
    assert one.binding(FIRST) == Binding("GPU-1", 0)
    assert other.binding(SECOND) == Binding("GPU-2", 1)


def test_a_run_on_all_cards_avoids_the_only_card_of_another_run(pool_of):
    cards = Cards(FIRST, SECOND)
    (one, _), (other, _) = pool_of(cards, "0"), pool_of(cards)
    assert [one.take("tensorrt"), other.take("tensorrt")] == [FIRST, SECOND]


def test_a_single_card_is_neither_checked_nor_hidden(pool_of):
    cards = Cards(FIRST)
    pool, _ = pool_of(cards, "0")
    assert pool.take("tensorrt") == FIRST
    assert cards.checked == []
    assert pool.binding(FIRST) == Binding(None, 0)


def test_one_of_several_cards_is_bound_by_its_uuid(pool_of):
    pool, _ = pool_of(Cards(FIRST, SECOND), "1")
    assert pool.binding(pool.take("tensorrt")).visible == "GPU-2"


def test_a_test_names_the_kind_of_its_card(pool_of):
    pool, _ = pool_of(Cards(FIRST, L4))
    assert [pool.take("tensorrt", words) for words in (None, "L4", "H200")] == [FIRST, L4, FIRST]
    with pytest.raises(BackendError, match="no card of this run is 'A100': there are NVIDIA H200, NVIDIA L4"):
        pool.take("tensorrt", "A100")


def test_a_card_that_does_not_work_is_named_and_left_out(pool_of):
    cards = Cards(FIRST, SECOND, broken=(FIRST,))
    pool, warnings = pool_of(cards)
    assert [pool.take("tensorrt") for _ in range(2)] == [SECOND, SECOND]
    (warning,) = warnings
    assert warning.startswith(
        "NVIDIA H200 (GPU-1) does not work (cudaSetDevice failed): it is used no more in this run"
    )
    with pytest.raises(BackendError, match=r"not run: NVIDIA H200 \(GPU-1\) does not work"):
        pool.binding(FIRST)


def test_a_card_that_fails_in_a_test_is_replaced_by_another(pool_of):
    cards = Cards(FIRST, SECOND)
    pool, _ = pool_of(cards)
    assert pool.check_after_error("tensorrt", "a.py::test_a") == "", "no test has used a card"
    assert pool.take("tensorrt") == FIRST
    assert pool.check_after_error("tensorrt", "a.py::test_a") == "", "the card works"
    cards.broken.append(FIRST)
    assert pool.check_after_error("tensorrt", "a.py::test_b").startswith(
        "NVIDIA H200 (GPU-1) does not work in a fresh process either (cudaSetDevice failed)"
    )
    assert pool.check_after_error("tensorrt", "a.py::test_b") == "", "reported once"
    assert pool.take("tensorrt") == SECOND
    cards.broken.append(SECOND)
    assert pool.check_after_error("tensorrt", "a.py::test_c")
    with pytest.raises(BackendError, match=r"not run: NVIDIA H200 was lost in a\.py::test_c"):
        pool.take("tensorrt")


def test_a_card_whose_memory_is_full_is_not_lost(pool_of):
    cards = Cards(FIRST)
    pool, _ = pool_of(cards)
    pool.take("tensorrt")

    def fill(backend: str, card: Environment) -> None:
        raise TrtError("cudaFree failed: cudaErrorMemoryAllocation (out of memory)")

    pool._check = fill
    assert pool.check_after_error("tensorrt", "a.py::test_a") == ""
    assert pool.take("tensorrt") == FIRST


def test_slices_are_listed_one_by_one_within_what_is_visible(pool_of, monkeypatch):
    slices = [dataclasses.replace(FIRST, device_uuid=f"MIG-{n}", mig_profile="1g.18gb") for n in range(3)]
    cards = Cards(*slices)
    listed = cards.list
    cards.list = lambda backend, binding: listed(backend, binding)[:1]  # as CUDA shows them
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "MIG-2,MIG-0")
    pool, _ = pool_of(cards)
    assert [card.device_uuid for card in pool.cards("tensorrt")] == ["MIG-2", "MIG-0"]


def test_cpu_is_one_device_whatever_gpus_are_selected(pool_of):
    cpu = Environment("some CPU", "cpu", "onnxruntime", "1.20")
    pool, _ = pool_of(Cards(cpu, FIRST), "GPU-12345678")
    assert pool.take("onnxruntime") == cpu
    assert pool.binding(cpu) == Binding()
    with pytest.raises(BackendError, match="no visible device is 'GPU-12345678'"):
        pool.take("tensorrt")


def test_several_cards_without_uuid_are_refused(pool_of):
    nameless = dataclasses.replace(FIRST, device_uuid=None)
    pool, _ = pool_of(Cards(nameless, nameless))
    with pytest.raises(BackendError, match="reports no UUID of NVIDIA H200"):
        pool.take("tensorrt")
