"""Has a revision's tests collected and their engines built, by a pytest of its own in the worktree."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from pytest_trt.core import codec
from pytest_trt.core.codec import from_json
from pytest_trt.core.git import git_environment
from pytest_trt.errors import DeclarationError
from pytest_trt.spec.options import OPTIONS
from pytest_trt.trial.against.revision import Found, Request, Revision, Worktree

KEPT = frozenset((
    "--trt-backend", "--trt-device", "--trt-compute-capability", "--trt-cache-dir", "--trt-cache-size",
))  # fmt: skip
"""The options that mean the same there; every other one is at its default."""

END_TIMEOUT_S = 10.0
LAST_LINES = 60
"""How much of what that pytest said an error shows."""

_START = "import sys; sys.path[:] = sys.argv[3:]; from pytest_trt.plugin.revision_build import main; main()"


@dataclasses.dataclass(frozen=True)
class Run:
    """This pytest run: its arguments, where it was started, its rootdir, and its ini file, if it has one."""

    arguments: tuple[str, ...]
    folder: str
    rootdir: str
    inifile: str


def built(
    worktree: Worktree, run: Run, wanted: Sequence[str], cache_dir: Path | None, say: Callable[[str], None]
) -> Revision:
    """The engines that the tests `wanted` have at the revision, kept in `cache_dir`, or else for as long as the
    worktree. Of several processes that ask, one does the work.

    Raises DeclarationError where they cannot be told: what is collected there fails, is loaded from elsewhere, or has
    none of these tests.
    """
    from filelock import FileLock

    path = Path(worktree.folder) / "found.json"
    with FileLock(Path(worktree.folder) / "lock"):
        if path.exists():
            found: Found = from_json(Found, path.read_text())
        else:
            found = _found(worktree, run, wanted, cache_dir or Path(worktree.folder) / "engines", say)
            path.write_text(json.dumps(codec.encode(found)))
    if found.problems:
        raise DeclarationError("\n".join(found.problems))
    return Revision(worktree, found)


def _found(worktree: Worktree, run: Run, wanted: Sequence[str], cache_dir: Path, say: Callable[[str], None]) -> Found:
    here, path = Path(worktree.checkout), Path(worktree.folder) / "declared.json"
    if not Path(run.folder).resolve().is_relative_to(here):
        return Found(problems=(f"--trt-against={worktree.name}: start pytest in {here}, not in {run.folder}",))
    request = Request(
        checkout=worktree.checkout,
        tree=str(worktree.tree),
        rootdir=moved(run.rootdir, worktree),
        cache_dir=str(cache_dir),
        found=str(path),
        wanted=tuple(wanted),
        arguments=(*(_moved_argument(argument, worktree) for argument in run.arguments), *_options(worktree, run)),
    )
    status, said = _run(worktree, run, request, say)
    if status not in (0, 1, 5) or not path.exists():
        problems = from_json(Found, path.read_text()).problems if path.exists() else ()
        text = f"--trt-against={worktree.name}: pytest fails at {worktree.title}, with status {status}:\n{said}"
        return Found(problems=problems or (text,))
    found: Found = from_json(Found, path.read_text())
    if not (found.problems or found.built or found.skipped or found.faults):
        text = f"--trt-against={worktree.name}: {worktree.title} has none of these tests: there is nothing to compare"
        return Found(problems=(text,))
    return found


def moved(path: str, worktree: Worktree) -> str:
    """A path in the checkout as it is in the worktree; any other as it is."""
    here = Path(path).resolve()
    return str(worktree.tree / here.relative_to(worktree.checkout)) if _in_checkout(here, worktree) else path


def _in_checkout(path: Path, worktree: Worktree) -> bool:
    return path.is_relative_to(worktree.checkout) and not path.is_relative_to(worktree.folder)


def _moved_argument(argument: str, worktree: Worktree) -> str:
    head, equals, tail = argument.rpartition("=")
    return head + equals + (moved(tail, worktree) if Path(tail).is_absolute() else tail)


def _options(worktree: Worktree, run: Run) -> list[str]:
    """What the worktree's pytest is told besides this one's arguments: the last of them wins."""
    cache = Path(worktree.folder) / "pytest-cache"
    options = [f"--rootdir={moved(run.rootdir, worktree)}", "--color=no", "-o", f"cache_dir={cache}"]
    for option in OPTIONS:
        if option.flag not in KEPT:
            options += ["-o", f"{option.name}={'' if option.metavar else 'false'}"]
    if run.inifile and Path(inifile := moved(run.inifile, worktree)).exists():
        options += ["-c", inifile]
    return options


def _run(worktree: Worktree, run: Run, request: Request, say: Callable[[str], None]) -> tuple[int, str]:
    """That pytest's exit status, and the end of what it said. It ends when this process does."""
    asked, said = Path(worktree.folder) / "request.json", Path(worktree.folder) / "said.txt"
    asked.write_text(json.dumps(codec.encode(request)))
    environment = git_environment()
    for name in ("GITHUB_STEP_SUMMARY", "PYTEST_CURRENT_TEST", "PYTEST_XDIST_WORKER", "PYTEST_XDIST_WORKER_COUNT"):
        environment.pop(name, None)
    paths = environment.get("PYTHONPATH", "").split(os.pathsep)
    environment["PYTHONPATH"] = os.pathsep.join(moved(path, worktree) for path in paths if path)
    folder = Path(moved(run.folder, worktree))
    command = [sys.executable, "-c", _START, str(asked), str(os.getpid()), *filter(None, sys.path)]
    started = time.monotonic()
    with said.open("wb") as log:
        process = subprocess.Popen(
            command, cwd=folder if folder.is_dir() else worktree.tree, env=environment,
            stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
        try:
            while process.poll() is None:
                say(f"building the engines of {worktree.title}, {time.monotonic() - started:.0f} s")
                try:
                    process.wait(1.0)
                except subprocess.TimeoutExpired:
                    continue
        except BaseException:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(END_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            raise
        finally:
            say("")
    lines = said.read_text(errors="replace").strip().splitlines()
    return process.returncode, "\n".join(f"  {line}" for line in lines[-LAST_LINES:])
