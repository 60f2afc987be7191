"""The demonstration of `make demo`: save a baseline, compare with it, and report a model that became slower.

It writes to a temporary folder, of which only an HTML report remains. It exits with 0 if each of the three steps
has the expected result.
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
"""Two processes that run the same model on a shared CPU may differ by 10 %. On a GPU, keep the default of 5 %."""
REPORT = "report.json"
PAGE = Path(tempfile.gettempdir()) / "pytest-trt-demo.html"
"""The HTML report of the last step, which remains."""
INI_SETTINGS = """
trt_cache_dir = engines
trt_max_time = 2
"""
"""Settings appended to the copy's pytest.ini: keep the engines in the folder, and measure for a short time only."""


def run(*command: str, at: Path) -> int:
    """Print the command, run it in the folder `at`, and return its exit status.

    If this process is interrupted, the command is interrupted first.
    """
    print(f"\n$ {' '.join(command)}", flush=True)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    # In a session of its own, the command receives Ctrl-C only once: from the handler below.
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
    """Return, for each test, the statuses of its comparison with the baseline."""
    results = json.loads(report.read_text())["results"]
    return [{v["status"] for v in result["verdicts"] if v["basis"] == "baseline"} for result in results]


def print_title(title: str) -> None:
    print(f"\n\033[1m{title}\033[0m" if sys.stdout.isatty() else f"\n{title}", flush=True)


def demonstrate(folder: Path) -> str:
    """Run the three steps in a copy of the project; return what went wrong, or an empty string."""
    at = folder / "project"
    shutil.copytree(PROJECT, at, ignore=shutil.ignore_patterns("__pycache__", ".*", "models"))
    with (at / "pytest.ini").open("a") as ini:
        ini.write(INI_SETTINGS.lstrip())

    print_title("1. Measure the models, compare them with their budgets, and save the baseline.")
    if run("python", "make_models.py", at=at) or run(*PYTEST, "--trt-baseline-save", at=at):
        return "the models should have met their budgets"

    print_title("2. Export the same networks again, and measure old and new engines alternately. This should pass.")
    if run("python", "make_models.py", "--export=2", at=at) or run(*PYTEST, f"--trt-report=json:{REPORT}", at=at):
        return "unchanged networks should have passed"
    compared = verdicts(at / REPORT)
    if not compared or not all(statuses & {"ok", "improved", "inconclusive"} for statuses in compared):
        return f"every test that measures should have been compared with its baseline: {compared}"

    print_title("3. Make the networks three times as deep. This must fail.")
    if run("python", "make_models.py", "--depth=3", at=at):
        return "the deeper models should have been created"
    status = run(*PYTEST, f"--trt-report=json:{REPORT}", f"--trt-report=html:{PAGE}", at=at)
    regressed = sum("regressed" in statuses for statuses in verdicts(at / REPORT))
    if status != 1 or not regressed:
        return f"the slower models should have regressed: exit status {status}, {regressed} regressed"
    print(f"\nThis is the expected result: {regressed} of {len(compared)} tests regressed, and pytest exited with 1.")
    print(f"The report of this run: {PAGE}")
    return ""


def main() -> int:
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    with tempfile.TemporaryDirectory(prefix="pytest-trt-demo-") as folder:
        try:
            problem = demonstrate(Path(folder))
        except KeyboardInterrupt:
            return 130
    if problem:
        print(f"\nThe demonstration failed: {problem}.", file=sys.stderr)
    return 1 if problem else 0


if __name__ == "__main__":
    sys.exit(main())
