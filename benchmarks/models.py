"""Build and measure real networks at every precision: latency, size, memory, and accuracy.

    python benchmarks/models.py FOLDER [--models resnet50,lstm] [--precisions fp32,fp16,int8] [--torch-python PYTHON]

The script writes models.json and models.md to FOLDER after every row. It continues an existing models.json, and repeats
only the rows that were not built. Each network is built at each precision and measured like a test. Its outputs are
compared with those of ONNX Runtime on the CPU in fp32, for the same inputs. Without a GPU, `--backend tensorrt_rtx
--compute-capability 89` builds ahead of time and runs nothing, and `--backend onnxruntime` runs everything on the CPU.

On a GPU, `--builders` processes build at the same time, before the first measurement. TensorRT then times its tactics
while others run, which the page states. A single network is hardly built faster by fewer builders: on an H200,
TensorRT 8.6 built DenseNet-121 in 351 s with 4 builders, and in 283 s (one optimisation level lower) with 10. PyTorch's
eager mode runs the same graph node by node, in an interpreter that has torch.
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
"""The optimisation level of the builder. With TensorRT's default of 3, a build takes two to three times as long."""
WITHOUT_TORCH = ("nms",)
NOT_BUILT = "not built"
_FOR_ALL_ROWS = ("backend", "compute_capability", "optimization_level", "builders", "max_time")
SLOW_FIRST = ("densenet121", "vgg19", "inception_v2", "resnet50", "inception_v1")
_LEGEND = """`error` is the largest absolute difference of an output from that of ONNX Runtime in fp32 on the CPU.
`cosine` is the smallest cosine similarity of an output. A row is `inaccurate` if an output differs by more than the
tolerance of its precision. `x ONNX Runtime` and `x PyTorch` are the speed relative to these. `built` rows were built,
but not run. int8 is calibrated on generated inputs with the same distribution as those of the comparison."""


class Work:
    """The models, engines and build results of a run, in a folder of their own."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options, self.folder = options, Path(options.work)
        self.settings = Settings(
            cache_dir=str(self.folder / "engines"),
            cache_bytes=60 * 10**9,
            max_time_s=options.max_time,
            resolution=0.005,
            build_only=bool(options.compute_capability),
            rootdir=str(self.folder),
        )

    def model(self, name: str) -> Path:
        """Return the file of the network, and write it at the first call."""
        path = self.folder / f"{name}.onnx"
        if not path.exists():
            draft = path.with_suffix(f".{os.getpid()}")
            onnx.save(NETWORKS[name].make(), str(draft))
            draft.replace(path)
        return path

    def lineup(self, name: str, bench: Bench) -> Lineup:
        """Return the line-up of the network, which builds and measures its rows."""
        accuracy = Accuracy(unordered=NETWORKS[name].unordered)
        return Lineup(Declaration(spec=self.spec(name)), bench, [self.folder], accuracy)

    def spec(self, name: str) -> EngineSpec:
        """Return the spec of the network, without a backend or a precision."""
        network = NETWORKS[name]
        return EngineSpec(path=str(self.model(name)), dims=network.dims, input_ranges=network.ranges)

    def specs(self, name: str) -> Iterator[tuple[str, EngineSpec]]:
        """Yield the name and the spec of each row of the network."""
        backend = self.options.backend
        capabilities = tuple(self.options.compute_capability)
        level = None if backend == "onnxruntime" else self.options.optimization_level
        for precision in self.options.precisions:
            if (backend, precision) != ("onnxruntime", "fp32"):  # This is the row of the reference.
                yield f"{BACKENDS[backend].label} {precision}", dataclasses.replace(
                    self.spec(name), precision=precision, backend=backend, optimization_level=level,
                    compute_capabilities=capabilities, calibration="random" if precision == "int8" else None,
                )  # fmt: skip

    def build_result(self, name: str, label: str) -> Path:
        """Return the file of the row that a build process writes."""
        return self.folder / f"{name} {label}.json"

    def build(self, name: str, label: str) -> None:
        """Build a network at one precision, and write its row to `build_result`."""
        with Bench(self.settings) as bench:
            row = self.lineup(name, bench).row(label, dict(self.specs(name))[label], run=False)
            self.build_result(name, label).write_text(json.dumps(codec.encode(row)))
            print(f"{name} {label}: {_describe(row)}", flush=True)


def build_all(work: Work, finished: Mapping[str, Mapping[str, Row]]) -> None:
    """Build each row that is not `finished` in a process of its own, `--builders` at a time.

    At the deadline, running builds are ended. Each process has a temporary folder of its own, because the lock that
    serialises builds for a device is in the temporary folder.
    """
    options = work.options
    names = sorted(options.models, key=lambda name: (name not in SLOW_FIRST, name))
    waiting = [(name, label) for name in names for label, _ in work.specs(name) if label not in finished.get(name, {})]
    running: list[subprocess.Popen[bytes]] = []
    while (waiting or running) and time.time() < options.deadline:
        running = [process for process in running if process.poll() is None]
        if waiting and len(running) < options.builders:
            scratch = tempfile.mkdtemp(dir=work.folder)
            command = [sys.executable, __file__, *sys.argv[1:], "--work", options.work, "--only-build", *waiting.pop(0)]
            running.append(subprocess.Popen(command, env={**os.environ, "TMPDIR": scratch}))
        else:
            time.sleep(0.1)
    for process in running:
        process.terminate()  # Its probes end with it.
    for process in running:
        process.wait()


def rows(work: Work, name: str, bench: Bench, torch_bench: Bench | None, finished: Mapping[str, Row]) -> Iterator[Row]:
    """Yield the rows of the reference, of the backend and of PyTorch; measure those that are not `finished`."""
    lineup = work.lineup(name, bench)
    reference = "ONNX Runtime fp32"
    yield finished.get(reference) or lineup.row(reference, dataclasses.replace(work.spec(name), backend="onnxruntime"))
    for label, spec in work.specs(name):
        if label in finished:
            yield finished[label]
            continue
        path = work.build_result(name, label)
        row = codec.decode(Row, json.loads(path.read_text())) if path.exists() else None
        if row is None and time.time() >= work.options.deadline:
            yield Row(
                label, spec.precision, why=f"{NOT_BUILT}: the time limit of {work.options.budget_s:g} s was reached"
            )
        else:
            yield row if row is not None and not row.built else lineup.row(label, spec)
    if "PyTorch fp32" in finished:
        yield finished["PyTorch fp32"]
    elif torch_bench is not None and name not in WITHOUT_TORCH:
        graph = work.folder / f"{name}-torch"
        torch_network.write(onnx.load(str(work.model(name))), graph)
        (work.folder / f"torch_{name}.py").write_text(
            f"import sys\nfrom pathlib import Path\nsys.path.insert(0, {str(Path(__file__).parent)!r})\n"
            f"import torch_network\n\n\ndef module():\n    return torch_network.Network(Path({str(graph)!r}))\n"
        )
        yield lineup.torch_row(f"torch_{name}:module", work.folder, torch_bench)


def markdown(results: dict[str, list[Row]], options: argparse.Namespace) -> str:
    """Return the page: the devices, and a table with a row for each network and precision."""
    environments = {environment_line(r.environment): None for rows in results.values() for r in rows if r.environment}
    level = f"optimisation level {options.optimization_level}, {options.builders} networks built at once"
    lines = ["# Real networks", "", f"{datetime.date.today().isoformat()}, {level}. Measured on:", ""]
    lines += [f"- {line}" for line in environments]
    return "\n".join([*lines, "", _LEGEND, "", lineup_table.markdown(list(results.items()))])


def _describe(row: Row) -> str:
    """Return the row as one line."""
    values = (
        f"{head} {cell}"
        for head, cell in zip(lineup_table.HEADINGS[1:], lineup_table.cells(row, [row])[1:], strict=True)
        if cell
    )
    return "; ".join((", ".join(values), *lineup_table.remarks(row)))


def save(folder: Path, results: dict[str, list[Row]], options: argparse.Namespace) -> None:
    """Write models.json and models.md, with the networks in their order."""
    results = {name: results[name] for name in NETWORKS if name in results}
    rows = [{"network": name, **codec.encode(row)} for name, network_rows in results.items() for row in network_rows]
    arguments = {name: getattr(options, name) for name in ("models", "precisions", *_FOR_ALL_ROWS)}
    (folder / "models.json").write_text(json.dumps({"arguments": arguments, "rows": rows}, indent=1))
    (folder / "models.md").write_text(markdown(results, options))


def finished_rows(folder: Path, options: argparse.Namespace) -> dict[str, dict[str, Row]]:
    """Return the rows in models.json by network and name, without those that were not built for lack of time.

    Exits if they were created with other options, because the page describes all rows together.
    """
    path = folder / "models.json"
    content = json.loads(path.read_text()) if path.exists() else {"arguments": vars(options), "rows": ()}
    for name in _FOR_ALL_ROWS:
        if (before := content["arguments"][name]) != (now := getattr(options, name)):
            sys.exit(f"{path} was created with {name} {before}, not {now}: choose another folder")
    finished: dict[str, dict[str, Row]] = {}
    for fields in content["rows"]:
        network = fields.pop("network")
        row = codec.decode(Row, fields)
        if not row.why.startswith(NOT_BUILT):
            finished.setdefault(network, {})[row.name] = row
    return finished


def main() -> None:
    def names(text: str) -> list[str]:
        return text.split(",")

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="the folder of models.json and models.md")
    parser.add_argument(
        "--models", type=names, default=list(NETWORKS), help=f"the networks (all): {', '.join(NETWORKS)}"
    )
    parser.add_argument(
        "--precisions", type=names, default=["fp32", "fp16", "int8"], help="the precisions (fp32,fp16,int8)"
    )
    parser.add_argument(
        "--backend", choices=("tensorrt", "tensorrt_rtx", "onnxruntime"), default="tensorrt", help="(tensorrt)"
    )
    parser.add_argument(
        "--compute-capability", type=int, action="append", default=[], help="the target of TensorRT-RTX, such as 89"
    )
    parser.add_argument(
        "--optimization-level", type=int, default=LEVEL, help=f"the optimisation level of the builder ({LEVEL})"
    )
    parser.add_argument("--builders", type=int, default=10, help="the number of rows that are built at once (10)")
    parser.add_argument("--torch-python", help="an interpreter that has torch")
    parser.add_argument("--max-time", type=float, default=2.0, help="the longest sampling of a row in s (2)")
    parser.add_argument("--budget-s", type=float, default=float("inf"), help="end builds after this many seconds")
    parser.add_argument("--work", help="a folder in which models and engines are kept")
    parser.add_argument("--only-build", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if unknown := [name for name in options.models if name not in NETWORKS]:
        parser.error(f"there is no network {', '.join(unknown)}: choose from {', '.join(NETWORKS)}")
    options.deadline = time.time() + options.budget_s
    if (options.backend == "tensorrt_rtx") != bool(options.compute_capability):
        parser.error("use --backend tensorrt_rtx and --compute-capability, such as 89, together")
    with tempfile.TemporaryDirectory(prefix="pytest-trt-models-") as scratch:
        options.work = options.work or scratch
        Path(options.work).mkdir(parents=True, exist_ok=True)
        work = Work(options)
        if options.only_build:
            work.build(*options.only_build)
            return
        _measure(work)


def _measure(work: Work) -> None:
    """Build all rows, measure them, and write the files after each row."""
    options, started = work.options, time.monotonic()
    options.folder.mkdir(parents=True, exist_ok=True)
    finished = finished_rows(options.folder, options)
    build_all(work, finished)
    print(f"built in {time.monotonic() - started:.0f} s", flush=True)
    results = {name: list(rows.values()) for name, rows in finished.items() if name not in options.models}
    torch_bench = Bench(work.settings, python=options.torch_python) if options.torch_python else None
    try:
        with Bench(work.settings) as bench:
            for name in options.models:
                for row in rows(work, name, bench, torch_bench, finished.get(name, {})):
                    results.setdefault(name, []).append(row)
                    print(f"{name} {row.name}: {_describe(row)}", flush=True)
                    save(options.folder, results, options)
    finally:
        if torch_bench is not None:
            torch_bench.close()
    print(f"finished in {time.monotonic() - started:.0f} s", flush=True)


if __name__ == "__main__":
    main()
