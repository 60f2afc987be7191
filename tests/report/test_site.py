"""Test the pages of a site: what they list, and that nothing in names runs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from samples.browser import EVIL, Watched

from pytest_trt.core.past_run import PastRun
from pytest_trt.core.suite_history import CaseHistory
from pytest_trt.errors import DeclarationError
from pytest_trt.report.html.site import page_name, write_site
from pytest_trt.report.html.site_rows import changes, days_before, headrooms, net_change

TEST = "tests/test_models.py::test_net[fp16-b8]"
H200 = "NVIDIA H200"
LAST = "2026-06-20T12:00:00+00:00"


def point(day: int, value: float, **fields: object) -> PastRun:
    """Return a run of a day in June 2026, whose level is its value."""
    return PastRun(f"2026-06-{day:02}T12:00:00+00:00", "a1b2c3d4e5f6", value, **{"level": value, **fields})  # type: ignore[arg-type]


def case(
    node_id: str = TEST, device: str = H200, text: str = "deeper head", **trends: tuple[PastRun, ...]
) -> CaseHistory:
    """Return a test whose latency became 56 % slower on purpose on a faster machine, and whose machine drifted."""
    ms = (
        point(1, 0.306, moved=True, limit=0.5),
        point(
            10, 0.248, level=0.477, ratio=1.56, moved=True, reason=text, author="Ana", cause="another plan", limit=0.5
        ),
        point(20, 0.26, level=0.477, change="machine", cause="same plan: the machine, not the commit", limit=0.5),
    )
    sizes = (point(1, 40.0), point(20, 30.0, change="level", cause="another plan"))
    return CaseHistory(node_id, device, "ok", "tensorrt 8.6.0", trends or {"ms": ms, "engine_mb": sizes})


def written(folder: Path, *histories: CaseHistory, name: str = "index.html") -> str:
    """Return the text of a page of a site of these tests."""
    write_site(folder, histories, LAST, ["the baselines main"], title="models")
    return (folder / name).read_text()


def text_of(page: str) -> str:
    """Return the text of a page without its markup."""
    page = page.replace("::<wbr>", "::")
    return re.sub(r"\s+", " ", re.sub(r"<(script|style).*?</\1>|<[^>]*>", " ", page, flags=re.DOTALL))


def test_changes_are_by_the_level_and_drifts_by_the_value() -> None:
    found = [(c.figure, c.kind, c.before, c.after, round(c.worse, 3)) for c in changes(case())]
    assert found == [
        ("ms", "accepted", 0.306, 0.477, 0.559),
        ("ms", "machine", 0.277, 0.26, -0.061),
        ("engine_mb", "changed", 40.0, 30.0, -0.25),
    ]


def test_throughput_is_worse_if_it_falls() -> None:
    falls = case(throughput=(point(1, 4000.0), point(2, 2000.0, change="level", limit=1000.0)))
    assert [change.worse for change in changes(falls)] == [1.0]
    assert [one.used for one in headrooms(falls)] == [0.5]


@pytest.mark.parametrize(("since", "then"), [("2026-05-01", 0.306), ("2026-06-05", 0.306), ("2026-06-15", 0.477)])
def test_change_since_a_day_is_between_levels(since: str, then: float) -> None:
    assert net_change(case(), "ms", since) == (then, 0.477)
    assert net_change(case(), "host_mb", since) is None


@pytest.mark.parametrize(
    ("time", "day"), [(LAST, "2026-05-21"), ("2026-06-20T12:00:00Z", "2026-05-21"), ("0001-01-02", ""), ("no time", "")]
)
def test_days_before_a_time(time: str, day: str) -> None:
    assert days_before(time, 30)[:10] == day


def test_first_page_says_what_got_worse_and_why(tmp_path: Path) -> None:
    page = text_of(written(tmp_path, case()))
    worse = page.partition("Got worse in the last 30 days")[2].partition("Closest to a budget")[0]
    assert f"{TEST} latency 0.306 ms 0.477 ms +55.9 % 2026-06-10 accepted: deeper head, another plan" in worse
    assert f"{TEST} latency 0.260 ms 0.5 52 %" in page
    assert "2026-06-01 to 2026-06-20" in page
    assert "read from the baselines main" in page


@pytest.mark.parametrize(
    ("name", "row"),
    [
        (
            "changes.html",
            f"2026-06-20 {TEST} latency 0.277 ms 0.260 ms -6.1 % machine same plan: the machine, not the commit",
        ),
        ("accepted.html", f"2026-06-10 {TEST} Ana deeper head latency +56.0 % 0.306 ms 0.477 ms +55.9 % a1b2c3d4e5"),
        ("budgets.html", f"{TEST} latency 0.260 ms 0.5 52 %"),
        ("engines.html", f"{TEST} 30.0 -25.0 % tensorrt 8.6.0"),
    ],
)
def test_lists(tmp_path: Path, name: str, row: str) -> None:
    assert row in text_of(written(tmp_path, case(), name=name))


def test_devices_have_a_column_only_if_there_are_several(tmp_path: Path) -> None:
    assert ">device</button>" not in written(tmp_path, case())
    page = written(tmp_path, case(), case(device="NVIDIA L4"))
    assert ">device</button>" in page
    assert "<option>NVIDIA L4</option>" in page
    assert '<h2 id="d1">NVIDIA L4</h2>' in (tmp_path / "tests" / page_name(TEST)).read_text()


def test_site_replaces_an_earlier_one_but_no_other_folder(tmp_path: Path) -> None:
    written(tmp_path / "site", case("t.py::gone"), case())
    written(tmp_path / "site", case())
    assert [path.name for path in (tmp_path / "site" / "tests").iterdir()] == [page_name(TEST)]
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.txt").touch()
    with pytest.raises(DeclarationError, match="has files that are no site of pytest-trt: name an empty folder"):
        written(tmp_path / "other", case())
    with pytest.raises(DeclarationError, match="Not a directory"):
        written(tmp_path / "other" / "thesis.txt" / "site", case())


def test_pages_are_searched_sorted_and_linked(tmp_path: Path, watched: Watched) -> None:
    evil = case(f"t.py::test[{EVIL}]", EVIL, EVIL)
    write_site(tmp_path, [case(), evil], LAST, [EVIL], title=EVIL)
    page = watched.page(viewport={"width": 390, "height": 844}, color_scheme="dark")
    page.goto((tmp_path / "index.html").as_uri())
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    names = page.locator("section", has_text="All tests").locator("tbody tr:visible td:first-child")
    assert names.count() == 2
    heading = page.locator("section", has_text="All tests").locator("th", has_text="test").first
    heading.locator("button").focus()
    page.keyboard.press("Enter")
    page.keyboard.press("Enter")
    assert names.first.text_content() == TEST
    page.keyboard.press("/")
    page.keyboard.type("onerror")
    assert names.count() == 1
    names.locator("a").click()
    page.locator(".trends svg.main-svg").first.wait_for()
    page.get_by_label("Figure").select_option("engine_mb")
    page.locator(".trends .ytitle", has_text="MB").wait_for()
    assert page.locator("main img, main a[href^='javascript']").count() == 0
    assert page.evaluate("document.documentElement.scrollWidth") == 390
