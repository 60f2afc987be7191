"""What is imported when: little when pytest starts, and between rooms only what lies below."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "pytest_trt"

ORDER = (
    {"errors"},
    {"scalars"},
    {"codec", "drafts", "functions", "ranges", "records", "options", "globs", "nvtx", "where"},
    {"checked", "stats", "cuda"},
    {"levels"},
    {"engine_spec"},
    {"spec"},
    {"backends", "budget_file", "description", "markers", "settings"},
    {"pipeline"},
    {"engine", "probe"},
    {"measure", "judge", "report"},
    {"baselines", "bench", "calibration", "revision"},
    {"against", "benchmark_plugin", "comparison", "ending", "keeping", "parameters", "references", "summary"},
    {"lottery", "case", "choice", "collection"},
    {"bisection", "compared"},
    {"rightness"},
    {"trial"},
    {"duel", "lineup"},
    {"console", "outcome"},
    {"session"},
    {"fixtures", "commands", "declaring"},
    {"plugin", "cli"},
)
"""Rooms from the ground up: each imports from the sets before its own, and from itself. So measure and judge, which
stand side by side, never know each other."""

KNOW_PYTEST = {
    "benchmark_plugin", "collection", "commands", "declaring", "ending", "fixtures", "outcome", "parameters", "plugin",
    "session", "settings",
}  # fmt: skip


def rooms() -> Iterator[tuple[str, Path]]:
    for path in sorted(PACKAGE.rglob("*.py")):
        room = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
        if room != "__init__":
            yield room, path


def imported(path: Path, *, at_run_time: bool = False) -> set[str]:
    """Everything that a file imports, anywhere in it; `at_run_time` leaves out what is for the type checker alone."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    typing_only = {
        inner
        for node in ast.walk(tree)
        if at_run_time and isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
        for inner in ast.walk(node)
    }
    found = set()
    for node in ast.walk(tree):
        if node in typing_only:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def libraries(path: Path, *, at_run_time: bool = False) -> set[str]:
    return {name.split(".")[0] for name in imported(path, at_run_time=at_run_time)}


def test_every_room_has_its_place_in_the_order():
    places = [room for level in ORDER for room in level]
    assert len(places) == len(set(places))
    assert {room for room, _ in rooms()} == set(places)


def test_a_room_imports_only_from_rooms_below_it():
    height = {room: level for level, names in enumerate(ORDER) for room in names}
    for room, path in rooms():
        for name in imported(path):
            other = name.split(".")[1] if name.startswith("pytest_trt.") else ""
            if other in height and other != room:
                assert height[other] < height[room], f"{path} imports {name}"


def test_pytest_is_known_to_few():
    assert {room for room, path in rooms() if "pytest" in libraries(path, at_run_time=True)} == KNOW_PYTEST


def test_the_cuda_bindings_and_nvml_have_one_room_each():
    for library, owner in (
        ("cuda", "cuda"),
        ("pynvml", "measure"),
        ("tensorrt", "backends"),
    ):
        assert {room for room, path in rooms() if library in libraries(path)} <= {owner}, library


def modules(code: str, folder: Path) -> set[str]:
    command = [sys.executable, "-c", f"{code}; import json, sys; print(json.dumps(sorted(sys.modules)))"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.parametrize(
    ("code", "without"),
    [
        ("import pytest; import pytest_trt.plugin", "import pytest"),
        (
            "import pytest; pytest.main(['--collect-only', '-p', 'no:cacheprovider'])",
            "import pytest; pytest.main(['--collect-only', '-p', 'no:cacheprovider', '-p', 'no:trt'])",
        ),
    ],
    ids=["import", "collect"],
)
def test_the_start_of_pytest_loads_this_package_and_the_standard_library_alone(tmp_path, code, without):
    added = modules(code, tmp_path) - modules(without, tmp_path)
    strangers = {name.split(".")[0] for name in added} - sys.stdlib_module_names
    assert strangers == {"pytest_trt"}
    rooms_loaded = {name.split(".")[1] for name in added if name.startswith("pytest_trt.")}
    at_start = {"plugin", "options", "errors", "fixtures", "session", "outcome", "console", "benchmark_plugin"}
    assert rooms_loaded <= at_start | {"ending"}


def test_the_public_names_load_when_they_are_used(tmp_path):
    loaded = modules("import pytest_trt; assert pytest_trt.__version__; dir(pytest_trt)", tmp_path)
    assert not [name for name in loaded if name.startswith("pytest_trt.")]
    heavy = {"numpy", "onnx", "onnxruntime", "tensorrt", "cuda", "rich"}
    assert not heavy & modules("from pytest_trt import EngineSpec, Measurement, TrtError", tmp_path)
