"""Open the report in a browser: sort, filter, pivot and open sections, without an error, whatever the names contain."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from samples.browser import EVIL, Watched
from samples.records import measurement
from samples.reports import HEADER, NEW, compared, paired_result, result, unmeasured

from pytest_trt.core.past_run import PastRun
from pytest_trt.core.records import Layer, LayerProfile, Result
from pytest_trt.report import html

Open = Callable[..., Any]


@pytest.fixture
def opened(watched: Watched, tmp_path: Path) -> Open:
    """A function that opens the report of results. At the end, the page must have had no error, dialog or request."""

    def open_report(results: Sequence[Result], target: str = "", **options: Any) -> Any:
        file = tmp_path / "report.html"
        file.write_text(html.render(results, HEADER), encoding="utf-8")
        page = watched.page(**options)
        page.goto(file.as_uri() + target)
        return page

    return open_report


def matrix() -> list[Result]:
    """Return results of two precisions and three batches, whose latencies are 0.1 ms to 0.6 ms."""
    results = []
    for number, (precision, batch) in enumerate([(p, b) for p in ("fp32", "fp16") for b in (1, 8, 16)], 1):
        verdict = compared("regressed" if number == 5 else "ok", 1.2 if number == 5 else 1.0)
        made = result(f"test_net[{precision}-b{batch}]", verdict)
        spec = {"path": "net.onnx", "precision": precision, "batch": str(batch)}
        results.append(dataclasses.replace(made, measurement=measurement(number / 10, made.node_id, spec=spec)))
    return results


def names(page: Any) -> list[str]:
    """Return the names of the tests in the table, as it is shown."""
    texts: list[str] = page.eval_on_selector_all(
        "#all tbody tr:not([hidden]) th", "cells => cells.map(cell => cell.textContent)"
    )
    return [text.removeprefix("test_net") for text in texts]


def test_table_sorts_filters_and_pivots(opened: Open) -> None:
    page = opened(matrix())
    assert names(page) == ["[fp32-b1]", "[fp32-b8]", "[fp32-b16]", "[fp16-b1]", "[fp16-b8]", "[fp16-b16]"]
    heading = page.locator("#all thead th", has_text="test")
    heading.locator("button").focus()
    page.keyboard.press("Enter")
    assert heading.get_attribute("aria-sort") == "ascending"
    assert names(page) == ["[fp16-b1]", "[fp16-b8]", "[fp16-b16]", "[fp32-b1]", "[fp32-b8]", "[fp32-b16]"]
    latency = page.locator("#all thead th").nth(1).locator("button")
    latency.click()
    latency.click()
    assert names(page)[:2] == ["[fp16-b16]", "[fp16-b8]"]
    page.keyboard.press("/")
    page.keyboard.type("B16 fp")
    assert names(page) == ["[fp16-b16]", "[fp32-b16]"]
    assert page.text_content("#count") == "2 of 6 tests"
    assert page.locator("details.test:visible").count() == 2
    page.keyboard.press("Escape")
    page.get_by_label("precision").first.select_option("fp32")
    assert len(names(page)) == 3
    page.get_by_label("precision").first.select_option(label="all")
    page.get_by_label("Verdict").select_option("regressed")
    assert names(page) == ["[fp16-b8]"]
    page.get_by_label("Verdict").select_option(label="all")
    page.click("#pivot summary")
    table = page.locator("#pivot-table table")
    assert table.locator("thead").text_content() == "precision \\ batch1816"
    assert table.locator("tbody tr").all_text_contents() == ["fp160.40000.50000.6000", "fp320.10000.20000.3000"]
    page.get_by_label("Cells").select_option("speedup")
    assert table.locator("tbody tr").first.locator("td").nth(1).text_content() == "0.833 x"


def test_failing_section_is_open_and_a_link_opens_another(opened: Open) -> None:
    page = opened([*matrix(), paired_result()], "#t0")
    page.wait_for_selector("#t0 .body pre")
    assert page.eval_on_selector_all("details.test[open]", "found => found.map(one => one.id)") == ["t0", "t4", "t6"]
    page.click("#all a[href='#t6']")
    section = page.locator("#t6")
    section.locator("figure").first.wait_for()
    captions = section.locator("figcaption").all_text_contents()
    assert [caption.partition(":")[0] for caption in captions] == [
        "Verdicts", "Distribution of the latency", "Blocks over time", "Time of a step of a generation",
        "Parts of the latency, ms", "Parts of the device memory, MB", "Layers by what they add", "Trend of the latency",
    ]  # fmt: skip
    for caption in captions:
        figure = section.locator("figure", has_text=caption)
        figure.scroll_into_view_if_needed()
        figure.locator("svg.main-svg").first.wait_for()
    labels = section.locator("figure", has_text="Layers by").locator(".ytick").all_text_contents()
    assert [label.strip("\u200b") for label in labels] == ["same", "new", "gone", "renamed"]
    assert "pytest-trt baseline accept" in section.text_content()


def test_nothing_in_names_or_reasons_runs_or_is_markup(opened: Open) -> None:
    evil = paired_result()
    assert evil.measurement is not None
    profile = LayerProfile((Layer(EVIL, 0.2, EVIL, EVIL, EVIL, EVIL, (EVIL,)),), runs=1)
    sample = dataclasses.replace(evil.measurement, profile=profile, notes=(EVIL,), spec={EVIL: EVIL})
    verdict = dataclasses.replace(evil.verdicts[0], details=(EVIL,), causes=(EVIL,))
    history = tuple(
        PastRun("2026-07-01", EVIL, 0.2 + n, 0.2 + n, 1.1, "level" if n else "", EVIL, n == 1, EVIL) for n in range(2)
    )
    evil = dataclasses.replace(
        evil, node_id=f"t.py::test[{EVIL}]", verdicts=(verdict,), measurement=sample, history=history
    )
    page = opened([evil, result("test_other", NEW), unmeasured(f"test_lost[{EVIL}]")], "#t0")
    page.wait_for_selector("#t0 figure")
    for figure in page.locator("#t0 figure").all():
        figure.scroll_into_view_if_needed()
        figure.locator("svg.main-svg").first.wait_for()
    bar = page.locator("#t0 figure", has_text="Layers by").locator(".bars .point path").first
    bar.hover(force=True)
    assert page.locator("main img, main svg a, main a[href^='javascript']").count() == 0
    labels = page.locator("#t0 figure", has_text="Layers by").locator(".ytick").all_text_contents()
    assert any("".join(label.split()).startswith("".join(EVIL.split())[:30]) for label in labels)  # lines are joined


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_page_fits_a_phone(opened: Open, scheme: str) -> None:
    page = opened([paired_result()], "#t0", viewport={"width": 390, "height": 844}, color_scheme=scheme)
    page.wait_for_selector("#t0 figure")
    for figure in page.locator("#t0 figure").all():
        figure.scroll_into_view_if_needed()
        figure.locator("svg.main-svg").first.wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    lines = page.locator("#t0 figure", has_text="Verdicts").locator(".ytick tspan").all_text_contents()
    assert {"latency against", "the baseline"} <= set(lines)
    page.close()
