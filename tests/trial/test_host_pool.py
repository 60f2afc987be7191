"""Test which host a test uses, and what becomes of one that fails."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest

from pytest_trt.core.records import Environment
from pytest_trt.errors import BackendError, HostError
from pytest_trt.measure.probe.binding import Binding
from pytest_trt.trial.host_pool import MAX_LOSSES, HostPool
from pytest_trt.trial.hosts.card_locks import CardLocks
from pytest_trt.trial.lost_places import LostPlaces
from pytest_trt.trial.pool import CardPool

H200 = Environment("NVIDIA H200", "gpu", "tensorrt", "10.8", device_uuid="GPU-1")
L4 = dataclasses.replace(H200, device="NVIDIA L4", device_uuid="GPU-3")


class There:
    """A host with some cards, which can become unreachable."""

    def __init__(self, name: str, *cards: Environment) -> None:
        self.name, self.reachable = name, True
        self.cards = tuple(dataclasses.replace(card, host_name=name) for card in cards)

    def pool(self, *selectors: str) -> CardPool:
        def check(backend: str, card: Environment) -> None:
            if not self.reachable:
                raise HostError(f"host {self.name}: the link to it is lost")

        def list_cards(backend: str, binding: Binding) -> tuple[Environment, ...]:
            check(backend, self.cards[0])
            return self.cards

        return CardPool(selectors or ("all",), list_cards, check, None, visible=lambda: None)


@pytest.fixture
def pool_of(tmp_path: Path) -> Callable[..., tuple[HostPool, list[str]]]:
    def make(*hosts: There, selectors: tuple[str, ...] = ()) -> tuple[HostPool, list[str]]:
        warnings: list[str] = []
        claim = CardLocks(tmp_path, lambda text: None).claim
        return HostPool({host.name: host.pool(*selectors) for host in hosts}, claim, warnings.append), warnings

    return make


def test_processes_spread_over_hosts_by_their_cards_and_stay(pool_of):
    second = dataclasses.replace(H200, device_uuid="GPU-2")
    hosts = There("a", H200, second), There("b", H200)
    pools = [pool_of(*hosts)[0] for _ in range(3)]
    assert sorted(pool.take("tensorrt").host_name for pool in pools) == ["a", "a", "b"]
    assert len({pool.take("tensorrt").host_name for pool in pools[:1] * 3}) == 1


def test_a_test_goes_where_its_kind_of_card_is(pool_of):
    pool, _ = pool_of(There("a", H200), There("b", L4))
    taken = [pool.take("tensorrt", words).host_name for words in (None, "L4", "H200")]
    assert taken == ["a", "b", "a"]
    assert pool.current == "a"
    with pytest.raises(BackendError, match="no card of this run is 'A100': there are NVIDIA H200, NVIDIA L4"):
        pool.take("tensorrt", "A100")


def test_a_selector_must_match_a_card_of_some_host(pool_of):
    pool, _ = pool_of(There("a", H200), There("b", L4), selectors=("L4",))
    assert [card.host_name for card in pool.cards("tensorrt")] == ["b"]
    pool, _ = pool_of(There("a", H200), There("b", L4), selectors=("A100",))
    with pytest.raises(BackendError, match="no visible device is 'A100'"):
        pool.cards("tensorrt")


def test_a_host_that_cannot_be_reached_at_first_is_an_error(pool_of):
    host = There("b", H200)
    host.reachable = False
    pool, _ = pool_of(There("a", H200), host)
    with pytest.raises(HostError, match="host b"):
        pool.take("tensorrt")


def test_a_host_that_was_lost_is_used_again_only_if_there_is_no_other_of_its_kind(pool_of):
    pool, warnings = pool_of(There("a", H200), There("b", H200), There("c", L4))
    lost = pool.take("tensorrt").host_name
    pool.lose(lost, "lost")
    assert pool.take("tensorrt").host_name == {"a": "b", "b": "a"}[lost]
    assert pool.take("tensorrt", "L4").host_name == "c"
    pool.lose("c", "host c: the link to it is lost")
    assert pool.take("tensorrt", "L4").host_name == "c", "over a new link"
    for _ in range(MAX_LOSSES):
        pool.lose("c", "host c: the link to it is lost")
    assert warnings == ["host c: the link to it is lost (3 times in this run): it is used no more in this run"]
    with pytest.raises(HostError, match=r"^host c: the link to it is lost \(3 times in this run\)$"):
        pool.take("tensorrt", "L4")
    assert pool.check_after_error("tensorrt", "a.py::test_a") == ""


def test_the_rest_goes_on_without_a_host_that_cannot_be_reached_again(pool_of):
    first, second = There("a", H200, dataclasses.replace(H200, device_uuid="GPU-2")), There("b", H200)
    pool, warnings = pool_of(first, second)
    pool.cards("tensorrt")
    pool.lose("b", "lost")
    first.reachable = False
    assert pool.take("tensorrt").host_name == "b"
    assert warnings == ["host a: the link to it is lost: it is used no more in this run"]


def test_a_host_that_another_process_gave_up_is_used_only_if_there_is_no_other(tmp_path):
    hosts = There("a", H200), There("b", H200)
    warnings: list[str] = []
    pools = [
        HostPool({host.name: host.pool() for host in hosts}, None, warnings.append, LostPlaces(tmp_path / "lost"))
        for _ in range(2)
    ]
    assert [pool.take("tensorrt").host_name for pool in pools] == ["a", "a"]
    for _ in range(MAX_LOSSES):
        pools[0].lose("a", "host a: the link to it is lost")
    assert [pool.take("tensorrt").host_name for pool in pools] == ["b", "b"]
    for pool in pools:
        for _ in range(MAX_LOSSES):
            pool.lose("b", "host b: the link to it is lost")
    assert pools[1].take("tensorrt").host_name == "a", "whose link to this process was never lost"
    assert len(warnings) == 2, "each host is named once"
