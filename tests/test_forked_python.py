"""Test that a forked child is like a child of `subprocess.Popen` to its program and to its parent."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import pytest
from samples import forked_python

DESCRIBE = """
import json, os, signal, sys, tempfile
descriptors = os.listdir("/proc/self/fd")
print(json.dumps({
    "name": __name__, "arguments": sys.argv, "first path": sys.path[0], "paths": sorted({*sys.path}),
    "folder": os.getcwd(), "temporary folder": tempfile.gettempdir(), "environment": dict(os.environ),
    "descriptors": sorted(name for name in descriptors if os.path.exists("/proc/self/fd/" + name)),
    "input": sys.stdin.read(), "writes bytecode": not sys.dont_write_bytecode,
    "leads a session": os.getsid(0) == os.getpid(),
    "signals": [str(signal.getsignal(number)) for number in (signal.SIGINT, signal.SIGCHLD, signal.SIGPIPE)],
    "streams": [(stream.encoding, stream.errors) for stream in (sys.stdin, sys.stdout, sys.stderr)],
}))
print("error", file=sys.stderr)
"""

KINDS = {"interpreter": subprocess.Popen, "fork": forked_python.Popen}


@pytest.mark.usefixtures("forkserver")
@pytest.mark.parametrize("session", [False, True])
def test_a_forked_program_finds_what_it_would_find_in_an_interpreter_of_its_own(tmp_path, session):
    paths = {"PYTHONPATH": str(tmp_path / "lib"), "TMPDIR": str(tmp_path)}
    environment = {**os.environ, **paths, "X": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    if not session:
        (tmp_path / "program.py").write_text(DESCRIBE)
    command = [sys.executable, *(["-c", DESCRIBE] if session else ["-m", "program"]), "a", "b c"]
    seen = {}
    for kind, start in KINDS.items():
        read_end, write_end = os.pipe()
        with start(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=tmp_path,
            env=environment,
            pass_fds=[write_end],
            start_new_session=session,
        ) as child:
            os.close(write_end)
            child.stdin.write(b"text")
            child.stdin.close()
            error, description = sorted(child.stdout.read().splitlines(), key=len)
            seen[kind] = json.loads(description)
            assert child.wait() == 0
            assert os.read(read_end, 1) == b""  # nobody else holds the other end
            os.close(read_end)
    assert type(child) is forked_python.Popen
    assert error == b"error"
    assert seen["fork"]["input"] == "text"
    assert seen["fork"] == seen["interpreter"]


ENDS = {
    "by itself": "",
    "status": "raise SystemExit(3)",
    "text": "raise SystemExit('text')",
    "error": "1 / 0",
    "signal": "import os; os.kill(os.getpid(), 9)",
    "at exit": "import atexit; atexit.register(print, 'at exit')",
}


@pytest.mark.usefixtures("forkserver")
@pytest.mark.parametrize("end", ENDS)
def test_a_forked_program_ends_like_an_interpreter_of_its_own(end):
    seen = {}
    for kind, start in KINDS.items():
        command = [sys.executable, "-u", "-c", ENDS[end]]
        with start(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:
            lines = [stream.read().decode().splitlines()[-1:] for stream in (child.stdout, child.stderr)]
            seen[kind] = (child.wait(), lines)
    assert seen["fork"] == seen["interpreter"]


@pytest.mark.usefixtures("forkserver")
def test_a_forked_program_can_be_awaited_and_killed():
    child = forked_python.Popen([sys.executable, "-c", "import signal; print(flush=True); signal.pause()"], stdout=-1)
    assert child.stdout.readline() == b"\n"
    assert child.poll() is None
    with pytest.raises(subprocess.TimeoutExpired):
        child.wait(0.01)
    child.kill()
    assert child.wait() == -signal.SIGKILL
    child.stdout.close()


@pytest.mark.usefixtures("forkserver")
def test_the_child_of_a_fork_is_forked_and_its_parent_is_the_argument_that_names_it(tmp_path):
    inner = "import os, sys; print(sys.argv[1] == str(os.getppid()), 'numpy' in sys.modules)"
    outer = f"import os, subprocess, sys; subprocess.Popen([sys.executable, '-c', {inner!r}, str(os.getpid())]).wait()"
    with (tmp_path / "out").open("wb") as out:
        assert forked_python.Popen([sys.executable, "-c", outer], stdout=out).wait() == 0
    assert (tmp_path / "out").read_text() == "True True\n"


@pytest.mark.usefixtures("forkserver")
@pytest.mark.parametrize(
    "command", [["true"], [sys.executable, "-X", "dev", "-c", ""], [sys.executable, "-S", "-c", ""]]
)
def test_other_commands_start_as_usual(command):
    child = forked_python.Popen(command)
    assert isinstance(child, subprocess.Popen)
    assert child.wait() == 0


@pytest.mark.usefixtures("forkserver")
@pytest.mark.parametrize("text", [False, True])
def test_a_forked_program_can_be_run_and_its_output_captured(monkeypatch, text):
    monkeypatch.setattr(subprocess, "Popen", forked_python.Popen)
    echo = "import sys; sys.stdout.write(sys.stdin.read() * 50000); sys.exit(print('error', file=sys.stderr) or 3)"
    done = subprocess.run(
        [sys.executable, "-c", echo], input="abc" if text else b"abc", capture_output=True, text=text, check=False
    )
    assert (len(done.stdout), done.stderr, done.returncode) == (150000, "error\n" if text else b"error\n", 3)
    with pytest.raises(subprocess.TimeoutExpired):
        subprocess.run([sys.executable, "-c", "import time; time.sleep(60)"], timeout=0.2, check=False)


@pytest.mark.usefixtures("forkserver")
def test_a_program_with_a_sitecustomize_module_gets_an_interpreter(tmp_path):
    (tmp_path / "sitecustomize.py").write_text("print('first', flush=True)")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    with forked_python.Popen(
        [sys.executable, "-c", "print('second')"], stdout=subprocess.PIPE, env=environment
    ) as child:
        assert child.stdout.read().split() == [b"first", b"second"]
