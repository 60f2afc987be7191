"""The hosts of one run: which one a test uses, and what becomes of one that fails."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence

from pytest_trt.core import codec
from pytest_trt.core.records import Environment
from pytest_trt.errors import BackendError, HostError
from pytest_trt.measure.probe.binding import Binding
from pytest_trt.trial.card_choice import UnmatchedSelector, cards_of_kind
from pytest_trt.trial.hosts.host import Host
from pytest_trt.trial.lost_places import LostPlaces
from pytest_trt.trial.pool import BOUND_DEVICE, CardPool, ClaimCard, card_key

ENVIRONMENT_TIMEOUT_S = 120.0
"""How long a probe may take to make its device ready."""

MAX_LOSSES = 3
"""How often a host may be lost before the run uses it no more."""


def card_pool(
    host: Host, selectors: Sequence[str], warn: Callable[[str], None], lost: LostPlaces | None = None, *, spread: bool
) -> CardPool:
    """Return the pool of the cards of one host.

    Args:
        host: The host.
        selectors: What --trt-device selects.
        warn: Called with a sentence about each card that fails.
        lost: The cards that have failed in this run.
        spread: Whether processes that use several cards spread over them.
    """

    def list_cards(backend: str, binding: Binding) -> tuple[Environment, ...]:
        if binding == Binding() and backend in host.listed:
            return host.listed[backend]
        server = host.server(backend)
        server.binding = binding
        with server.fork() as probe:
            reply, _ = probe.call("environments", timeout_s=ENVIRONMENT_TIMEOUT_S, name=backend)
        cards = (codec.decode(Environment, card) for card in reply["found"])
        found = tuple(dataclasses.replace(card, host_name=host.name) for card in cards)
        if binding == Binding():
            host.listed[backend] = found
        return found

    def check(backend: str, card: Environment) -> None:
        server = host.server(backend)
        server.binding = pool.binding(card)
        with host.lock(card_key(card), card.device), server.fork() as probe:
            probe.call("activate", timeout_s=ENVIRONMENT_TIMEOUT_S, name=backend, device=BOUND_DEVICE)

    claim = host.claim if spread else None
    pool = CardPool(selectors, list_cards, check, claim, warn, host.visible_devices, host.list_uuids, lost)
    return pool


class HostPool:
    """The cards of all hosts of a run. Its methods are those of `CardPool`.

    Args:
        pools: The cards of each host, by the host's name.
        claim: Chooses among places on hosts, and spreads processes over them; None to use the first one.
        warn: Called with a sentence about each host that is lost.
        lost: The hosts that this run uses no more.

    Attributes:
        current: The name of the host that the last test used, or the first one.
    """

    def __init__(
        self,
        pools: Mapping[str, CardPool],
        claim: ClaimCard | None,
        warn: Callable[[str], None] = lambda text: None,
        lost: LostPlaces | None = None,
    ) -> None:
        self._pools, self._claim, self._warn = pools, claim, warn
        self._lost = LostPlaces() if lost is None else lost
        self._losses: dict[str, int] = {}
        self._gone: dict[str, str] = {}
        self.current = next(iter(pools))

    def cards(self, backend: str) -> tuple[Environment, ...]:
        """Return the cards that --trt-device selects on all hosts, those that have failed included.

        Raises:
            BackendError: A backend finds no device, or the option selects none.
            HostError: A host cannot be reached, and was not used before.
        """
        found: list[Environment] = []
        unmatched: UnmatchedSelector | None = None
        for name, pool in self._pools.items():
            try:
                found += pool.cards(backend)
            except UnmatchedSelector as error:
                unmatched = error
            except HostError:
                if name not in self._losses:
                    raise
        if unmatched is not None and not found:
            raise unmatched
        return tuple(found)

    def alike(self, backend: str, words: str | None = None) -> tuple[Environment, ...]:
        """Return the cards of one kind that `words` name, those that have failed included. Raises as `cards` does."""
        return cards_of_kind(words, self.cards(backend))

    def take(self, backend: str, words: str | None = None) -> Environment:
        """Return the card that the present test uses (see `CardPool.take`).

        A process stays on its host. If that was lost, it prefers another one with cards of the same kind.

        Raises:
            BackendError: There is no such card, or all of them have failed.
            HostError: All hosts that have such cards are lost.
        """
        alike = self.alike(backend, words)
        if not alike:
            there = ", ".join(dict.fromkeys(card.device for card in self.cards(backend)))
            raise BackendError(f"no card of this run is {words!r}: there are {there} (see --trt-device)")
        left = [card for card in alike if card.host_name not in self._gone]
        # Another process may have lost only its own link: its host is avoided, but better than none.
        left = [card for card in left if not self._lost.reason(_host_key(card.host_name))] or left
        failure: BackendError | HostError = HostError(self._gone.get(alike[0].host_name, ""))
        while left:
            name = self._choose(left)
            try:
                card = self._pools[name].take(backend, words, [one for one in left if one.host_name == name])
            except HostError as error:  # it cannot be reached again
                self._give_up(name, failure := error)
            except BackendError as error:
                failure = error
            else:
                self.current = name
                return card
            left = [card for card in left if card.host_name != name]
        raise failure

    def _choose(self, cards: Sequence[Environment]) -> str:
        """Return the name of the host to use: one that was lost only if there is no other one."""
        names = list(dict.fromkeys(card.host_name for card in cards))
        fewest = min(self._losses.get(name, 0) for name in names)
        names = [name for name in names if self._losses.get(name, 0) == fewest]
        if len(names) == 1:
            return names[0]
        if self._claim is None:
            return self.current if self.current in names else names[0]
        places = {f"{card.host_name} {number}": card.host_name for number, card in enumerate(cards)}
        return places[self._claim([place for place, name in places.items() if name in names])]

    def lose(self, name: str, reason: str, *, is_lease: bool = False) -> None:
        """Note that a host was lost in a test: from now on, other hosts are preferred.

        Args:
            name: The host.
            reason: How it was lost.
            is_lease: Whether the next link to it leads to other cards.
        """
        if is_lease:
            self._pools[name].forget()
        self._losses[name] = self._losses.get(name, 0) + 1
        if self._losses[name] >= MAX_LOSSES:
            self._give_up(name, HostError.from_text(f"{reason} ({self._losses[name]} times in this run)"))

    def _give_up(self, name: str, reason: Exception) -> None:
        if name not in self._gone:
            self._losses.setdefault(name, 1)
            self._gone[name] = str(reason)
            if self._lost.add(_host_key(name), str(reason)):
                self._warn(f"{reason}: it is used no more in this run")

    def check_after_error(self, backend: str, node_id: str) -> str:
        """After an error in a test, find out whether its GPU still works (see `CardPool.check_after_error`)."""
        return "" if self.current in self._gone else self._pools[self.current].check_after_error(backend, node_id)

    def binding(self, card: Environment) -> Binding:
        """Return what a probe on this card is bound to. Raises BackendError if the card was taken out."""
        return self._pools[card.host_name].binding(card)


def _host_key(name: str) -> str:
    """Return the name of a host among the lost places, which no card has."""
    return f"host {name}"
