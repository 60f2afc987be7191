"""Test temporary folders and the sweep of those that killed processes left, with processes that are really killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_trt.core import scratch
from pytest_trt.core.scratch import ScratchFolder
from pytest_trt.errors import CacheError

CREATE = """
import sys, time
from pytest_trt.core.scratch import ScratchFolder
made = [ScratchFolder(name) for name in sys.argv[1:]]
for folder in made:
    (folder.path / "file").write_text("of a killed run")
print(*(folder.path for folder in made), flush=True)
sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let TMPDIR be a folder of the test, and return this user's folder in it."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    return tmp_path / f"pytest-trt-{os.getuid()}"


@pytest.fixture
def other() -> Iterator[subprocess.Popen[str]]:
    """Start a process that has two temporary folders."""
    command = [sys.executable, "-c", CREATE, "server", "cache"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    yield process
    process.kill()
    process.communicate()


def folders(process: subprocess.Popen[str]) -> list[Path]:
    assert process.stdout is not None
    return list(map(Path, process.stdout.readline().split()))


def test_folder_names_its_owner_and_leaves_nothing(home: Path) -> None:
    with ScratchFolder("profile") as folder:
        assert folder.parent == home
        assert folder.name.startswith(f"profile-{os.getpid()}-")
        assert folder.stat().st_mode & 0o777 == 0o700
        (folder / "inner").mkdir()
    assert list(home.iterdir()) == []


def test_folders_of_a_killed_process_are_swept_at_the_next_start(home: Path, other: subprocess.Popen[str]) -> None:
    left = folders(other)
    with ScratchFolder("first"):
        assert all((folder / "file").exists() for folder in left), "its process lives"
    other.send_signal(signal.SIGSTOP)
    scratch.sweep(home)
    assert all((folder / "file").exists() for folder in left), "a stopped process lives too"
    other.kill()
    other.wait()
    assert all((folder / "file").exists() for folder in left)
    (home / "cpu.lock").touch()
    again = [sys.executable, "-c", CREATE, "again"]
    subprocess.run(again, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=True)
    assert [path.name for path in home.iterdir()] == ["cpu.lock"]


def test_owner_whose_id_is_in_use_again_is_dead(home: Path, other: subprocess.Popen[str]) -> None:
    """The lock counts, not the id in the name, which another process may have today."""
    (left, _) = folders(other)
    other.kill()
    other.wait()
    reused = left.with_name(f"server-{os.getpid()}-00000000")
    left.rename(reused)
    left.with_name(f"{left.name}.owner").rename(f"{reused}.owner")
    scratch.sweep(home)
    assert not reused.exists()


def test_forked_child_does_not_remove_the_folders_of_its_parent(home: Path) -> None:
    code = """
import os, sys
from pytest_trt.core.scratch import ScratchFolder
folder = ScratchFolder("parent")
child = os.fork()
if child == 0:
    sys.exit()
os.waitpid(child, 0)
print(folder.path.is_dir())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "True\n"
    assert list(home.iterdir()) == []


def test_starting_processes_do_not_sweep_each_other(home: Path) -> None:
    """Each process creates folders while the others sweep. A folder that was swept would fail its owner's check."""
    code = """
from pytest_trt.core import scratch
for _ in range(60):
    with scratch.ScratchFolder("race") as folder:
        scratch.sweep(folder.parent)
        (folder / "file").write_text("")
"""
    running = [subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True) for _ in range(4)]
    assert [process.communicate()[1] for process in running] == [""] * 4
    assert list(home.iterdir()) == []


def test_leftovers_that_a_sweep_cannot_remove_are_no_error(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with ScratchFolder("first"):
        pass
    (home / "strange-1-2").mkdir()
    (home / "strange-1-2.owner").mkdir()
    (home / "link-1-2.owner").symlink_to("/dev/null")
    scratch.sweep(home)
    assert sorted(path.name for path in home.iterdir()) == ["link-1-2.owner", "strange-1-2", "strange-1-2.owner"]


def test_folder_that_is_a_file_is_an_error(home: Path) -> None:
    home.touch()
    with pytest.raises(CacheError, match=r"temporary folder .* cannot be used .*: remove the file, or set TMPDIR"):
        ScratchFolder("server")
