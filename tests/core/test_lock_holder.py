"""Who holds a lock is named, and a stopped holder does not make others wait for ever."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import filelock
import pytest

from pytest_trt.core.lock_holder import LockHolder, acquire, lock_holder
from pytest_trt.errors import CacheError

HOLD = (
    "import fcntl, sys, time; f = open(sys.argv[1], 'w'); fcntl.flock(f, 2); print('held', flush=True); time.sleep(600)"
)


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that holds the lock `device.lock`."""
    command = [sys.executable, "-c", HOLD, str(tmp_path / "device.lock")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def stop(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGSTOP)
    os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WNOWAIT)


def test_the_holder_of_a_lock_is_named(tmp_path: Path, holder: subprocess.Popen[str]) -> None:
    path = tmp_path / "device.lock"
    assert lock_holder(path) == LockHolder(holder.pid, is_stopped=False)
    stop(holder)
    assert str(lock_holder(path)) == f"process {holder.pid}, which is stopped: kill -CONT {holder.pid} continues it"
    assert lock_holder(tmp_path / "absent.lock") is None
    (tmp_path / "free.lock").touch()
    assert lock_holder(tmp_path / "free.lock") is None


def test_waiting_for_a_stopped_process_is_an_error(tmp_path: Path, holder: subprocess.Popen[str]) -> None:
    stop(holder)
    lines: list[str] = []
    lock = filelock.FileLock(tmp_path / "device.lock")
    with pytest.raises(CacheError, match=rf"the card: .*locked by process {holder.pid}, which is stopped: kill -CONT"):
        acquire(lock, "the card", lines.append, every_s=0.05, stopped_limit_s=0.1)
    assert lines
    assert all(f"process {holder.pid}, which is stopped" in line for line in lines)


def test_a_lock_that_becomes_free_is_acquired(tmp_path: Path, holder: subprocess.Popen[str]) -> None:
    lock = filelock.FileLock(tmp_path / "device.lock")

    def release(line: str) -> None:
        assert f"the card (process {holder.pid}), " in line
        holder.kill()

    assert acquire(lock, "the card", release, every_s=0.05)
    lock.release()
    assert not acquire(lock, "the card", release, every_s=0.05)
    lock.release()


def test_a_lock_file_that_cannot_be_locked_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "folder").touch()
    remedy = r"the card: .* cannot be locked .*: use a local folder on a file system with locks"
    with pytest.raises(CacheError, match=remedy):
        acquire(filelock.FileLock(tmp_path / "folder" / "x.lock"), "the card", print, every_s=0.05)
