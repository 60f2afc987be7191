"""The pool of cards of one run: which cards it may use, which one a test uses, and which ones have failed."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

from pytest_trt.core.records import Environment
from pytest_trt.errors import BackendError, HostError, TrtError
from pytest_trt.measure.gpu_state import list_uuids
from pytest_trt.measure.probe.binding import VISIBLE_DEVICES, Binding
from pytest_trt.trial.card_choice import card_name, cards_of_kind, hidden_behind, select_cards
from pytest_trt.trial.lost_places import LostPlaces

ListCards = Callable[[str, Binding], tuple[Environment, ...]]
"""Lists the cards that a fresh probe of a backend sees, in the order of CUDA."""

BOUND_DEVICE = "0"
"""The device of every probe that is bound to a card: it sees no other."""

_REMEDY = "it is used no more in this run: see nvidia-smi and dmesg"

ClaimCard = Callable[[Sequence[str]], str]
"""Returns the card that this process should use, by its key (see `CardLocks.claim`)."""

CheckCard = Callable[[str, Environment], None]
"""Raises a TrtError if a card of a backend does not work in a fresh probe."""


class CardPool:
    """The cards that a run may use.

    Args:
        selectors: What --trt-device selects.
        list_cards: Lists the cards that a process sees.
        check: Checks a card.
        claim: Chooses among cards that are alike, and spreads processes over them; None to use the first that works.
        warn: Called with a sentence about each card that is taken out.
        visible: Returns the value of CUDA_VISIBLE_DEVICES where the cards are.
        uuids: Returns the UUIDs of every MIG slice, and of every GPU without MIG.
        lost: The cards that have failed in this run.
    """

    def __init__(
        self,
        selectors: Sequence[str],
        list_cards: ListCards,
        check: CheckCard,
        claim: ClaimCard | None,
        warn: Callable[[str], None] = lambda text: None,
        visible: Callable[[], str | None] = lambda: os.environ.get(VISIBLE_DEVICES),
        uuids: Callable[[], Sequence[str]] = list_uuids,
        lost: LostPlaces | None = None,
    ) -> None:
        self._selectors, self._list_cards, self._check = tuple(selectors), list_cards, check
        self._claim, self._warn = claim, warn
        self._visible_devices, self._uuids = visible, uuids
        self._cards: dict[str, tuple[Environment, ...]] = {}
        self._several: set[str] = set()
        self._last: dict[str, Environment] = {}
        self._works: set[str] = set()
        self._lost = LostPlaces() if lost is None else lost

    def cards(self, backend: str) -> tuple[Environment, ...]:
        """Return the cards that --trt-device selects, those that have failed included.

        Raises:
            BackendError: The backend finds no device, or the option selects none.
        """
        if backend not in self._cards:
            visible = self._visible(backend)
            if len(visible) > 1:
                _check_uuids(visible)
                self._several.add(backend)
            on_cpu = all(card.kind == "cpu" for card in visible)  # a test may name ONNX Runtime beside others on GPUs
            self._cards[backend] = visible if on_cpu else select_cards(self._selectors, visible)
        return self._cards[backend]

    def _visible(self, backend: str) -> tuple[Environment, ...]:
        listed = self._list_cards(backend, Binding())
        hidden = hidden_behind(self._visible_devices(), listed, self._uuids)
        if not hidden:
            return listed
        found: list[Environment] = []
        for entry in hidden:
            try:
                found += [c for c in self._list_cards(backend, Binding(visible=entry)) if c not in found]
            except BackendError:  # NVML lists it, but CUDA may not use it
                continue
        return tuple(found)

    def alike(self, backend: str, words: str | None = None) -> tuple[Environment, ...]:
        """Return the cards of one kind that `words` name, those that have failed included. Raises as `cards` does."""
        return cards_of_kind(words, self.cards(backend))

    def take(self, backend: str, words: str | None = None, among: Sequence[Environment] | None = None) -> Environment:
        """Return the card that the present test uses: the earlier one of this process, if it is of that kind.

        A card that this process has not used yet is checked first if there is another one.

        Args:
            backend: The backend of the test.
            words: The words that name the kind of card; None for the kind of the pool's first card.
            among: Cards that are alike, from which to choose; None for those that `words` name.

        Raises:
            BackendError: There is no such card, or all of them have failed.
            CacheError: The folder of the locks cannot be used.
        """
        alike = self.alike(backend, words) if among is None else among
        if not alike:
            there = ", ".join(dict.fromkeys(card.device for card in self.cards(backend)))
            raise BackendError(f"no card of this run is {words!r}: there are {there} (see --trt-device)")
        while True:
            left = {card_key(card): card for card in alike if not self._lost.reason(place_of(card))}
            if not left:
                raise BackendError(self._lost.reason(place_of(alike[-1])))
            chosen = next(iter(left))
            if self._claim is not None and left[chosen].kind == "gpu":
                chosen = self._claim(list(left))
            card = self._last[backend] = left[chosen]
            if len(left) == 1 or card_key(card) in self._works:
                return card
            try:
                self._check(backend, card)
            except HostError:
                raise
            except TrtError as error:
                if self._lost.add(place_of(card), f"not run: {card_name(card)} does not work"):
                    self._warn(f"{card_name(card)} does not work ({error}): {_REMEDY}")
            else:
                self._works.add(card_key(card))

    def forget(self) -> None:
        """Forget the cards, because the host is another one from now on."""
        for known in (self._cards, self._last):
            known.clear()
        for names in (self._several, self._works):
            names.clear()

    def check_after_error(self, backend: str, node_id: str) -> str:
        """After an error in a test, find out whether its GPU still works; if not, take it out of the pool.

        Args:
            backend: The backend of the test.
            node_id: The test.

        Returns:
            Why the GPU no longer works; empty if it works, or is known to be lost.
        """
        card = self._last.get(backend)
        if card is None or card.kind != "gpu" or self._lost.reason(place_of(card)):
            return ""
        try:
            self._check(backend, card)
        except HostError:  # which says nothing about the card
            return ""
        except TrtError as error:
            if "cudaErrorMemoryAllocation" in str(error):  # another process uses all its memory, and may free it
                return ""
            if self._lost.add(place_of(card), f"not run: {card.device} was lost in {node_id}"):
                return f"{card_name(card)} does not work in a fresh process either ({error}): {_REMEDY}"
        return ""

    def binding(self, card: Environment) -> Binding:
        """Return what a probe on this card is bound to. Raises BackendError if the card was taken out."""
        if reason := self._lost.reason(place_of(card)):
            raise BackendError(reason)
        return Binding(card.device_uuid if card.backend in self._several else None, card.numa_node)


def card_key(card: Environment) -> str:
    """Return what tells a card apart from the others of this host: its UUID. A CPU is one device."""
    return card.device_uuid or card.kind


def place_of(card: Environment) -> str:
    """Return what distinguishes a card from those of all hosts of a run: its key, and its host if that is elsewhere."""
    return f"{card_key(card)} {card.host_name}".rstrip()


def _check_uuids(cards: Sequence[Environment]) -> None:
    for card in cards:
        if card.device_uuid is None:
            raise BackendError(
                f"{card.backend} {card.backend_version} reports no UUID of {card.device}, one of several cards: "
                f"upgrade it, or make only one card visible with {VISIBLE_DEVICES}"
            )
