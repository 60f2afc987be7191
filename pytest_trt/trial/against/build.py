"""Collect a revision's tests and build their engines, in a pytest of its own that runs in the worktree."""

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
from pytest_trt.trial.against.revision import BuildOutcome, BuildRequest, Revision, Worktree

FORWARDED_FLAGS = frozenset((
    "--trt-backend", "--trt-device", "--trt-compute-capability", "--trt-lock-dir", "--trt-cache-dir",
    "--trt-cache-size",
))  # fmt: skip
"""The options that the run in the worktree shares with this run. It uses the default of every other one."""

END_TIMEOUT_S = 10.0
"""How long an interrupted run in the worktree may take to end before it is killed."""

LAST_LINES = 60
"""How many lines of that run's output an error shows."""

_CHILD_CODE = "import sys; sys.path[:] = sys.argv[3:]; from pytest_trt.plugin.revision_build import main; main()"


@dataclasses.dataclass(frozen=True)
class PytestRun:
    """A frozen record of this pytest run.

    Attributes:
        arguments: Its arguments.
        folder: The folder that it was started in.
        rootdir: Its rootdir.
        inifile: Its ini file; empty if it has none.
        hosts: The addresses of its hosts elsewhere.
    """

    arguments: tuple[str, ...]
    folder: str
    rootdir: str
    inifile: str
    hosts: tuple[str, ...] = ()


def build_revision(
    worktree: Worktree, run: PytestRun, node_ids: Sequence[str], cache_dir: Path | None, say: Callable[[str], None]
) -> Revision:
    """Return the engines that tests have at the revision. If several processes call this, only the first one builds.

    Args:
        worktree: Where the revision is checked out.
        run: This pytest run.
        node_ids: The tests to build engines for.
        cache_dir: The engine cache; None to keep the engines in the worktree's folder.
        say: Shows progress.

    Raises:
        DeclarationError: The collection fails at the revision, loads files from the checkout, or finds none of the
            tests.
    """
    from filelock import FileLock

    path = Path(worktree.folder) / "outcome.json"
    with FileLock(Path(worktree.folder) / "lock"):
        if path.exists():
            outcome: BuildOutcome = from_json(BuildOutcome, path.read_text())
        else:
            cache_dir = cache_dir or Path(worktree.folder) / "engines"
            outcome = _collect_and_build(worktree, run, node_ids, cache_dir, say)
            path.write_text(json.dumps(codec.encode(outcome)))
    if outcome.problems:
        raise DeclarationError.from_text("\n".join(outcome.problems))
    return Revision(worktree, outcome)


def _collect_and_build(
    worktree: Worktree, run: PytestRun, node_ids: Sequence[str], cache_dir: Path, say: Callable[[str], None]
) -> BuildOutcome:
    checkout, output = Path(worktree.checkout), Path(worktree.folder) / "child-outcome.json"
    if not Path(run.folder).resolve().is_relative_to(checkout):
        text = f"--trt-against={worktree.name}: start pytest in {checkout}, not in {run.folder}"
        return BuildOutcome(problems=(text,))
    arguments = (_argument_in_worktree(argument, worktree) for argument in run.arguments)
    request = BuildRequest(
        checkout=worktree.checkout,
        tree=str(worktree.tree),
        rootdir=path_in_worktree(run.rootdir, worktree),
        cache_dir=str(cache_dir),
        output=str(output),
        node_ids=tuple(node_ids),
        arguments=(*arguments, *_extra_arguments(worktree, run)),
        hosts=run.hosts,
    )
    status, last_lines = _run_pytest(worktree, run, request, say)
    outcome: BuildOutcome | None = from_json(BuildOutcome, output.read_text()) if output.exists() else None
    if status not in (0, 1, 5) or outcome is None:
        if outcome is not None and outcome.problems:
            return BuildOutcome(problems=outcome.problems)
        text = f"--trt-against={worktree.name}: pytest fails at {worktree.title}, with status {status}:\n{last_lines}"
        return BuildOutcome(problems=(text,))
    if not (outcome.problems or outcome.engines or outcome.skipped or outcome.failed):
        text = f"--trt-against={worktree.name}: {worktree.title} has none of these tests: there is nothing to compare"
        return BuildOutcome(problems=(text,))
    return outcome


def path_in_worktree(path: str, worktree: Worktree) -> str:
    """Return the path in the worktree of a file or folder of the checkout; any other path unchanged."""
    resolved = Path(path).resolve()
    if not resolved.is_relative_to(worktree.checkout) or resolved.is_relative_to(worktree.folder):
        return path
    return str(worktree.tree / resolved.relative_to(worktree.checkout))


def _argument_in_worktree(argument: str, worktree: Worktree) -> str:
    """Return the argument with an absolute path, alone or after the last `=`, moved to the worktree."""
    head, equals, tail = argument.rpartition("=")
    return head + equals + (path_in_worktree(tail, worktree) if Path(tail).is_absolute() else tail)


def _extra_arguments(worktree: Worktree, run: PytestRun) -> list[str]:
    """Return what follows this run's arguments; pytest uses the last value of an option."""
    cache = Path(worktree.folder) / "pytest-cache"
    arguments = [f"--rootdir={path_in_worktree(run.rootdir, worktree)}", "--color=no", "-o", f"cache_dir={cache}"]
    for option in OPTIONS:
        if option.flag not in FORWARDED_FLAGS:
            arguments += ["-o", f"{option.name}={'' if option.metavar else 'false'}"]
    if run.inifile and Path(inifile := path_in_worktree(run.inifile, worktree)).exists():
        arguments += ["-c", inifile]
    return arguments


def _run_pytest(
    worktree: Worktree, run: PytestRun, request: BuildRequest, say: Callable[[str], None]
) -> tuple[int, str]:
    """Run pytest in the worktree, and return its exit status and the last lines of its output.

    It ends if this process ends.
    """
    request_path, output_path = Path(worktree.folder) / "request.json", Path(worktree.folder) / "output.txt"
    request_path.write_text(json.dumps(codec.encode(request)))
    environment = git_environment()
    for name in ("GITHUB_STEP_SUMMARY", "PYTEST_CURRENT_TEST", "PYTEST_XDIST_WORKER", "PYTEST_XDIST_WORKER_COUNT"):
        environment.pop(name, None)
    paths = environment.get("PYTHONPATH", "").split(os.pathsep)
    environment["PYTHONPATH"] = os.pathsep.join(path_in_worktree(path, worktree) for path in paths if path)
    folder = Path(path_in_worktree(run.folder, worktree))
    command = [sys.executable, "-c", _CHILD_CODE, str(request_path), str(os.getpid()), *filter(None, sys.path)]
    started = time.monotonic()
    with output_path.open("wb") as log:
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
    lines = output_path.read_text(errors="replace").strip().splitlines()
    return process.returncode, "\n".join(f"  {line}" for line in lines[-LAST_LINES:])
