"""The reports that are written to files: Markdown, HTML, JSON."""

from __future__ import annotations

import dataclasses
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from samples.records import H200
from samples.reports import NEW, RUN, compared, result, unmeasured

from pytest_trt.core.records import SCHEMA, Verdict
from pytest_trt.errors import RecordError
from pytest_trt.report import html, markdown, result_json
from pytest_trt.report.header import Header
from pytest_trt.report.write import text, write

HEADER = Header.from_environment(H200, "main")
HOSTILE = "test_x[<script>alert(1)</script>|`a`*b*]"


def test_the_form_decides_and_no_other_form_is_known() -> None:
    assert text("md", RUN, HEADER) == markdown.render(RUN, HEADER)
    assert text("html", RUN, HEADER) == html.render(RUN, HEADER)
    assert text("json", RUN, HEADER) == result_json.render(RUN)
    assert json.loads(text("benchmark-json", RUN, HEADER))["benchmarks"]
    with pytest.raises(KeyError):
        text("pdf", RUN, HEADER)


def test_a_report_is_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "out" / "run.json"
    write("json", target, RUN, HEADER)
    assert result_json.read(target.read_text(encoding="utf-8")) == RUN

    def full(path: Path, *_: object, **__: object) -> None:
        path.touch()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(OSError, match=r"No space left on device: .*out/run\.json"):
        write("json", target, RUN[:1], HEADER)
    assert [p.name for p in target.parent.iterdir()] == ["run.json"]
    assert result_json.read(target.read_text(encoding="utf-8")) == RUN


@pytest.mark.parametrize("form", ["md", "html", "json"])
def test_a_name_that_is_not_unicode_is_written_as_its_bytes(tmp_path: Path, form: str) -> None:
    """As Python reads m\\xe4 in Latin-1 from a file system."""
    write(form, tmp_path / "out", (dataclasses.replace(RUN[0], node_id="t.py::test_m\udce4"),), HEADER)
    assert r"test_m\udce4" in (tmp_path / "out").read_text(encoding="utf-8")


def test_a_header_without_an_environment_has_no_gap() -> None:
    assert Header("nothing measured", "").title == "trt: nothing measured, no baseline"


def test_json_keeps_every_record() -> None:
    results = (*RUN, unmeasured("test_lost"))
    assert result_json.read(result_json.render(results)) == results
    assert result_json.read(result_json.render(())) == ()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "run.json is not JSON"),
        ("[" * 100_000, "run.json is not JSON"),
        ("[]", "run.json must be an object"),
        (json.dumps({"schema": SCHEMA + 1, "results": []}), "install a newer one"),
        ('{"schema": 1}', "run.json lacks the field 'results'"),
        ('{"results": [{"node_id": "a", "verdicts": [], "seconds": NaN}]}', r"results\[0\].seconds"),
        ('{"results": [{"node_id": "a", "verdicts": [{"status": "fine"}]}]}', r"verdicts\[0\]"),
    ],
)
def test_what_is_no_run_is_refused_with_file_and_field(content: str, said: str) -> None:
    with pytest.raises(RecordError, match=said):
        result_json.read(content, "run.json")


def test_markdown_shows_the_worst_first_and_folds_the_reasons() -> None:
    drawn = markdown.render(RUN, HEADER)
    rows = [line for line in drawn.splitlines() if line.startswith("| `")]
    assert [row.split("`")[1] for row in rows] == [
        "test_resnet18[fp16-b8]", "test_encoder[fp16-b1]", "test_resnet18[fp16-b1]",
    ]  # fmt: skip
    assert rows[0].endswith("| +11.0 % [+10.8, +11.2] | **regressed** |")
    assert drawn.count("<details>") == drawn.count("</details>") == 1
    assert "\nlatency regressed: 0.306 ms against 0.276 ms" in drawn
    assert drawn.startswith("### trt: NVIDIA H200, TensorRT 8.6.0, baseline main\n\n1 engine built in 27 s")
    assert "accept it with" in drawn
    assert "accept it with" not in markdown.render(RUN, Header.from_environment(H200, "HEAD", commit="abc1234")), (
        "nothing is stored"
    )


def test_markdown_takes_nothing_in_a_name_for_markup() -> None:
    drawn = markdown.render([unmeasured(HOSTILE)], HEADER)
    [row] = [line for line in drawn.splitlines() if "test_x" in line and line.startswith("|")]
    assert row.startswith("| `` test_x[<script>alert(1)</script>\\|`a`*b*] `` |")
    assert len(re.findall(r"(?<!\\)\|", row)) == 8
    assert "<summary>tests/test_models.py::test_x[&lt;script&gt;" in drawn


def test_markdown_fences_hold_whatever_a_failure_says() -> None:
    said = dataclasses.replace(
        unmeasured("test_a"), verdicts=(Verdict("error", "run", "", "x", details=("````", "<b>")),)
    )
    drawn = markdown.render([said], HEADER)
    assert drawn.count("`````") == 2


def test_markdown_stays_below_what_a_step_summary_holds() -> None:
    long = compared("regressed", 1.2)
    long = dataclasses.replace(long, details=("x" * 90,) * 300)
    one = result("test", long)
    results = [dataclasses.replace(one, node_id=f"a.py::test_{'m' * 150}[{i}]") for i in range(3000)]
    drawn = markdown.render(results, HEADER)
    assert len(drawn.encode()) < 2**20
    assert "2000 more tests are in the log." in drawn
    assert "2950 more failures are in the log." in drawn


class Page(HTMLParser):
    """Follows the tags of a page, and keeps what it links to."""

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


def test_html_is_one_whole_file_that_loads_nothing() -> None:
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
    for said in ("Conv_0 + Relu_1", "sm90_xmma_fprop", "67 %", "driver 550.54.15", "Intel Xeon 8480+", "captured"):
        assert said in source
    assert re.search(r'<details id="t1" open>', source)
    assert not re.search(r'<details id="t0" open>', source)


def test_html_can_be_read_by_everyone() -> None:
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
    """The contrast ratio of WCAG 2.2, which asks for 4.5 for text."""

    def luminance(colour: str) -> float:
        full = "".join(c * 2 for c in colour) if len(colour) == 3 else colour
        channels = [int(full[i : i + 2], 16) / 255 for i in (0, 2, 4)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
        return sum(share * c for share, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))

    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def test_a_run_of_nothing_is_still_a_page() -> None:
    assert "No test measured an engine." in html.render([], HEADER)
    assert "No test measured an engine." in markdown.render([], HEADER)
    assert "| `test_a`" in markdown.render([result("test_a", NEW)], HEADER)


def test_the_page_has_all_that_blame_found() -> None:
    slower = dataclasses.replace(compared("regressed", 1.11), causes=("new layer   <conv>   +0.028 ms",))
    page = text("html", [result("test_a", slower)], HEADER)
    assert "all that blame found: 1" in page
    assert "new layer   &lt;conv&gt;   +0.028 ms" in page
