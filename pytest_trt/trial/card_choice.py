"""Choose among the cards that this process may use: parse what --trt-device selects, and list MIG slices.

The functions take the cards as CUDA lists them, which has left out those that CUDA_VISIBLE_DEVICES excludes. Nothing
here can therefore select an excluded card.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pytest_trt.core.records import Environment
from pytest_trt.errors import BackendError
from pytest_trt.judge.budgets import names_device

ALL = "all"
"""The word that selects every card."""

UUID_CHARACTERS = 8
"""The fewest characters of a UUID that select a card."""


class UnmatchedSelector(BackendError):
    """A part of --trt-device that matches no visible card."""


def card_name(card: Environment) -> str:
    """Return the name of a card for people: its model, the profile of a MIG slice, and its UUID."""
    name = f"{card.device} MIG {card.mig_profile}" if card.mig_profile else card.device
    return f"{name} ({card.device_uuid})" if card.device_uuid else name


def select_cards(selectors: Sequence[str], cards: Sequence[Environment]) -> tuple[Environment, ...]:
    """Return the cards that --trt-device selects, each once, in the order of the selectors.

    Args:
        selectors: `all`, numbers counted among `cards`, UUIDs or their beginnings, or words of a card's name.
        cards: The visible cards, in CUDA's order.

    Raises:
        UnmatchedSelector: A selector matches no card.
    """
    chosen: list[Environment] = []
    for selector in selectors:
        found = [card for number, card in enumerate(cards) if selects(selector, number, card)]
        if not found:
            visible = "; ".join(f"{number}: {card_name(card)}" for number, card in enumerate(cards))
            raise UnmatchedSelector(
                f"--trt-device={','.join(selectors)}: no visible device is {selector!r}; there are {visible} (a number "
                "counts within CUDA_VISIBLE_DEVICES)"
            )
        chosen += [card for card in found if card not in chosen]
    return tuple(chosen)


def selects(selector: str, number: int, card: Environment) -> bool:
    """Return whether a part of --trt-device selects the card with that number among the visible ones."""
    if selector.lower() == ALL:
        return True
    if selector.isdecimal():
        return int(selector) == number
    if selector.upper().startswith(("GPU-", "MIG-")):
        uuid = card.device_uuid or ""
        return len(selector) >= UUID_CHARACTERS and uuid.lower().startswith(selector.lower())
    return names_device(selector, card.device, card.kind, card.mig_profile)


def cards_of_kind(words: str | None, cards: Sequence[Environment]) -> tuple[Environment, ...]:
    """Return the cards that `words` name and that are of one kind: that of the first of them.

    A test must not run on another kind of card at every run, so only cards that are alike stand for each other.

    Args:
        words: Words of the cards' name; None for any card.
        cards: The cards of the pool.
    """
    named = [c for c in cards if not words or names_device(words, c.device, c.kind, c.mig_profile)]
    return tuple(card for card in named if _kind(card) == _kind(named[0]))


def _kind(card: Environment) -> tuple[object, ...]:
    return (card.device, card.mig_profile, card.compute_capability, card.device_memory_bytes)


def hidden_behind(
    value: str | None, listed: Sequence[Environment], uuids: Callable[[], Sequence[str]]
) -> tuple[str, ...]:
    """Return the devices to list one by one, because CUDA shows a process only the first of several MIG slices.

    Args:
        value: The value of CUDA_VISIBLE_DEVICES; None if it is not set.
        listed: The cards that a process sees with this value.
        uuids: Returns the UUIDs of every MIG slice, and of every GPU without MIG.

    Returns:
        Values of CUDA_VISIBLE_DEVICES, in order; empty if `listed` is complete.
    """
    if not any(card.mig_profile for card in listed):
        return ()
    if value is None:
        return tuple(uuids())
    entries = [entry.strip() for entry in value.split(",")]
    return tuple(entries) if len(entries) > 1 else ()
