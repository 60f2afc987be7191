"""Render a run as one HTML file that needs no network: Jinja2 writes it, and Plotly draws in the browser.

Nothing in the page can run except the two scripts whose hashes its content security policy names. The content of a
test's section is compressed, and is unpacked when the section is opened.
"""

from __future__ import annotations

import base64
import gzip
from collections.abc import Sequence

from pytest_trt.core.foreign_text import escape
from pytest_trt.core.records import Result
from pytest_trt.report.header import Header
from pytest_trt.report.html import overview
from pytest_trt.report.html.parts import (
    fill,
    hash_of,
    page_file,
    page_files,
    plotly_script,
    plotly_style_ids,
    script_json,
)
from pytest_trt.report.html.section import Detail, section
from pytest_trt.report.stored_results import summaries
from pytest_trt.report.table import build_table, next_step, totals, warnings

MOST_SECTION_BYTES = 9_000_000
"""The most bytes of all sections together. With the scripts and the table of 1,000 tests, a page has 15 MB at most."""

_FULL = Detail(samples=400, blocks=200, layers=400)


def render(results: Sequence[Result], header: Header) -> str:
    """Return the page: the facts about the run, its failures, the table of all tests, and a section for each test."""
    known = summaries(results)
    style, plotly = page_file("report.css"), plotly_script()
    script = page_files("tables.js", "plots.js", "charts.js", "report.js")
    failed = list(overview.failures(known, header))
    return fill(
        "report.html",
        policy=_policy(style, script, plotly),
        style=style,
        script=script,
        plotly=_packed(plotly.encode()),
        style_ids=plotly_style_ids(),
        title=escape(header.title),
        facts=[(name, escape(value)) for name, value in overview.facts(header) if value],
        totals=escape(totals(known)),
        selftest=escape(header.selftest),
        failures=failed[: overview.MAX_FAILURES],
        more_failures=max(len(failed) - overview.MAX_FAILURES, 0),
        next_step=next_step(known, header),
        warnings=warnings(known, header),
        table=build_table(known, header),
        classes=[overview.css_class(result, header) for result in known],
        data=script_json(overview.row_data(known, header)),
        sections=_sections(results, header),
    )


def _sections(results: Sequence[Result], header: Header) -> list[str]:
    """Return each section, packed; with less detail if all of them would exceed MOST_SECTION_BYTES."""
    detail = _FULL
    share = MOST_SECTION_BYTES // max(len(results), 1)
    packed = []
    for result in results:
        detail = _FULL
        text = _packed(script_json(section(result, header, detail)).encode())
        while len(text) > share and detail != detail.halved():
            detail = detail.halved()
            text = _packed(script_json(section(result, header, detail)).encode())
        packed.append(text)
    return packed


def _policy(style: str, script: str, plotly: str) -> str:
    """Return the content security policy: only these texts run, and nothing is loaded.

    Plotly makes an empty style element, to which it adds rules.
    """
    scripts = " ".join(hash_of(text) for text in (script, plotly))
    styles = " ".join(hash_of(text) for text in (style, ""))
    return f"default-src 'none'; script-src {scripts}; style-src {styles}; base-uri 'none'; form-action 'none'"


def _packed(content: bytes) -> str:
    """Return the content, compressed, in base64. The same content gives the same text."""
    return base64.b64encode(gzip.compress(content, 6, mtime=0)).decode()
