"""The demonstration behind `make demo`: save a baseline, compare with it, and catch a model that became slower.

Everything it writes goes to a folder that it removes. It exits with 0 when each act ended as it should.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

PROJECT = Path(__file__).parent
PYTEST = ("pytest", "--no-header", "--trt-max-slowdown=30%")
"""Two processes that run one model on a shared CPU may differ by 10 %: on a GPU, leave the tolerance at its 5 %."""
REPORT = "report.json"
HERE = """
trt_cache_dir = engines
trt_max_time = 2
"""
"""What the copy's ini file says besides: engines stay in the folder, and nobody has to wait."""


def run(*command: str, at: Path) -> int:
    """Show the command as one would type it, run it, and give its exit status. Interrupted, it ends before we do."""
    print(f"\n$ {' '.join(command)}", flush=True)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    # in a session of its own, so that Ctrl-C reaches it once, through us
    with subprocess.Popen(
        command, cwd=at, env={**os.environ, "PATH": path}, stdin=subprocess.DEVNULL, start_new_session=True
    ) as process:
        try:
            return process.wait()
        except BaseException:
            process.send_signal(signal.SIGINT)
            process.wait()
            raise


def verdicts(report: Path) -> list[set[str]]:
    """For each test, the verdicts of its comparison with the baseline."""
    results = json.loads(report.read_text())["results"]
    return [{v["status"] for v in result["verdicts"] if v["basis"] == "baseline"} for result in results]


def act(title: str) -> None:
    print(f"\n\033[1m{title}\033[0m" if sys.stdout.isatty() else f"\n{title}", flush=True)


def play(folder: Path) -> str:
    """What went wrong, or nothing."""
    at = folder / "project"
    shutil.copytree(PROJECT, at, ignore=shutil.ignore_patterns("__pycache__", ".*", "models"))
    with (at / "pytest.ini").open("a") as ini:
        ini.write(HERE.lstrip())

    act("1. Measure the models, hold them to their budgets, and keep what they cost as the baseline.")
    if run("python", "make_models.py", at=at) or run(*PYTEST, "--trt-baseline-save", at=at):
        return "the models should have met their budgets"

    act("2. The same networks, exported again: old and new engines take turns. This should pass.")
    if run("python", "make_models.py", "--export=2", at=at) or run(*PYTEST, f"--trt-report=json:{REPORT}", at=at):
        return "networks that have not changed should have passed"
    seen = verdicts(at / REPORT)
    if not seen or not all(statuses & {"ok", "improved", "inconclusive"} for statuses in seen):
        return f"every test that measures should have been compared: {seen}"

    act("3. Somebody makes the networks three times as deep. This must fail.")
    if run("python", "make_models.py", "--depth=3", at=at):
        return "the deeper models should have been made"
    status = run(*PYTEST, f"--trt-report=json:{REPORT}", at=at)
    caught = sum("regressed" in statuses for statuses in verdicts(at / REPORT))
    if status != 1 or not caught:
        return f"the slower models should have failed as regressed: exit status {status}, {caught} regressed"
    print(f"\nThat is how it should be: {caught} of {len(seen)} tests regressed, and pytest exited with 1.")
    return ""


def main() -> int:
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    with tempfile.TemporaryDirectory(prefix="pytest-trt-demo-") as folder:
        try:
            wrong = play(Path(folder))
        except KeyboardInterrupt:
            return 130
    if wrong:
        print(f"\nThe demonstration went wrong: {wrong}.", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
