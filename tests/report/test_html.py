"""Test the report in HTML."""

from __future__ import annotations

import dataclasses
import re
from html.parser import HTMLParser

from samples.reports import HEADER, HOSTILE, NEW, RUN, compared, result, text, unmeasured

from pytest_trt.report import html, markdown


class Page(HTMLParser):
    """Checks the tags of a page, and collects its links."""

    VOID = frozenset(("meta", "circle", "line", "br"))

    def __init__(self, source: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.feed(source)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag not in self.VOID:
            self.open.append(tag)
        for name, value in attrs:
            self.attributes.append((name, value or ""))
            if name == "id":
                self.ids.append(value or "")
            if name in ("href", "src"):
                self.links.append(value or "")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, f"</{tag}> closes nothing"

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)


def test_html_is_one_complete_file_that_loads_no_other() -> None:
    source = html.render([*RUN, unmeasured(HOSTILE)], HEADER)
    page = Page(source)
    assert page.open == []
    assert page.links == [f"#{name}" for name in page.ids] == ["#t0", "#t1", "#t2", "#t3"]
    assert not {"script", "link", "img", "iframe", "object"} & set(page.tags)
    assert not [name for name, _ in page.attributes if name.startswith("on")]
    assert not re.search(r"url\(|@import|https?:", source)
    assert "&lt;script&gt;alert(1)" in source


def test_html_shows_each_test_with_blocks_layers_and_environment() -> None:
    source = html.render(RUN, HEADER)
    assert source.count("<svg") == 3
    assert source.count("<circle") == 3 * 16
    assert "Medians of 16 blocks of 2 probes, 0.30" in source
    for shown in ("Conv_0 + Relu_1", "sm90_xmma_fprop", "67 %", "driver 550.54.15", "Intel Xeon 8480+", "captured"):
        assert shown in source
    assert re.search(r'<details id="t1" open>', source)
    assert not re.search(r'<details id="t0" open>', source)


def test_html_is_accessible() -> None:
    page = Page(source := html.render(RUN, HEADER))
    assert ("lang", "en") in page.attributes
    assert all(tag in page.tags for tag in ("title", "caption", "main", "h1"))
    assert ("role", "img") in page.attributes
    assert [value for name, value in page.attributes if name == "aria-label"]
    for palette in re.findall(r":root \{([^}]*)\}", source):
        colours = dict(re.findall(r"--(\w+): #([0-9a-f]{3,6})", palette))
        for ink in ("ink", "mark", "bad", "good", "other"):
            assert contrast(colours[ink], colours["paper"]) >= 4.5, ink


def contrast(one: str, other: str) -> float:
    """Return the contrast ratio of WCAG 2.2, which requires 4.5 for text."""

    def luminance(colour: str) -> float:
        full = "".join(c * 2 for c in colour) if len(colour) == 3 else colour
        channels = [int(full[i : i + 2], 16) / 255 for i in (0, 2, 4)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
        return sum(share * c for share, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))

    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def test_run_without_results_is_still_a_page() -> None:
    assert "No test measured an engine." in html.render([], HEADER)
    assert "No test measured an engine." in markdown.render([], HEADER)
    assert "| `test_a`" in markdown.render([result("test_a", NEW)], HEADER)


def test_page_lists_all_causes_that_blame_found() -> None:
    slower = dataclasses.replace(compared("regressed", 1.11), causes=("new layer   <conv>   +0.028 ms",))
    page = text("html", [result("test_a", slower)], HEADER)
    assert "All causes found by blame: 1" in page
    assert "new layer   &lt;conv&gt;   +0.028 ms" in page
