"""Locks of cards: one process builds or measures on a card at a time, and processes spread over the cards.

The kernel releases a lock when its process ends, whatever ended it.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_trt.core.lock_holder import acquire
from pytest_trt.core.scratch import user_folder
from pytest_trt.errors import CacheError

if TYPE_CHECKING:
    from filelock import FileLock

CLAIMS_OF_ONE_CARD = 100
"""The most processes that claim one card."""


class CardLocks:
    """The locks of cards in one folder. Close it, to give up its claims.

    Args:
        folder: The folder; None for this user's folder in TMPDIR. Runs in containers share one with --trt-lock-dir.
        say: Shows who is waited for.
    """

    def __init__(self, folder: Path | None, say: Callable[[str], None]) -> None:
        self._folder, self._say = folder, say
        self._locked: str | None = None
        self._claims: dict[str, FileLock] = {}

    @contextlib.contextmanager
    def hold(self, card: str, title: str) -> Iterator[None]:
        """Hold the lock of a card within the block: nothing else builds or measures on it.

        Args:
            card: The UUID of the card, or the name of another device.
            title: The name of the card for people.

        Raises:
            CacheError: The folder cannot hold locks, or a stopped process holds the lock.
        """
        if self._locked == card:
            yield
            return
        lock = self._lock(card)
        if acquire(lock, f"waiting for {title}: another run measures or builds on it", self._say, every_s=1.0):
            self._say("")
        self._locked = card
        try:
            yield
        finally:
            self._locked = None
            lock.release()

    def claim(self, cards: Sequence[str]) -> str:
        """Return the card that this process should use: its earlier one, or else the one with the fewest processes.

        A claim excludes nobody: it only spreads processes over cards. It lasts until `close`.

        Args:
            cards: The UUIDs of the cards, the preferred one first.

        Raises:
            CacheError: The folder cannot hold locks.
        """
        for card in cards:
            if card in self._claims:
                return card
        from filelock import Timeout  # the import takes a while, and runs on a CPU do not need it

        for rank in range(CLAIMS_OF_ONE_CARD):
            for card in cards:
                lock = self._lock(f"{card}.claim-{rank}")
                try:
                    lock.acquire(timeout=0)
                except Timeout:
                    continue
                except (OSError, NotImplementedError) as error:
                    raise CacheError(
                        f"{lock.lock_file} cannot be locked ({error}): name another --trt-lock-dir"
                    ) from error
                self._claims[card] = lock
                return card
        return cards[0]

    def _lock(self, name: str) -> FileLock:
        from filelock import FileLock

        folder = user_folder() if self._folder is None else _shared_folder(self._folder)
        # Other users, such as those of other containers, must be able to open the files of a shared folder.
        mode = 0o644 if self._folder is None else 0o666
        return FileLock(folder / f"{re.sub(r'[^A-Za-z0-9.-]+', '-', name)}.lock", mode=mode, thread_local=False)

    def close(self) -> None:
        """Give up all claims."""
        while self._claims:
            self._claims.popitem()[1].release()


def _shared_folder(folder: Path) -> Path:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CacheError(
            f"--trt-lock-dir={folder} cannot be used ({error}): name a folder that can be written"
        ) from error
    return folder
