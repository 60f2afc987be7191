"""Test the report in HTML: what is in the file. `test_html_browser.py` opens it."""

from __future__ import annotations

import base64
import dataclasses
import gzip
import hashlib
import json
import re
from html.parser import HTMLParser
from typing import Any

import pytest
from samples.records import measurement
from samples.reports import HEADER, HOSTILE, NEW, RUN, compared, paired_result, result, unmeasured

from pytest_trt.core.records import Layer, LayerProfile, Result, Verdict
from pytest_trt.report import html, markdown
from pytest_trt.report.header import RunHead
from pytest_trt.report.html.section import Detail, section
from pytest_trt.report.html.series import blocks_over_time, distribution

FULL = Detail(samples=400, blocks=200, layers=400)


class Page(HTMLParser):
    """Checks the tags of a page, and collects its attributes and the texts of its scripts and styles."""

    VOID = frozenset(("meta", "input"))

    def __init__(self, source: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.raw: list[tuple[str, dict[str, str], str]] = []
        self._last: dict[str, str] = {}
        self.feed(source)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self._last = {name: value or "" for name, value in attrs}
        self.attributes += self._last.items()
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, f"</{tag}> closes nothing"

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] in ("script", "style"):
            self.raw.append((self.open[-1], self._last, data))

    def values(self, attribute: str) -> list[str]:
        return [value for name, value in self.attributes if name == attribute]


def unpacked(page: Page, number: int) -> dict[str, Any]:
    """Return the content of the section of a test."""
    packed = [text for _, attributes, text in page.raw if attributes.get("class") == "packed"][number]
    content: dict[str, Any] = json.loads(gzip.decompress(base64.b64decode(packed)))
    return content


def test_page_is_one_complete_file_that_loads_no_other() -> None:
    page = Page(html.render([*RUN, unmeasured(HOSTILE)], HEADER))
    assert page.open == []
    assert not {"link", "img", "iframe", "object", "base"} & set(page.tags)
    assert not [name for name, _ in page.attributes if name.startswith("on") or name in ("src", "style")]
    assert {value[:1] for value in page.values("href")} == {"#"}
    assert page.values("id").count("t0") == 1


def test_only_the_scripts_and_the_style_of_the_page_are_allowed() -> None:
    page = Page(html.render(RUN, HEADER))
    [policy] = [value for value in page.values("content") if "default-src" in value]
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy
    allowed = set(re.findall(r"'sha256-([^']+)'", policy))
    texts = [text for _, attributes, text in page.raw if "type" not in attributes]
    [plotly] = [text for _, attributes, text in page.raw if attributes.get("id") == "plotly"]
    texts += ["", gzip.decompress(base64.b64decode(plotly)).decode()]
    assert {base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in texts} == allowed


def test_text_from_elsewhere_is_escaped() -> None:
    evil = "</script><script>alert(1)</script>{{ 7 * 7 }}<!--"
    verdict = dataclasses.replace(compared("regressed", 1.2), details=(evil,), causes=(evil,))
    run = RunHead("0.1.0", ("pytest", evil), evil, evil, evil, 3.0, evil, evil)
    source = html.render([result(f"test_x[{evil}]", verdict)], dataclasses.replace(HEADER, baseline=evil, run=run))
    assert "<script>alert" not in source
    assert "<!--" not in source
    assert "{{ 7 * 7 }}" in source
    page = Page(source)
    assert unpacked(page, 0)["verdicts"][0]["details"] == [evil]


def test_page_begins_with_the_run_and_its_failures() -> None:
    run = RunHead("0.1.0", ("pytest", "-q"), "host", "project", "2026-07-01T12:00:00+00:00", 74.0, "a1b2c3", "topic")
    source = html.render(RUN, dataclasses.replace(HEADER, run=run)).partition("<body>")[2]
    places = [
        source.index(text)
        for text in (
            "1 ok, 1 new, 1 regressed", "project", "a1b2c3 on topic", "2026-07-01 12:00 UTC", "pytest -q", "1 min 14 s",
            ">NVIDIA H200<", "TensorRT 8.6.0, pytest-trt 0.1.0", "What failed", "latency regressed: 0.306 ms",
            "All tests", 'id="t0"',
        )
    ]  # fmt: skip
    assert places == sorted(places)
    opened = re.findall(r'<details class="test" id="(\w+)" open>', source)
    assert opened == ["t1"]


def test_many_failures_are_not_all_shown_above_the_table() -> None:
    failed = [result(f"test_{number}", compared("regressed", 1.2)) for number in range(60)]
    source = html.render(failed, HEADER)
    assert source.count('class="failure"') == 50
    assert "10 more tests failed" in source


def test_section_has_all_that_is_known_of_a_test() -> None:
    content = section(paired_result(), HEADER, FULL)
    assert [(row["label"], row["limit"], row["bad"]) for row in content["intervals"]] == [
        ("latency against the baseline", 5.0, True), ("p99 latency against the budget", 0.0, False),
        ("throughput against the budget", 0.0, False),
    ]  # fmt: skip
    throughput = content["intervals"][2]
    assert throughput["low"] < throughput["value"] == pytest.approx(100 * (3000 * 0.306 / 1000 - 1), abs=0.01)
    assert set(content["samples"]) == set(content["blocks"]) == {"new", "old"}
    assert content["parts"]["latency, ms"]["new"].keys() == {"host to device", "GPU compute"}
    assert content["accuracy"] == [["logits", "ok", "all elements agree"]]
    assert [(run["commit"], run["change"]) for run in content["trend"]] == [("aaa", ""), ("bbb", "level")]
    assert content["accept"].startswith('pytest-trt baseline accept "tests/test_models.py::test_a"')
    assert ["latency", "0.3060", "0.3057", "0.3063", "0.2750", "ms"] in content["figures"]


def test_layers_are_paired_by_their_onnx_nodes_and_sorted_by_what_they_add() -> None:
    content = section(paired_result(), HEADER, FULL)
    assert [(layer[0], layer[6], layer[7]) for layer in content["layers"]] == [
        ("renamed", 0.2, 0.1), ("gone", None, 0.05), ("new", 0.02, None), ("same", 0.01, 0.01),
    ]  # fmt: skip
    few = section(paired_result(), HEADER, dataclasses.replace(FULL, layers=1))
    assert (len(few["layers"]), few["layers_left_out"]) == (1, 3)


def test_command_in_ci_names_the_file_of_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    header = dataclasses.replace(HEADER, run_file="out/run.json")
    monkeypatch.delenv("CI", raising=False)
    assert "--from" not in section(paired_result(), header, FULL)["accept"]
    monkeypatch.setenv("CI", "true")
    assert section(paired_result(), header, FULL)["accept"].endswith(" --from=run.json --reason=WHY")


def test_percentile_without_enough_samples_has_its_reason() -> None:
    sample = measurement(unsupported={"p95_ms": "too few samples (400): it needs about 1.2 s more"})
    figures = section(Result("t", (), sample), HEADER, FULL)["figures"]
    assert ["p95 latency", "too few samples (400): it needs about 1.2 s more", "", "", "", ""] in figures


def test_throttled_blocks_have_their_reasons() -> None:
    sample = paired_result().measurement
    assert sample is not None
    series = blocks_over_time(sample, 100)
    assert series["reasons"] == ["", "", "", "", "power cap", "power cap", "power cap", "power cap"]
    assert len(series["t"]) == len(series["ms"]) == len(series["clock"]) == 8
    assert len(blocks_over_time(sample, 3)["t"]) == 3
    thin = distribution(sample, 5)
    assert (len(thin), thin) == (5, sorted(thin))


def test_size_of_all_sections_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    layers = tuple(Layer(f"layer {hashlib.sha256(bytes([n])).hexdigest()}", 0.1) for n in range(200))
    sample = measurement(profile=LayerProfile(layers, runs=50))
    results = [Result("t", (), sample)] * 4
    full = html._sections(results, HEADER)
    monkeypatch.setattr(html, "MOST_SECTION_BYTES", 2 * len(full[0]))
    limited = html._sections(results, HEADER)
    assert sum(map(len, limited)) <= 2 * len(full[0]) < sum(map(len, full))


def test_run_without_results_is_still_a_page() -> None:
    assert "No test measured an engine." in html.render([], HEADER)
    assert "No test measured an engine." in markdown.render([], HEADER)
    assert "| `test_a`" in markdown.render([result("test_a", NEW)], HEADER)


def test_colours_have_the_contrast_that_text_needs() -> None:
    [style] = [text for tag, _, text in Page(html.render([], HEADER)).raw if tag == "style"]
    palettes = re.findall(r":root \{([^}]*)\}", style)
    assert len(palettes) == 2
    for palette in palettes:
        colours = dict(re.findall(r"--(\w+): #([0-9a-f]{6})", palette))
        for ink in ("ink", "mark", "bad", "good", "other"):
            assert contrast(colours[ink], colours["paper"]) >= 4.5, ink
        for line in ("new", "old"):
            assert contrast(colours[line], colours["paper"]) >= 3, line


def contrast(one: str, other: str) -> float:
    """Return the contrast ratio of WCAG 2.2, which requires 4.5 for text and 3 for graphics."""

    def luminance(colour: str) -> float:
        channels = [int(colour[i : i + 2], 16) / 255 for i in (0, 2, 4)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
        return sum(share * c for share, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))

    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def test_verdict_without_a_figure_has_no_interval() -> None:
    lost = Result("t", (Verdict("error", "run", "", "the probe was lost"),))
    content = section(lost, HEADER, FULL)
    assert (content["intervals"], content["trend"], content["accept"]) == ([], [], "")
    assert "figures" not in content
