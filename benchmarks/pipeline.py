"""Measure how close the pipeline comes to the limit of the hardware: ResNet-18 in FP16 at batch 128 and batch 1.

    python benchmarks/pipeline.py FOLDER [--torch-python PYTHON] [--plan FOLDER]

It needs a GPU, TensorRT with its builder, and cuda-python. Each rung adds one technique, and runs in a fresh process
with the engine alone. The limit is the larger of the time for pinned host-to-device copies alone and the time for
computation alone, measured in the same run. The rungs with PyTorch need an interpreter with torch and torchvision. By
default, that is this one, or else `python3`. The output is FOLDER/DATE-pipeline.json, .md, and a chart for each batch
size. A run takes about three minutes on an H200, half a minute of which is the build.
"""

from __future__ import annotations

import argparse
import datetime
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parent))

import ladder
from pipeline_rungs import BATCHES, RUNGS, SETUP, Row

CHILD_TIMEOUT_S = 180.0

TORCH = """
import json, sys, time, torch, torchvision
batch, half = int(sys.argv[1]), sys.argv[2] == "fp16"
model = torchvision.models.resnet18().eval().cuda()
kind = torch.float16 if half else torch.float32
model = model.to(kind)
host = torch.randn(batch, 3, 224, 224, dtype=kind).pin_memory()
times = []
with torch.inference_mode():
    end = time.perf_counter() + 2
    while time.perf_counter() < end:
        start = time.perf_counter()
        model(host.cuda(non_blocking=True)).cpu()
        times.append(time.perf_counter() - start)
times = sorted(times[len(times) // 3:])
print(json.dumps({"ms": times[len(times) // 2] * 1000, "torch": torch.__version__}))
"""


def child(folder: Path, name: str, batch: int) -> Row:
    """Run one rung in a process of its own; return its row, or its error."""
    command = [sys.executable, __file__, "--plan", str(folder), "--rung", name, "--batch", str(batch)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=CHILD_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        return {"error": f"not finished within {CHILD_TIMEOUT_S:g} s"}
    if done.returncode:
        print(done.stderr, file=sys.stderr)
        return {"error": (done.stderr.strip().splitlines() or [f"status {done.returncode}"])[-1]}
    row: Row = json.loads(done.stdout.strip().splitlines()[-1])
    return row


def find_torch(requested: str | None) -> str | None:
    """Return an interpreter that has torch and torchvision. A requested one is not checked."""
    code = "import importlib.util as u, sys; sys.exit(None in (u.find_spec('torch'), u.find_spec('torchvision')))"
    for python in (requested,) if requested else (sys.executable, shutil.which("python3"), shutil.which("python3.12")):
        if python and (requested or subprocess.run([python, "-c", code], check=False).returncode == 0):
            return python
    return None


def torch_rung(python: str | None, batch: int, kind: str) -> Row:
    """Measure PyTorch in eager mode, in its own interpreter."""
    if python is None:
        return {"error": "no interpreter with torch and torchvision was found: name one with --torch-python"}
    done = subprocess.run([python, "-c", TORCH, str(batch), kind], capture_output=True, text=True, check=False)
    if done.returncode:
        print(done.stderr, file=sys.stderr)
        return {"error": (done.stderr.strip().splitlines() or [f"status {done.returncode}"])[-1]}
    row: Row = json.loads(done.stdout.strip().splitlines()[-1])
    return row


def measure_rungs(folder: Path, batch: int, torch_python: str | None) -> dict[str, Row]:
    """Measure every rung for one batch size, and print each."""
    rows: dict[str, Row] = {}
    rungs: dict[str, Callable[[], Row]] = {name: lambda name=name: child(folder, name, batch) for name in RUNGS}  # type: ignore[misc]
    for kind in ("fp32", "fp16"):
        rungs[f"PyTorch eager {kind}"] = lambda kind=kind: torch_rung(torch_python, batch, kind)  # type: ignore[misc]
    for name, rung in rungs.items():
        started = time.perf_counter()
        rows[name] = rung()
        figures = {k: round(v, 4) for k, v in rows[name].items() if isinstance(v, float)}
        print(f"batch {batch:3}  {name:24} {time.perf_counter() - started:5.1f} s  {figures or rows[name]}", flush=True)
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "folder", type=Path, nargs="?", default=Path("pipeline"), help="the folder of the results (pipeline)"
    )
    parser.add_argument("--plan", type=Path, help="a folder with the plan of an earlier run")
    parser.add_argument("--torch-python", help="an interpreter with torch and torchvision")
    parser.add_argument("--rung", choices=[*SETUP, *RUNGS], help="run only this rung, and print its row as JSON")
    parser.add_argument("--batch", type=int, default=1, choices=BATCHES, help="the batch size of --rung (1)")
    options = parser.parse_args()
    started = time.perf_counter()
    folder = options.plan or Path(tempfile.mkdtemp(prefix="trt-pipeline-"))
    if options.rung:
        print(json.dumps({**SETUP, **RUNGS}[options.rung](folder, options.batch)))
        return 0
    folder.mkdir(parents=True, exist_ok=True)
    setup = {name: child(folder, name, 1) for name in SETUP if name != "build" or not (folder / "plan").exists()}
    print(setup, flush=True)
    if any("error" in row for row in setup.values()):
        return 1
    torch_python = find_torch(options.torch_python)
    rows = {str(batch): measure_rungs(folder, batch, torch_python) for batch in BATCHES}
    record: Row = {
        "time": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        **setup,
        "seconds": time.perf_counter() - started,
        "rows": rows,
    }
    options.folder.mkdir(parents=True, exist_ok=True)
    name = f"{record['time'][:10]}-pipeline"
    (options.folder / f"{name}.json").write_text(json.dumps(record, indent=1) + "\n")
    page = ladder.page(record, name)
    (options.folder / f"{name}.md").write_text(page)
    for batch, rungs in rows.items():
        title = f"ResNet-18 FP16, batch {batch}: throughput as a share of the limit"
        if "ms" in rungs["limit"]:
            (options.folder / f"{name}-b{batch}.svg").write_text(ladder.chart(rungs, title))
    print(f"\n{page}\n{record['seconds']:.0f} s, written to {options.folder}")
    failed = ladder.failures(rows)
    print(*failed, sep="\n", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
