"""The demonstration behind `make demo`: save a baseline, compare with it, and catch a model that became slower.

Everything it writes goes to a folder that it removes. It exits with 0 when each act ended as it should.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

PROJECT = Path(__file__).parent


def run(*command: str, at: Path) -> int:
    """Show the command as one would type it, run it, and give its exit status."""
    print(f"\n$ {' '.join(command)}", flush=True)
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    return subprocess.run(command, cwd=at, env=environment, check=False).returncode


def verdicts(report: Path) -> list[list[str]]:
    """The statuses of each test's verdicts."""
    return [[v["status"] for v in result["verdicts"]] for result in json.loads(report.read_text())["results"]]


def act(title: str) -> None:
    print(f"\n\033[1m{title}\033[0m" if sys.stdout.isatty() else f"\n{title}", flush=True)


def main(folder: Path) -> str:
    """What went wrong, or nothing."""
    at, report = folder / "project", folder / "report.json"
    shutil.copytree(PROJECT, at, ignore=shutil.ignore_patterns("__pycache__", ".*_cache", ".trt-baselines"))
    pytest = ("pytest", f"--trt-cache-dir={folder / 'cache'}", "-p", "no:cacheprovider")

    act("1. Measure the models, hold them to their budgets, and keep what they cost as the baseline.")
    run("python", "make_models.py", at=at)
    if run(*pytest, "--trt-baseline-save", at=at) != 0:
        return "the models should have met their budgets"

    act("2. Nothing has changed: the same tests, compared with the baseline.")
    if run(*pytest, f"--trt-report=json:{report}", at=at) != 0:
        return "models that have not changed should have passed"
    if not all("ok" in statuses for statuses in verdicts(report)):
        return "every measured test should have been compared"

    act("3. Somebody makes the models three times as deep. This must fail:")
    run("python", "make_models.py", "--depth=3", at=at)
    status = run(*pytest, f"--trt-report=json:{report}", at=at)
    caught = sum("regressed" in statuses for statuses in verdicts(report))
    if status != 1 or not caught:
        return f"the slower models should have failed as regressed: exit status {status}, {caught} regressed"
    print(f"\nCaught: {caught} tests regressed, and pytest exited with 1, as it should.")
    return ""


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="pytest-trt-demo-") as name:
        sys.exit(main(Path(name)) or 0)
