"""Real networks at every precision: built, run, right, how fast, how large.

    python benchmarks/models.py FOLDER [--models resnet50,lstm] [--precisions fp32,fp16,int8] [--torch-python PYTHON]

Writes models.json and models.md to FOLDER after every row, and goes on with what models.json has there, but for rows
that were not built. Each network is built at each precision and measured as a test would be; every row is held against
ONNX Runtime on the CPU, which runs the network in fp32 on the same inputs. Where there is no GPU: `--backend
tensorrt_rtx --compute-capability 89` builds ahead of time and runs nothing, `--backend onnxruntime` runs everything on
the CPU.

On a GPU, `--builders` processes build at once before anything is measured: tactics are then timed beside each other,
which the table says. Fewer at once build a row hardly sooner: on an H200, TensorRT 8.6 took 351 s for DenseNet-121 with
4 at once, and 283 s (a level lower) with 10. PyTorch's eager mode needs an interpreter that has torch; it runs the same
graph, node by node.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parent))

import onnx
import torch_network
from networks import NETWORKS

from pytest_trt.cli import lineup_table
from pytest_trt.core import codec
from pytest_trt.core.backends import BACKENDS
from pytest_trt.report.header import environment_line
from pytest_trt.spec.declaration import Declaration
from pytest_trt.spec.engine_spec import EngineSpec
from pytest_trt.spec.expectations import Accuracy
from pytest_trt.spec.settings import Settings
from pytest_trt.trial.bench import Bench
from pytest_trt.trial.lineup import Lineup, Row

LEVEL = 2
"""The builder's optimisation level: 3, TensorRT's default, takes two to three times as long to build."""
WITHOUT_TORCH = ("nms",)
NOT_BUILT = "not built"
_FOR_ALL_ROWS = ("backend", "compute_capability", "optimization_level", "builders", "max_time")
SLOW_FIRST = ("densenet121", "vgg19", "inception_v2", "resnet50", "inception_v1")
_LEGEND = """`error` is the largest absolute difference of an output from ONNX Runtime's in fp32 on the CPU, `cosine`
the least cosine; a row is `inaccurate` where an output departs by more than its precision is allowed; `x` is how many
times as fast. `built` rows were built and not run. int8 is calibrated on inputs drawn as those that are compared on."""


class Work:
    """What is made on the way, in a folder of its own: models, engines, the rows of builds."""

    def __init__(self, given: argparse.Namespace) -> None:
        self.given, self.folder = given, Path(given.work)
        self.settings = Settings(
            cache_dir=str(self.folder / "engines"),
            cache_bytes=60 * 10**9,
            max_time_s=given.max_time,
            resolution=0.005,
            build_only=bool(given.compute_capability),
            rootdir=str(self.folder),
        )

    def model(self, name: str) -> Path:
        """The network as a file, made once."""
        path = self.folder / f"{name}.onnx"
        if not path.exists():
            draft = path.with_suffix(f".{os.getpid()}")
            onnx.save(NETWORKS[name].make(), str(draft))
            draft.replace(path)
        return path

    def lineup(self, name: str, bench: Bench) -> Lineup:
        accuracy = Accuracy(unordered=NETWORKS[name].unordered)
        return Lineup(Declaration(spec=self.spec(name)), bench, [self.folder], accuracy)

    def spec(self, name: str) -> EngineSpec:
        network = NETWORKS[name]
        return EngineSpec(path=str(self.model(name)), dims=network.dims, input_ranges=network.ranges)

    def specs(self, name: str) -> Iterator[tuple[str, EngineSpec]]:
        """What is built of a network, with the names of the rows."""
        backend = self.given.backend
        capabilities = tuple(self.given.compute_capability)
        level = None if backend == "onnxruntime" else self.given.optimization_level
        for precision in self.given.precisions:
            if (backend, precision) != ("onnxruntime", "fp32"):  # that is the reference's own row
                yield f"{BACKENDS[backend].label} {precision}", dataclasses.replace(
                    self.spec(name), precision=precision, backend=backend, optimization_level=level,
                    compute_capabilities=capabilities, calibration="random" if precision == "int8" else None,
                )  # fmt: skip

    def built(self, name: str, label: str) -> Path:
        return self.folder / f"{name} {label}.json"

    def build(self, name: str, label: str) -> None:
        """Build a network at one precision, and leave what came of it."""
        with Bench(self.settings) as bench:
            row = self.lineup(name, bench).row(label, dict(self.specs(name))[label], run=False)
            self.built(name, label).write_text(json.dumps(codec.encode(row)))
            print(f"{name} {label}: {_said(row)}", flush=True)


def build_all(work: Work, kept: Mapping[str, Mapping[str, Row]]) -> None:
    """Each row that is not `kept` in a process of its own, `--builders` at a time; at the deadline, what is being built
    is ended. The lock that keeps builds of one device apart lies in the temporary folder: each process has another."""
    given = work.given
    names = sorted(given.models, key=lambda name: (name not in SLOW_FIRST, name))
    waiting = [(name, label) for name in names for label, _ in work.specs(name) if label not in kept.get(name, {})]
    running: list[subprocess.Popen[bytes]] = []
    while (waiting or running) and time.time() < given.deadline:
        running = [process for process in running if process.poll() is None]
        if waiting and len(running) < given.builders:
            scratch = tempfile.mkdtemp(dir=work.folder)
            command = [sys.executable, __file__, *sys.argv[1:], "--work", given.work, "--only-build", *waiting.pop(0)]
            running.append(subprocess.Popen(command, env={**os.environ, "TMPDIR": scratch}))
        else:
            time.sleep(0.1)
    for process in running:
        process.terminate()  # its probes die with it
    for process in running:
        process.wait()


def rows(work: Work, name: str, bench: Bench, torch_bench: Bench | None, kept: Mapping[str, Row]) -> Iterator[Row]:
    """The reference's row, the backend's, and PyTorch's: those that are kept, and the others made."""
    lineup = work.lineup(name, bench)
    reference = "ONNX Runtime fp32"
    yield kept.get(reference) or lineup.row(reference, dataclasses.replace(work.spec(name), backend="onnxruntime"))
    for label, spec in work.specs(name):
        if label in kept:
            yield kept[label]
            continue
        path = work.built(name, label)
        row = codec.decode(Row, json.loads(path.read_text())) if path.exists() else None
        if row is None and time.time() >= work.given.deadline:
            yield Row(label, spec.precision, why=f"{NOT_BUILT}: the budget of {work.given.budget_s:g} s was spent")
        else:
            yield row if row is not None and not row.built else lineup.row(label, spec)
    if "PyTorch fp32" in kept:
        yield kept["PyTorch fp32"]
    elif torch_bench is not None and name not in WITHOUT_TORCH:
        graph = work.folder / f"{name}-torch"
        torch_network.write(onnx.load(str(work.model(name))), graph)
        (work.folder / f"torch_{name}.py").write_text(
            f"import sys\nfrom pathlib import Path\nsys.path.insert(0, {str(Path(__file__).parent)!r})\n"
            f"import torch_network\n\n\ndef module():\n    return torch_network.Network(Path({str(graph)!r}))\n"
        )
        yield lineup.torch_row(f"torch_{name}:module", work.folder, torch_bench)


def markdown(found: dict[str, list[Row]], given: argparse.Namespace) -> str:
    """Where it was measured, and a row for each network and precision."""
    environments = {environment_line(r.environment): None for rows in found.values() for r in rows if r.environment}
    level = f"optimisation level {given.optimization_level}, {given.builders} networks built at once"
    lines = ["# Real networks", "", f"{datetime.date.today().isoformat()}, {level}. Measured on:", ""]
    lines += [f"- {line}" for line in environments]
    return "\n".join([*lines, "", _LEGEND, "", lineup_table.markdown(list(found.items()))])


def _said(row: Row) -> str:
    shown = (
        f"{head} {cell}"
        for head, cell in zip(lineup_table.HEADINGS[1:], lineup_table.cells(row, [row])[1:], strict=True)
        if cell
    )
    return "; ".join((", ".join(shown), *lineup_table.remarks(row)))


def save(folder: Path, found: dict[str, list[Row]], given: argparse.Namespace) -> None:
    found = {name: found[name] for name in NETWORKS if name in found}
    rows = [{"network": name, **codec.encode(row)} for name, of in found.items() for row in of]
    said = {name: getattr(given, name) for name in ("models", "precisions", *_FOR_ALL_ROWS)}
    (folder / "models.json").write_text(json.dumps({"arguments": said, "rows": rows}, indent=1))
    (folder / "models.md").write_text(markdown(found, given))


def earlier(folder: Path, given: argparse.Namespace) -> dict[str, dict[str, Row]]:
    """The rows that are there already, by network and name, but for those that there was no time to build. Ends the
    program where they were made otherwise than is asked for: the table speaks of all rows alike."""
    path = folder / "models.json"
    kept = json.loads(path.read_text()) if path.exists() else {"arguments": vars(given), "rows": ()}
    for name in _FOR_ALL_ROWS:
        if (before := kept["arguments"][name]) != (now := getattr(given, name)):
            sys.exit(f"{path} was made with {name} {before}, and {now} is asked for: name another folder")
    found: dict[str, dict[str, Row]] = {}
    for said in kept["rows"]:
        network = said.pop("network")
        row = codec.decode(Row, said)
        if not row.why.startswith(NOT_BUILT):
            found.setdefault(network, {})[row.name] = row
    return found


def main() -> None:
    def names(text: str) -> list[str]:
        return text.split(",")

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where models.json and models.md go")
    parser.add_argument("--models", type=names, default=list(NETWORKS), help=", ".join(NETWORKS))
    parser.add_argument("--precisions", type=names, default=["fp32", "fp16", "int8"])
    parser.add_argument("--backend", choices=("tensorrt", "tensorrt_rtx", "onnxruntime"), default="tensorrt")
    parser.add_argument("--compute-capability", type=int, action="append", default=[], help="for TensorRT-RTX (89)")
    parser.add_argument("--optimization-level", type=int, default=LEVEL)
    parser.add_argument("--builders", type=int, default=10, help="how many rows are built at once (10)")
    parser.add_argument("--torch-python", help="an interpreter that has torch")
    parser.add_argument("--max-time", type=float, default=2.0, help="how long a row may be sampled, in s (2)")
    parser.add_argument("--budget-s", type=float, default=float("inf"), help="end builds after so many seconds")
    parser.add_argument("--work", help="keep models and engines in this folder")
    parser.add_argument("--only-build", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if unknown := [name for name in given.models if name not in NETWORKS]:
        parser.error(f"there is no network {', '.join(unknown)}: choose from {', '.join(NETWORKS)}")
    given.deadline = time.time() + given.budget_s
    if (given.backend == "tensorrt_rtx") != bool(given.compute_capability):
        parser.error("--compute-capability, such as 89, belongs to --backend tensorrt_rtx: without it nothing is run")
    with tempfile.TemporaryDirectory(prefix="pytest-trt-models-") as scratch:
        given.work = given.work or scratch
        Path(given.work).mkdir(parents=True, exist_ok=True)
        work = Work(given)
        if given.only_build:
            work.build(*given.only_build)
            return
        _measure(work)


def _measure(work: Work) -> None:
    given, started = work.given, time.monotonic()
    given.folder.mkdir(parents=True, exist_ok=True)
    kept = earlier(given.folder, given)
    build_all(work, kept)
    print(f"built in {time.monotonic() - started:.0f} s", flush=True)
    found = {name: list(rows.values()) for name, rows in kept.items() if name not in given.models}
    torch_bench = Bench(work.settings, python=given.torch_python) if given.torch_python else None
    try:
        with Bench(work.settings) as bench:
            for name in given.models:
                for row in rows(work, name, bench, torch_bench, kept.get(name, {})):
                    found.setdefault(name, []).append(row)
                    print(f"{name} {row.name}: {_said(row)}", flush=True)
                    save(given.folder, found, given)
    finally:
        if torch_bench is not None:
            torch_bench.close()
    print(f"all in {time.monotonic() - started:.0f} s", flush=True)


if __name__ == "__main__":
    main()
