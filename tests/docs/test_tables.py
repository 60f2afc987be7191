"""The tables of the documentation agree with the code: options, markers, fixtures, figures, verdicts and commands."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import re
from pathlib import Path

import pytest
from samples.pages import DOCS, EXAMPLE, PAGES, ROOT, blocks, names, page_id, rows, section
from test_imports import FLOW

from pytest_trt.cli import main
from pytest_trt.core.figures import FIGURES
from pytest_trt.core.records import ALWAYS_FAIL, STATUSES
from pytest_trt.judge.accuracy.allowed_error import DEFAULTS
from pytest_trt.plugin import fixtures
from pytest_trt.plugin.options import read_options
from pytest_trt.spec import parse_settings
from pytest_trt.spec.declaration import PipelineOptions
from pytest_trt.spec.engine_spec import EngineSpec
from pytest_trt.spec.expectations import Accuracy, LayerLimits, Tolerance
from pytest_trt.spec.generation import Generation
from pytest_trt.spec.options import MARKERS, OPTIONS
from pytest_trt.spec.settings import Settings

MARKERS_PAGE = DOCS / "reference/markers.md"
VERDICTS_PAGE = DOCS / "reference/figures-and-verdicts.md"
OTHER_FILES = (
    ROOT / "CHANGELOG.md",
    EXAMPLE / "demo.py",
    EXAMPLE / "pytest.ini",
    EXAMPLE / ".github/workflows/performance.yml",
)
ARGUMENTS = {
    "trt_engine": {f.name for f in dataclasses.fields(EngineSpec)},
    "trt_budget": {name for name, figure in FIGURES.items() if figure.budget} | {"where"},
    "trt_pipeline": {f.name for f in dataclasses.fields(PipelineOptions)},
    "trt_accuracy": {f.name for f in dataclasses.fields(Accuracy)},
    "trt_generate": {f.name for f in dataclasses.fields(Generation)},
    "trt_layers": {f.name for f in dataclasses.fields(LayerLimits)},
    "trt_regression": {f.name for f in dataclasses.fields(Tolerance)} - {"gates"} | set(FIGURES),
}


def option_rows() -> list[list[str]]:
    return [row for row in rows((DOCS / "reference/options.md").read_text()) if row[0].startswith("`--trt-")]


def test_the_table_of_options_has_every_option_with_its_ini_setting() -> None:
    documented = {names(option)[0].partition("=")[0]: names(ini)[0] for option, ini, _, _ in option_rows()}
    assert documented == {option.flag: option.name for option in OPTIONS}


def test_the_table_of_options_has_the_defaults_of_the_settings(pytester: pytest.Pytester) -> None:
    """Setting every documented default in the ini file changes nothing."""
    documented = {names(ini)[0]: names(default) for _, ini, default, _ in option_rows()}
    pytester.makeini("[pytest]\n" + "\n".join(f"{ini} = {value[0]}" for ini, value in documented.items() if value))
    parsed = parse_settings.parse_settings(read_options(pytester.parseconfig()), ".")
    assert parsed == Settings()
    without_default = {option.field for option in OPTIONS if not documented[option.name]}
    assert all(not getattr(Settings(), field) for field in without_default)


@pytest.mark.parametrize("marker", MARKERS)
def test_every_marker_has_a_section_with_its_arguments(marker: str) -> None:
    text = section(MARKERS_PAGE.read_text(), marker)
    assert {name for row in rows(text) for name in names(row[0])} == ARGUMENTS.get(marker, set())
    assert f"pytest.mark.{marker}(" in "".join(block.code for block in blocks(MARKERS_PAGE, "python"))


@pytest.mark.parametrize("marker", ["trt_accuracy", "trt_layers", "trt_regression"])
def test_the_description_that_pytest_lists_of_a_marker_has_every_argument(marker: str) -> None:
    listed = set(MARKERS[marker].partition("(*, ")[2].partition(")")[0].split(", "))
    if marker == "trt_regression":  # which names only some figures
        assert listed - {"..."} <= ARGUMENTS[marker]
        listed |= set(FIGURES)
    assert listed - {"..."} == ARGUMENTS[marker]


@pytest.mark.parametrize(
    ("marker", "record"),
    [("trt_engine", EngineSpec()), ("trt_pipeline", PipelineOptions()), ("trt_accuracy", Accuracy())],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_the_tables_of_markers_have_the_defaults_of_the_records(marker: str, record: object) -> None:
    for argument, _, default, *_ in rows(section(MARKERS_PAGE.read_text(), marker)):
        for field in names(argument) if names(default) else ():
            assert ast.literal_eval(names(default)[0]) == getattr(record, field), field


def test_the_table_of_accuracy_has_the_default_tolerances() -> None:
    table = rows(section((DOCS / "guides/accuracy.md").read_text(), "What is compared"))
    documented = {names(row[0])[0]: tuple(map(float, row[1:4])) for row in table if names(row[0])}
    assert documented == {name: (limits.rtol, limits.atol, limits.cosine) for name, limits in DEFAULTS.items()}


def test_the_table_of_fixtures_has_every_fixture() -> None:
    defined = {
        name for name, value in vars(fixtures).items() if name.startswith("trt_") and not inspect.ismodule(value)
    }
    documented = {name for row in rows((DOCS / "reference/fixtures.md").read_text()) for name in names(row[0])}
    assert {name for name in documented if name.isidentifier()} == defined


def test_the_table_of_verdicts_has_their_order_and_what_fails() -> None:
    table = [row for row in rows(section(VERDICTS_PAGE.read_text(), "Verdicts")) if row[0].startswith("`")]
    assert [names(row[0])[0] for row in table] == list(STATUSES)
    fails = {names(row[0])[0]: row[2] for row in table}
    assert {status for status, text in fails.items() if text == "always"} == ALWAYS_FAIL
    assert {status for status, text in fails.items() if "--trt-strict" in text} == parse_settings.STRICT


def test_the_table_of_compared_figures_has_the_default_tolerances() -> None:
    table = rows(section(VERDICTS_PAGE.read_text(), "Which figures are compared"))
    documented = {name: tolerance.partition(",")[0] for row, tolerance, _ in table for name in names(row)}
    assert documented == {n: f"{f.tolerance:.0%}".replace("%", " %") for n, f in FIGURES.items() if f.tolerance}


def test_every_figure_is_explained() -> None:
    assert set(FIGURES) <= set(names(section(VERDICTS_PAGE.read_text(), "Figures")))


def test_the_table_of_commands_has_every_command_in_the_order_of_the_help() -> None:
    table = [names(row[0])[0] for row in rows((DOCS / "reference/commands.md").read_text()) if names(row[0])]
    documented = [name.split()[1] for name in table if name.startswith("pytest-trt ")]
    assert list(dict.fromkeys(documented)) == list(main.COMMANDS)


@pytest.mark.parametrize("page", [*PAGES, *OTHER_FILES], ids=page_id)
def test_a_page_names_only_options_settings_and_markers_that_exist(page: Path) -> None:
    text = page.read_text()
    assert set(re.findall(r"--trt-[a-z-]*[a-z]", text)) <= {option.flag for option in OPTIONS}
    assert set(re.findall(r"^trt_\w+(?= *=)", text, re.MULTILINE)) <= {option.name for option in OPTIONS}
    assert set(re.findall(r"pytest\.mark\.(trt_\w+)", text)) <= set(MARKERS)


def test_the_architecture_has_the_imports_that_are_allowed() -> None:
    text = section((DOCS / "architecture.md").read_text(), "What may import what")
    documented = {names(row[0])[0]: set(names(row[1])) for row in rows(text) if len(names(row[0])) == 1}
    below = {"core", "spec", "engine", "pipeline", "measure", "judge", "report"}
    assert documented == {name: FLOW[name] for name in below} | {"trial": set()}
    assert FLOW["trial"] == below
    assert FLOW["plugin"] == FLOW["cli"] == below | {"trial"}
