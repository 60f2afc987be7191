"""Judge a suite on one card against the baseline of another: two GPUs of one host as a fleet.

    python benchmarks/fleet_cards.py [--devices 0 1] [--backend tensorrt] [--optimization-level 1]

Eleven tests of ResNet-18, one for each batch size and one more, are compared with stored figures at a tolerance of 2 %.
The baseline is saved twice on the first card. Then the suite runs on the second card: unsaved, saved twice, and once
more with a slower model in one test, which alone must fail. Each step prints its verdicts and what was found about the
card. The exit status is 1 if an unchanged test failed, or if the slower one did not.
"""

from __future__ import annotations

import argparse
import collections
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import resnet18

SLOWER = "test_one_more[b8]"

SUITE = """
import os
import pytest

pytestmark = pytest.mark.trt_regression(max_slowdown="2%", paired=False)
SPEC = {{"precision": "{precision}", "dims": {{"N": (1, 16, 32)}}{options}}}

@pytest.mark.trt_engine("base.onnx", **SPEC)
@pytest.mark.trt_matrix(batch=[1, 2, 3, 4, 6, 8, 12, 16, 24, 32])
def test_batch(trt_runner):
    trt_runner.measure()

@pytest.mark.trt_engine(os.environ.get("SLOWER", "base.onnx"), **SPEC)
@pytest.mark.trt_matrix(batch=[8])
def test_one_more(trt_runner):
    trt_runner.measure()
"""


def run(folder: Path, device: str, arguments: Sequence[str], model: str) -> dict[str, str]:
    """Run the suite on a card, print what is said about it, and return the status of each test."""
    started = time.monotonic()
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--trt-device={device}"]
    command += ["--trt-report=json:run.json", *arguments]
    root = str(Path(__file__).parents[1])
    environment = {
        **os.environ,
        "SLOWER": model,
        "PYTHONPATH": os.pathsep.join((root, os.environ.get("PYTHONPATH", ""))),
    }
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    if not (folder / "run.json").exists():
        raise SystemExit(f"pytest wrote no results:\n{done.stdout}\n{done.stderr}")
    results = json.loads((folder / "run.json").read_text())["results"]
    statuses = {one["node_id"].partition("::")[2]: _status(one) for one in results}
    counts = collections.Counter(statuses.values())
    print(f"device {device}, {' '.join(arguments) or 'not saved'}, {model}: {dict(counts)}, exit status "
          f"{done.returncode}, {time.monotonic() - started:.0f} s")  # fmt: skip
    print(*(f"  {line}" for line in done.stdout.splitlines() if "card is" in line or "the card of" in line), sep="\n")
    for one in results:
        for verdict in one["verdicts"]:
            if verdict["figure"] == "ms":
                print(f"    {one['node_id'].partition('::')[2]}: {verdict['text']}")
    return statuses


def _status(result: dict[str, object]) -> str:
    verdicts = result["verdicts"]
    assert isinstance(verdicts, list)
    return next((verdict["status"] for verdict in verdicts if verdict["figure"] == "ms"), "not compared")


def main() -> int:
    """Run all steps, and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--devices", nargs=2, default=["0", "1"], help="the two cards (0 1)")
    parser.add_argument("--backend", default="auto")
    parser.add_argument("--precision", default="fp16")
    parser.add_argument("--optimization-level", type=int, help="the builder's; TensorRT's default if absent")
    parser.add_argument("--cache-dir", help="the engine cache (default: a temporary folder)")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="pytest-trt-fleet-") as name:
        folder, (first, second) = Path(name), given.devices
        resnet18.save(folder / "base.onnx")
        resnet18.save(folder / "slower.onnx", more_1x1=4)
        level = f', "optimization_level": {given.optimization_level}' if given.optimization_level is not None else ""
        (folder / "test_fleet.py").write_text(SUITE.format(precision=given.precision, options=level))
        cache = given.cache_dir or str(folder / "cache")
        (folder / "pytest.ini").write_text(f"[pytest]\ntrt_cache_dir = {cache}\ntrt_backend = {given.backend}\n")
        save = ["--trt-baseline-save"]
        for _ in range(2):
            run(folder, first, save, "base.onnx")
        steps = [run(folder, second, arguments, "base.onnx") for arguments in ([], save, save)]
        last = run(folder, second, [], "slower.onnx")
    false = [test for step in (*steps, last) for test, status in step.items() if status == "regressed"]
    false = [test for test in false if test != SLOWER] + [SLOWER for step in steps if step[SLOWER] == "regressed"]
    print(f"false: {false or 'none'}; the slower model: {last[SLOWER]}")
    return 1 if false or last[SLOWER] != "regressed" else 0


if __name__ == "__main__":
    sys.exit(main())
