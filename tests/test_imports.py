"""Test that imports follow the flow of the layout, and that pytest's start loads little."""

from __future__ import annotations

import ast
import functools
import json
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "pytest_trt"

FLOW: Mapping[str, frozenset[str]] = {
    "core": frozenset(),
    "spec": frozenset({"core"}),
    "engine": frozenset({"core", "spec"}),
    "pipeline": frozenset({"core", "spec", "engine"}),
    "measure": frozenset({"core", "spec", "engine", "pipeline"}),
    "judge": frozenset({"core", "spec"}),
    "report": frozenset({"core"}),
    "trial": frozenset({"core", "spec", "engine", "pipeline", "measure", "judge", "report"}),
    "plugin": frozenset({"core", "spec", "engine", "pipeline", "measure", "judge", "report", "trial"}),
    "cli": frozenset({"core", "spec", "engine", "pipeline", "measure", "judge", "report", "trial"}),
}
"""The packages that each package may import, besides itself and `errors`."""

FOLDERS: Mapping[str, frozenset[str]] = {
    "engine": frozenset({
        "engine/backends", "engine/backends/tensorrt", "engine/cache", "engine/convert", "engine/model", "engine/onnx",
    }),
    "engine/backends": frozenset({"engine/backends/cuda", "engine/onnx"}),
    "engine/backends/cuda": frozenset(),
    "engine/backends/onnxruntime_gpu": frozenset({"engine/backends", "engine/backends/cuda", "engine/onnx"}),
    "engine/backends/tensorrt": frozenset({"engine/backends", "engine/backends/cuda", "engine/onnx"}),
    "engine/cache": frozenset(),
    "engine/convert": frozenset({"engine/model", "engine/onnx"}),
    "engine/model": frozenset({"engine/cache", "engine/onnx"}),
    "engine/onnx": frozenset(),
    "measure": frozenset({"measure/probe"}),
    "measure/probe": frozenset(),
    "judge": frozenset(),
    "judge/accuracy": frozenset(),
    "judge/baselines": frozenset({"judge/baselines/storage"}),
    "judge/baselines/storage": frozenset(),
    "judge/regression": frozenset({"judge/baselines"}),
    "report": frozenset(),
    "report/html": frozenset({"report"}),
    "trial": frozenset({"trial/against", "trial/hosts"}),
    "trial/against": frozenset(),
    "trial/hosts": frozenset(),
}  # fmt: skip
"""The sub-folders that each sub-folder may import within its own package.

Every sub-folder of `engine` may import the COMMON_MODULES, and no other module directly in `engine`.
"""

COMMON_MODULES = {"engine/arrays.py", "engine/inputs.py", "engine/tensors.py"}

MAX_LEVELS = 9
MAX_LINES = 320

KNOW_PYTEST = {
    "plugin/baseline_source.py",
    "plugin/checks.py",
    "plugin/collecting.py",
    "plugin/collection.py",
    "plugin/fixtures.py",
    "plugin/hooks.py",
    "plugin/judging.py",
    "plugin/known_tests.py",
    "plugin/outcome.py",
    "plugin/pytest_benchmark.py",
    "plugin/recording.py",
    "plugin/resources.py",
    "plugin/revision_build.py",
    "plugin/session.py",
    "plugin/stash.py",
    "plugin/unittest_cases.py",
}


AT_START = {
    "pytest_trt.core",
    "pytest_trt.core.foreign_text",
    "pytest_trt.core.location",
    "pytest_trt.core.version",
    "pytest_trt.errors",
    "pytest_trt.plugin",
    "pytest_trt.plugin.collecting",
    "pytest_trt.plugin.fixtures",
    "pytest_trt.plugin.hooks",
    "pytest_trt.plugin.options",
    "pytest_trt.plugin.outcome",
    "pytest_trt.plugin.progress",
    "pytest_trt.plugin.pytest_benchmark",
    "pytest_trt.plugin.resources",
    "pytest_trt.plugin.session",
    "pytest_trt.plugin.stash",
    "pytest_trt.plugin.unittest_cases",
    "pytest_trt.spec",
    "pytest_trt.spec.options",
}
"""The modules that every start of pytest loads."""


def source_files(package: Path = PACKAGE) -> dict[str, Path]:
    """Return every module of the package by its dotted name."""
    found = {}
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(package.parent).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


@functools.cache
def imports_of(source: str, *, at_run_time: bool = False) -> tuple[tuple[str, str], ...]:
    """Return the module and the name (empty for `import x`) of every import in a source, also inside functions.

    The result is cached, since the tests read the same modules many times, also in copies of the package.

    Args:
        source: The text of a module.
        at_run_time: Whether to exclude imports for type checkers.
    """
    found: list[tuple[str, str]] = []
    todo: list[ast.AST] = [ast.parse(source)]
    for node in todo:
        if at_run_time and isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            continue
        if isinstance(node, ast.Import):
            found += ((alias.name, "") for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"relative import of {node.module}"
            found += ((str(node.module), alias.name) for alias in node.names)
        todo += ast.iter_child_nodes(node)
    return tuple(found)


def imported(path: Path, *, at_run_time: bool = False) -> tuple[tuple[str, str], ...]:
    """Return what `imports_of` finds in a file."""
    return imports_of(path.read_text(encoding="utf-8"), at_run_time=at_run_time)


def libraries(path: Path, *, at_run_time: bool = False) -> set[str]:
    return {module.split(".")[0] for module, _ in imported(path, at_run_time=at_run_time)}


def import_graph(package: Path = PACKAGE) -> dict[str, set[str]]:
    """Return the modules that each module imports at any time."""
    files = source_files(package)
    graph: dict[str, set[str]] = {}
    for name, path in files.items():
        targets = {full if (full := f"{module}.{part}") in files else module for module, part in imported(path)}
        graph[name] = {target for target in targets if target in files and target != name}
    return graph


def cycles(graph: Mapping[str, Iterable[str]]) -> list[list[str]]:
    """Return the groups of nodes that import one another (Tarjan's strongly connected components)."""
    number: dict[str, int] = {}
    lowest: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(node: str) -> None:
        number[node] = lowest[node] = len(number)
        stack.append(node)
        for other in graph.get(node, ()):
            if other not in number:
                visit(other)
            if other in stack:
                lowest[node] = min(lowest[node], lowest[other])
        if lowest[node] == number[node]:
            group = stack[stack.index(node) :]
            del stack[stack.index(node) :]
            if len(group) > 1:
                found.append(sorted(group))

    for node in graph:
        if node not in number:
            visit(node)
    return found


def levels(graph: Mapping[str, Iterable[str]]) -> dict[str, int]:
    """Return the level of each node in a graph without cycles: 0 if it imports nothing."""
    height: dict[str, int] = {}

    def of(node: str) -> int:
        if node not in height:
            height[node] = max((of(other) + 1 for other in graph.get(node, ())), default=0)
        return height[node]

    for node in graph:
        of(node)
    return height


def package_of(module: str) -> str:
    """Return the package of a module, such as `core`, which includes `pytest_trt.errors`; empty for `pytest_trt`."""
    part = f"{module}.".split(".")[1]
    return "core" if part == "errors" else part if part in FLOW else ""


def package_graph(graph: Mapping[str, Iterable[str]]) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for module, targets in graph.items():
        known = found.setdefault(package_of(module) or module, set())
        known |= {package_of(target) or target for target in targets} - {package_of(module) or module}
    return found


def against_the_flow(package: Path = PACKAGE) -> list[str]:
    """Return the imports that FLOW and FOLDERS do not allow."""
    files, wrong = source_files(package), []

    def folder(module: str) -> str:
        return "core" if module == "pytest_trt.errors" else files[module].parent.relative_to(package).as_posix()

    for module, targets in import_graph(package).items():
        here, mine = package_of(module), folder(module)
        for target in sorted(targets):
            there, other = package_of(target), folder(target)
            if not (here and there):  # the top of the package loads its public names lazily
                continue
            if here != there:
                allowed = there in FLOW[here]
            else:
                common = files[target].relative_to(package).as_posix() in COMMON_MODULES
                allowed = mine == other or common or other in FOLDERS[mine]
            if not allowed:
                wrong.append(f"{module} imports {target}")
    return wrong


def test_package_consists_of_ten_packages_and_two_modules():
    entries = {path.name for path in PACKAGE.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    assert entries == {*FLOW, "__init__.py", "errors.py"}


def test_no_import_goes_against_the_flow():
    assert against_the_flow() == []


def test_no_modules_import_one_another():
    assert cycles(import_graph()) == []


def test_packages_have_few_levels():
    height = levels(package_graph({m: t for m, t in import_graph().items() if m != "pytest_trt"}))
    assert max(height.values()) + 1 <= MAX_LEVELS, height


@pytest.mark.parametrize(
    "planted",
    [
        "from pytest_trt.measure.probe.server import ProbeServer",
        "if TYPE_CHECKING:\n    from pytest_trt.measure.probe.server import ProbeServer",
        "def f():\n    from pytest_trt.measure.probe import server",
        "def f():\n    import pytest_trt.measure.probe.server",
    ],
    ids=["at the top", "for the type checker", "inside a function", "of a whole module"],
)
def test_planted_cycle_is_found(tmp_path, planted):
    package = shutil.copytree(PACKAGE, tmp_path / "pytest_trt", ignore=shutil.ignore_patterns("__pycache__"))
    with (package / "measure" / "probe" / "client.py").open("a") as file:
        file.write(planted + "\n")
    assert cycles(import_graph(package)) == [["pytest_trt.measure.probe.client", "pytest_trt.measure.probe.server"]]


@pytest.mark.parametrize(
    ("module", "planted", "message"),
    [
        ("core/git.py", "pytest_trt.spec.settings", "pytest_trt.core.git imports pytest_trt.spec.settings"),
        ("judge/budgets.py", "pytest_trt.measure.run", "pytest_trt.judge.budgets imports pytest_trt.measure.run"),
        (
            "engine/onnx/opset.py",
            "pytest_trt.engine.convert.half",
            "pytest_trt.engine.onnx.opset imports pytest_trt.engine.convert.half",
        ),
        (
            "engine/model/files.py",
            "pytest_trt.engine.provide",
            "pytest_trt.engine.model.files imports pytest_trt.engine.provide",
        ),
    ],
)
def test_planted_import_against_the_flow_is_found(tmp_path, module, planted, message):
    package = shutil.copytree(PACKAGE, tmp_path / "pytest_trt", ignore=shutil.ignore_patterns("__pycache__"))
    with (package / module).open("a") as file:
        file.write(f"def f():\n    import {planted}\n")
    assert against_the_flow(package) == [message]


def test_no_module_is_long():
    lengths = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in source_files().values()}
    assert {str(path): length for path, length in lengths.items() if length > MAX_LINES} == {}


def test_few_modules_know_pytest():
    known = {
        path.relative_to(PACKAGE).as_posix()
        for path in source_files().values()
        if "pytest" in libraries(path, at_run_time=True)
    }
    assert known <= KNOW_PYTEST


@pytest.mark.parametrize(
    ("library", "folder"), [("cuda", "engine/backends/cuda"), ("pynvml", "measure"), ("tensorrt", "engine/backends")]
)
def test_cuda_nvml_and_tensorrt_are_each_imported_in_one_folder(library, folder):
    importing = {path for path in source_files().values() if library in libraries(path)}
    assert all(path.is_relative_to(PACKAGE / folder) for path in importing)


def modules(code: str, folder: Path) -> set[str]:
    command = [sys.executable, "-c", f"{code}; import json, sys; print(json.dumps(sorted(sys.modules)))"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.parametrize(
    ("code", "without"),
    [
        ("import pytest; import pytest_trt.plugin.hooks", "import pytest"),
        (
            "import pytest; pytest.main(['--collect-only', '-p', 'no:cacheprovider'])",
            "import pytest; pytest.main(['--collect-only', '-p', 'no:cacheprovider', '-p', 'no:trt'])",
        ),
    ],
    ids=["import", "collect"],
)
def test_start_of_pytest_loads_only_few_modules_and_the_standard_library(tmp_path, code, without):
    added = modules(code, tmp_path) - modules(without, tmp_path)
    strangers = {name.split(".")[0] for name in added} - sys.stdlib_module_names
    assert strangers == {"pytest_trt"}
    assert {name for name in added if name.startswith("pytest_trt.")} <= AT_START


def test_public_names_load_when_they_are_used(tmp_path):
    loaded = modules("import pytest_trt; assert pytest_trt.__version__; dir(pytest_trt)", tmp_path)
    assert {name for name in loaded if name.startswith("pytest_trt.")} <= {"pytest_trt.core", "pytest_trt.core.version"}
    heavy = {"numpy", "onnx", "onnxruntime", "tensorrt", "cuda", "rich"}
    assert not heavy & modules("from pytest_trt import EngineSpec, Measurement, TrtError", tmp_path)
