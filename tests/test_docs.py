"""The documentation says what there is: options, markers, fixtures, figures, verdicts; its examples are collected."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_trt.cli import main
from pytest_trt.core.figures import FIGURES
from pytest_trt.core.records import ALWAYS_FAIL, STATUSES
from pytest_trt.judge.accuracy.allowed_error import DEFAULTS
from pytest_trt.plugin import fixtures
from pytest_trt.plugin.options import read_options
from pytest_trt.spec import parse_settings
from pytest_trt.spec.declaration import PipelineOptions
from pytest_trt.spec.engine_spec import EngineSpec
from pytest_trt.spec.expectations import Accuracy, Tolerance
from pytest_trt.spec.options import MARKERS, OPTIONS
from pytest_trt.spec.settings import Settings

ROOT = Path(__file__).parents[1]
EXAMPLE = ROOT / "example_project"
PAGES = (
    ROOT / "README.md",
    ROOT / "CHANGELOG.md",
    *sorted(p for p in (ROOT / "docs").rglob("*.md") if "results" not in p.parts and "_build" not in p.parts),
    EXAMPLE / "README.md",
)
OTHERS = (EXAMPLE / "demo.py", EXAMPLE / "pytest.ini", EXAMPLE / ".github/workflows/performance.yml")
ARGUMENTS = {
    "trt_engine": {f.name for f in dataclasses.fields(EngineSpec)},
    "trt_budget": {name for name, figure in FIGURES.items() if figure.budget} | {"where"},
    "trt_pipeline": {f.name for f in dataclasses.fields(PipelineOptions)},
    "trt_accuracy": {f.name for f in dataclasses.fields(Accuracy)},
    "trt_regression": {f.name for f in dataclasses.fields(Tolerance)},
}


def rows(text: str) -> Iterator[list[str]]:
    """The cells of every table's body."""
    for line in text.splitlines():
        if line.startswith("|") and not set(line) <= set("|- "):
            yield [cell.strip().replace(r"\|", "|") for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


def names(cell: str) -> list[str]:
    """What stands in a cell in backticks."""
    return re.findall(r"`([^`]*)`", cell)


def section(page: str, heading: str) -> str:
    found = re.search(rf"^## {heading}\n(.*?)(?=^## |\Z)", page, re.MULTILINE | re.DOTALL)
    assert found, f"no section {heading}"
    return found[1]


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)


def of_pages(pages: tuple[Path, ...]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("page", pages, ids=lambda page: str(page.relative_to(ROOT)))


def test_every_option_stands_in_the_table_with_its_ini_setting_and_no_other_does() -> None:
    table = [row for row in rows((ROOT / "docs/reference/options.md").read_text()) if row[0].startswith("`--trt-")]
    said = {names(option)[0].partition("=")[0]: names(ini)[0] for option, ini, _, _ in table}
    assert said == {option.flag: option.name for option in OPTIONS}


def test_the_defaults_in_the_table_of_options_are_those_of_the_settings(pytester: pytest.Pytester) -> None:
    """Each default is given as an ini setting, and must change nothing."""
    table = [row for row in rows((ROOT / "docs/reference/options.md").read_text()) if row[0].startswith("`--trt-")]
    said = {names(ini)[0]: names(default) for _, ini, default, _ in table}
    pytester.makeini("[pytest]\n" + "\n".join(f"{ini} = {value[0]}" for ini, value in said.items() if value))
    parsed = parse_settings.parse_settings(read_options(pytester.parseconfig()), ".")
    assert parsed == Settings()
    unsaid = {option.field for option in OPTIONS if not said[option.name]}
    assert all(not getattr(Settings(), field) for field in unsaid)


@pytest.mark.parametrize("marker", MARKERS)
def test_every_marker_has_a_section_with_its_arguments(marker: str) -> None:
    text = section((ROOT / "docs/reference/markers.md").read_text(), marker)
    said = {name for row in rows(text) for name in names(row[0])}
    assert said == ARGUMENTS.get(marker, set())
    assert f"pytest.mark.{marker}(" in "".join(blocks(ROOT / "docs/reference/markers.md", "python"))


@pytest.mark.parametrize("marker", ["trt_accuracy", "trt_regression"])
def test_what_pytest_lists_of_a_marker_has_every_argument(marker: str) -> None:
    listed = MARKERS[marker].partition("(*, ")[2].partition(")")[0]
    assert set(listed.split(", ")) == ARGUMENTS[marker]


@pytest.mark.parametrize(
    ("marker", "record"),
    [("trt_engine", EngineSpec()), ("trt_pipeline", PipelineOptions()), ("trt_accuracy", Accuracy())],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_the_defaults_in_the_tables_of_markers_are_those_of_the_records(marker: str, record: object) -> None:
    for argument, _, default, *_ in rows(section((ROOT / "docs/reference/markers.md").read_text(), marker)):
        for field in names(argument) if names(default) else ():
            assert ast.literal_eval(names(default)[0]) == getattr(record, field), field


def test_the_table_of_tolerances_is_what_is_allowed() -> None:
    table = rows(section((ROOT / "docs/guides/accuracy.md").read_text(), "What is compared"))
    said = {names(row[0])[0]: tuple(map(float, row[1:4])) for row in table if names(row[0])}
    assert said == {name: (limits.rtol, limits.atol, limits.cosine) for name, limits in DEFAULTS.items()}


def test_every_fixture_stands_in_the_table() -> None:
    here = {name for name, value in vars(fixtures).items() if name.startswith("trt_") and not inspect.ismodule(value)}
    table = rows(section((ROOT / "docs/reference/markers.md").read_text(), "Fixtures"))
    assert {name for row in table for name in names(row[0]) if name.isidentifier()} == here


def test_verdicts_stand_in_their_order_with_what_fails() -> None:
    table = [
        row
        for row in rows((ROOT / "docs/reference/figures-and-verdicts.md").read_text())
        if len(row) == 3 and row[0].startswith("`")
    ]
    assert [names(row[0])[0] for row in table] == list(STATUSES)
    fails = {names(row[0])[0]: row[2] for row in table}
    assert {status for status, text in fails.items() if text == "always"} == ALWAYS_FAIL
    assert {status for status, text in fails.items() if "--trt-strict" in text} == parse_settings.STRICT


def test_every_figure_is_explained() -> None:
    assert set(FIGURES) <= set(names(section((ROOT / "docs/background/measuring.md").read_text(), "Figures")))


def test_every_command_stands_in_the_table() -> None:
    table = [names(row[0])[0] for row in rows((ROOT / "docs/reference/commands.md").read_text()) if names(row[0])]
    said = [name.split()[1] for name in table if name.startswith("pytest-trt ")]
    assert list(dict.fromkeys(said)) == list(main.COMMANDS)


@of_pages((*PAGES, *OTHERS))
def test_a_page_names_only_options_settings_and_commands_that_exist(page: Path) -> None:
    text = page.read_text()
    assert set(re.findall(r"--trt-[a-z-]*[a-z]", text)) <= {option.flag for option in OPTIONS}
    assert set(re.findall(r"^trt_\w+(?= *=)", text, re.MULTILINE)) <= {option.name for option in OPTIONS}
    assert set(re.findall(r"pytest\.mark\.(trt_\w+)", text)) <= set(MARKERS)
    assert set(re.findall(r"(?:^|`)pytest-trt ([a-z]+)", text, re.MULTILINE)) <= set(main.COMMANDS)


@of_pages(PAGES)
def test_links_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text())
    missing = [t for t in targets if "://" not in t and not (page.parent / t).exists()]
    assert not missing


def test_examples_are_collected_with_what_they_declare(pytester: pytest.Pytester) -> None:
    """Every example is Python; those with tests are collected, which checks their markers."""
    count = 0
    for page in PAGES:
        for number, code in enumerate(blocks(page, "python")):
            ast.parse(code)
            if "def test_" in code:
                count += code.count("def test_")
                (pytester.path / f"test_{page.stem.replace('-', '_')}_{number}.py").write_text(code)
    result = pytester.runpytest_subprocess("--collect-only", "-q", "-p", "no:cacheprovider", "--strict-markers")
    assert result.ret == 0, result.stderr.str()
    collected = {line.partition("[")[0] for line in result.stdout.lines if "::" in line}
    assert len(collected) == count > 3


CODE_PATH = re.compile(r"`([\w./-]+(?:/[\w./-]*|\.(?:py|md|toml|json|yml|yaml)))`")


@of_pages(tuple(ROOT / name for name in ("CONTRIBUTING.md", "RELEASING.md", "SECURITY.md")))
def test_every_path_that_a_page_for_developers_names_exists(page: Path) -> None:
    paths = CODE_PATH.findall(page.read_text())
    assert len(paths) > 1
    assert [path for path in paths if not (ROOT / path).exists()] == []
