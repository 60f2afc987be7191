"""The record of what a comparison with stored figures has to do with the cards that both sides ran on."""

from __future__ import annotations

import dataclasses

from pytest_trt.core.estimate import Estimate


@dataclasses.dataclass(frozen=True)
class CardComparison:
    """What a verdict against stored figures has to do with the cards: GPUs, or hosts in the case of a CPU.

    Attributes:
        reference: The card of the baseline's reference.
        card: The card of this run.
        ratio: The new figure divided by the baseline's, as if both cards were equally fast.
        limit: The largest difference that two cards explain, as a share.
        known: Whether it is known how fast this card is: it is the reference's, or the baseline has runs on it.
        quarantine: The text of an `unenforced` verdict, if a regression of this test is in quarantine.
    """

    reference: str
    card: str
    ratio: Estimate
    limit: float
    known: bool
    quarantine: str = ""
