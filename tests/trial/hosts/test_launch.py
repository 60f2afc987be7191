"""Test how Python is started on a host, and the error if it does not start."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from pytest_trt.errors import HostError
from pytest_trt.spec.hosts import HostAddress
from pytest_trt.trial.hosts.launch import Connection
from pytest_trt.trial.hosts.session import HostSession

REQUEST = {"cache_bytes": 10**9, "no_cache": False, "lock_dir": None, "silence_s": 15.0, "python": None}


@pytest.fixture
def script(tmp_path: Path) -> Callable[[str], HostAddress]:
    """Return a function that makes a host of a shell script, and names it gpu01."""

    def make(text: str) -> HostAddress:
        path = tmp_path / "python"
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)
        return HostAddress("gpu01", (str(path),), cache=str(tmp_path / "cache"))

    return make


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("echo Could not resolve hostname >&2; exit 255", "the command ended with status 255 .*: Could not resolve"),
        (
            f'exec {sys.executable} -c "import sys; sys.version_info = (3, 8, 1); $2"',
            "Python is 3.8 there, and 3.10 or",
        ),
        ("echo a login banner; exit 0", "the command ended with status 0 before Python had started: a login banner"),
        ("exec cat /dev/zero", "the command wrote 17 MB, and no Python has started"),
    ],
)
def test_a_host_without_a_python_that_works_is_named_on_one_line(script, text, message):
    with pytest.raises(HostError, match=f"^host gpu01: {message}") as caught:
        Connection(script(text), REQUEST, lambda text: None)
    assert "\n" not in str(caught.value)


def test_a_command_that_does_not_exist_is_named():
    with pytest.raises(HostError, match=r"^host gpu01: kubectl-nope cannot be started \(No such file"):
        Connection(HostAddress("gpu01", ("kubectl-nope", "exec")), REQUEST, lambda text: None)


def test_a_cache_that_others_can_write_to_is_refused(script, tmp_path):
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache").chmod(0o777)
    with pytest.raises(HostError, match=r"host gpu01: others can write to .*: chmod 700 it"):
        Connection(script(f'exec {sys.executable} "$@"'), REQUEST, lambda text: None)


def test_a_banner_and_a_terminal_do_not_disturb_the_link(script, tmp_path):
    """`srun --pty` gives Python a terminal, which echoes, and changes line breaks and control characters."""
    wrapper = tmp_path / "with_terminal.py"
    wrapper.write_text(TERMINAL)
    address = script(f'echo "Welcome to gpu01"; exec {sys.executable} {wrapper} {sys.executable} "$@"')
    session = HostSession(address, REQUEST, lambda text: None)
    try:
        assert session.call("facts")[0]["missing"] == []
        folder, _ = session.call("draft", digest="")
        every_byte = bytes(range(256)) * 1000
        session.call("put", folder=folder, name="all", payload=every_byte)
        kept, _ = session.call("save_model", folder=folder)
        assert Path(kept, "all").read_bytes() == every_byte
    finally:
        session.close()


TERMINAL = """
import os, pty, select, sys
child, terminal = pty.fork()
if child == 0:
    os.execv(sys.argv[1], sys.argv[1:])
while True:
    ready = select.select([0, terminal], [], [])[0]
    for source, target in ((0, terminal), (terminal, 1)):
        if source in ready:
            try:
                data = os.read(source, 65536)
            except OSError:
                data = b""
            if not data:
                sys.exit(0)
            while data:
                data = data[os.write(target, data):]
"""
