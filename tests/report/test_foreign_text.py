"""Names and texts from elsewhere in results: no report passes on what a reader of it would obey."""

from __future__ import annotations

import dataclasses
import re
import unicodedata

import pytest
from samples.reports import compared, result

from pytest_trt.core.past_run import PastRun
from pytest_trt.core.records import Result, Verdict
from pytest_trt.report import builds, failure, history, html, markdown, terminal
from pytest_trt.report.header import Header

EVIL = "X\n::error::pwned \x1b[31mred\u202e<b>|`##[error]q @user #12 https://evil.example"


@pytest.fixture
def evil() -> Result:
    """A regression whose every text is hostile."""
    made = result(EVIL, dataclasses.replace(compared("regressed", 1.1), details=(EVIL,), causes=(EVIL,)))
    assert made.measurement is not None
    environment = dataclasses.replace(
        made.measurement.environment, device=EVIL, backend_version=EVIL, driver=EVIL, host_cpu=EVIL, notes=(EVIL,)
    )
    measurement = dataclasses.replace(
        made.measurement, environment=environment, notes=(EVIL,), proof={EVIL: f"fell back {EVIL}"}, spec={EVIL: EVIL}
    )
    verdicts = (*made.verdicts, Verdict("error", "run", EVIL, EVIL), Verdict("inconclusive", "budget", EVIL, EVIL))
    return dataclasses.replace(made, verdicts=verdicts, measurement=measurement)


@pytest.mark.parametrize("form", ["terminal", "failure", "builds", "history", "markdown", "html"])
def test_no_report_passes_on_what_is_interpreted(evil: Result, form: str) -> None:
    assert evil.measurement is not None
    header = Header.from_environment(evil.measurement.environment, EVIL)
    shown = {
        "terminal": lambda: terminal.render([evil], header, colour=False, verbosity=1),
        "failure": lambda: failure.text(evil),
        "builds": lambda: builds.render([evil]),
        "history": lambda: history.draw(
            [PastRun(EVIL, EVIL, 1.0, 1.0), PastRun(EVIL, EVIL, 2.0, 2.0, 1.1, "level", EVIL, True, EVIL)], EVIL
        ),
        "markdown": lambda: markdown.render([evil], header),
        "html": lambda: html.render([evil], header),
    }[form]()
    assert not [line for line in re.split(r"[\r\n]", shown) if line.lstrip().startswith("::") or "##[" in line]
    assert not {unicodedata.category(character) for character in shown if character != "\n"} & {"Cc", "Cf", "Zl", "Zp"}
    if form == "html":
        assert "<b>" not in shown
    if form == "markdown":
        outside_code = re.sub(r"(?s)(`{3,}).*?\1|<code>.*?</code>|(`+).*?\2", "", shown)
        assert not re.search(r"(?<!\\)<b|@user|#12|https://", outside_code)
