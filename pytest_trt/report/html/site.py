"""Write a site of static pages about a suite over time: an overview, lists, and a page for each test.

All pages share the files in `assets`, among them Plotly's script. They load nothing from elsewhere, and their content
security policy allows no script besides those files.
"""

from __future__ import annotations

import hashlib
import itertools
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from pytest_trt.core.atomic import write_atomically
from pytest_trt.core.foreign_text import escape
from pytest_trt.core.suite_history import CaseHistory
from pytest_trt.core.version import __version__
from pytest_trt.errors import DeclarationError
from pytest_trt.report.html.parts import fill, hash_of, page_file, plotly_script, plotly_style_ids, script_json
from pytest_trt.report.html.site_lists import SHOWN, SiteLists, accepted_grid, changes_grid, status_cell
from pytest_trt.report.html.site_rows import changes, columns
from pytest_trt.report.numbers import format_count

MARK = ".pytest-trt-site"
"""The file that marks a folder as a site, which the next site may replace."""

_POLICY = f"default-src 'none'; script-src 'self'; style-src 'self' {hash_of('')}; base-uri 'none'; form-action 'none'"
"""The content security policy of all pages. Plotly makes an empty style element, to which it adds rules."""

_PAGES = (
    ("index.html", "Overview"), ("changes.html", "Changes"), ("accepted.html", "Accepted"),
    ("budgets.html", "Budgets"), ("engines.html", "Engines"),
)  # fmt: skip
_ASSETS = ("report.css", "site.css", "tables.js", "search.js", "plots.js", "site.js")


def write_site(
    folder: Path, histories: Iterable[CaseHistory], last: str, sources: Sequence[str], *, title: str, days: int = 30
) -> int:
    """Write a site in place of an earlier one, and return how many pages of tests it has.

    Args:
        folder: A new or empty folder, or that of an earlier site.
        histories: The tests, sorted by id. They are read once, and one is held at a time.
        last: The time of the last run of all, in ISO 8601. What is recent is counted from it.
        sources: Where the runs come from, in words.
        title: The title of the first page.
        days: How many days are recent.

    Raises:
        DeclarationError: The folder has other files, or cannot be written.
    """
    try:
        if folder.exists() and not (folder / MARK).exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise DeclarationError(f"{folder} has files that are no site of pytest-trt: name an empty folder")
        return _write(folder, histories, SiteLists(last, days), sources, title)
    except OSError as error:
        raise DeclarationError(f"{folder} cannot be written: {error.strerror or error}") from error


def _write(folder: Path, histories: Iterable[CaseHistory], lists: SiteLists, sources: Sequence[str], title: str) -> int:
    for name in ("tests", "assets"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    (folder / MARK).write_text("")
    (folder / ".nojekyll").write_text("")  # Otherwise GitHub Pages would process the files.
    written = set()
    for node_id, group in itertools.groupby(histories, key=lambda history: history.node_id):
        page, same_test = page_name(node_id), list(group)
        for history in same_test:
            lists.add(history, f"tests/{page}")
        write_atomically(folder / "tests" / page, _test_page(node_id, same_test))
        written.add(page)
    for path in (folder / "tests").glob("*.html"):
        if path.name not in written:
            path.unlink()
    _write_lists(folder, lists, sources, title)
    for name in _ASSETS:
        write_atomically(folder / "assets" / name, page_file(name))
    write_atomically(folder / "assets" / "plotly.min.js", plotly_script())
    return len(written)


def page_name(node_id: str) -> str:
    """Return the name of a test's page, which is valid in every file system and URL."""
    digest = hashlib.sha256(node_id.encode("utf-8", "surrogatepass")).hexdigest()[:12]
    readable = re.sub(r"[^A-Za-z0-9]+", "-", node_id.partition("::")[2] or node_id).strip("-")[:60]
    return f"{readable}-{digest}.html"


def _write_lists(folder: Path, lists: SiteLists, sources: Sequence[str], title: str) -> None:
    worse, budgets = lists.worse_grid(), lists.budgets_grid()
    tables = {
        "index.html": [
            (f"Got worse in the last {lists.days} days", worse, "changes.html"),
            ("Closest to a budget", budgets.first(SHOWN), "budgets.html"),
            ("All tests", lists.tests_grid(), ""),
        ],
        "changes.html": [("Changes, the latest first", changes_grid(lists.changes), "")],
        "accepted.html": [("What became the reference, the latest first", accepted_grid(lists.changes), "")],
        "budgets.html": [("Budgets, the tightest first", budgets, "")],
        "engines.html": [("What engines cost, beside their latency", lists.engines_grid(), "")],
    }
    hidden = () if len(lists.devices) > 1 else ("device",)
    for name, shown in tables.items():
        text = _page(
            "site_list.html",
            title if name == "index.html" else f"{dict(_PAGES)[name]}: {title}",
            name,
            tables=[(heading, table.without(*hidden), more) for heading, table, more in shown],
            facts=lists.facts(sources) if name == "index.html" else [],
            devices=sorted(lists.devices) if len(lists.devices) > 1 else [],
        )
        write_atomically(folder / name, text)


def _test_page(node_id: str, histories: Sequence[CaseHistory]) -> str:
    sections = []
    for number, history in enumerate(histories):
        found = sorted(changes(history), key=lambda change: change.run.time, reverse=True)
        runs = max(map(len, history.trends.values()), default=0)
        sections.append(
            {
                "anchor": f"d{number}",
                "device": escape(history.device),
                "facts": f"{format_count(runs, 'run')}, last with {escape(history.software) or 'unknown software'}",
                "status": status_cell(history.status),
                "tables": [
                    ("Changes", changes_grid([(change, "") for change in found]).without("test", "device")),
                    (
                        "Became the reference",
                        accepted_grid([(change, "") for change in found]).without("test", "device"),
                    ),
                ],
            }
        )
    data = script_json([columns(history) for history in histories])
    return _page(
        "site_test.html", escape(node_id), "", root="../", sections=sections, data=data, style_ids=plotly_style_ids()
    )


def _page(template: str, title: str, current: str, *, root: str = "", **values: Any) -> str:
    return fill(
        template, policy=_POLICY, title=title, current=current, root=root, pages=_PAGES, version=__version__, **values
    )
