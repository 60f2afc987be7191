"""Test the locks of cards among real processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pytest_trt.errors import CacheError
from pytest_trt.trial.hosts.card_locks import CardLocks

CLAIM = """
import functools, sys
from pathlib import Path
from pytest_trt.trial.hosts.card_locks import CardLocks
locks = CardLocks(Path(sys.argv[1]), functools.partial(print, flush=True))
print(locks.claim(sys.argv[2].split(",")), flush=True)
with locks.hold("C", "card C"):
    print("held", flush=True)
    sys.stdin.readline()
"""


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start a process that claims a card and holds the lock of card C until it reads a line."""
    started: list[subprocess.Popen[str]] = []

    def start_one(cards: str = "A,B", folder: Path = tmp_path) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", CLAIM, str(folder), cards]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        started.append(process)
        return process

    yield start_one
    for process in started:
        process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout):
            assert stream is not None
            stream.close()


def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_processes_spread_over_cards_and_a_killed_one_gives_its_card_up(
    start: Callable[..., subprocess.Popen[str]], tmp_path: Path
) -> None:
    processes = [start() for _ in range(4)]
    claimed = [line(process) for process in processes]
    assert Counter(claimed) == {"A": 2, "B": 2}
    for process, card in zip(processes, claimed, strict=True):
        if card == "A":
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
    locks = CardLocks(tmp_path, print)
    assert locks.claim(["B", "A"]) == "A"
    assert locks.claim(["B", "A"]) == "A", "the earlier card"
    assert locks.claim(["B"]) == "B"
    locks.close()
    assert CardLocks(tmp_path, print).claim(["A", "B"]) == "A", "given up"


def test_two_runs_that_share_the_folder_never_use_a_card_at_once(
    start: Callable[..., subprocess.Popen[str]], tmp_path: Path
) -> None:
    first = start()
    assert (line(first), line(first)) == ("A", "held")
    second = start()
    assert line(second) == "B"
    assert line(second).startswith(f"waiting for card C: another run measures or builds on it (process {first.pid})")
    elsewhere = start(folder=tmp_path / "elsewhere")
    assert (line(elsewhere), line(elsewhere)) == ("A", "held"), "another folder has locks of its own"
    os.kill(first.pid, signal.SIGKILL)
    while (text := line(second)) != "held":
        assert text == "" or text.startswith("waiting for card C")
        assert second.poll() is None


def test_a_shared_folder_can_be_used_by_other_users(tmp_path: Path) -> None:
    locks = CardLocks(tmp_path / "new" / "folder", print)
    with locks.hold("GPU-1", "card"):
        (file,) = (tmp_path / "new" / "folder").iterdir()
        assert file.stat().st_mode & 0o666 == 0o666
        with locks.hold("GPU-1", "card"):  # a build within a measurement
            pass


def test_a_shared_folder_that_is_a_file_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    locks = CardLocks(tmp_path / "file", print)
    with pytest.raises(CacheError, match=r"--trt-lock-dir=.*file cannot be used"), locks.hold("GPU-1", "card"):
        pass
