"""Test the comment on a pull request."""

from __future__ import annotations

import dataclasses
import re

import pytest
from samples.reports import HEAD, HEADER, HOSTILE, RUN, compared, result, unmeasured

from pytest_trt.core.records import Result
from pytest_trt.errors import DeclarationError
from pytest_trt.report import comment

HEADER_OF_CI = dataclasses.replace(HEADER, run=HEAD, run_file="run.json")


def test_comment_has_totals_failures_improvements_command_and_link() -> None:
    blamed = dataclasses.replace(compared("regressed", 1.11), details=("conv1: +0.03 ms",))
    results = (*RUN, result("test_slow[S=32]", blamed), result("test_fast", compared("improved", 0.8)))
    text = comment.render(results, HEADER_OF_CI, name="H200", report_url="https://ci.example/run/1")
    assert text.startswith(
        "<!-- pytest-trt comment: H200 -->\n\n### H200: NVIDIA H200, TensorRT 8.6.0, commit a1b2c3d4e5"
    )
    assert "1 improved, 1 new" in text
    assert "[Report](https://ci.example/run/1)" in text
    assert text.count("<details>") == 2
    assert "conv1: +0.03 ms" in text
    assert "test_slow[S=32]</code> latency regressed, +11.0 %" in text
    assert "Improved:\n\n- `test_fast`: latency improved: " in text
    assert (
        'pytest-trt baseline accept "tests/test_models.py::test_slow[S=32]" --from=run.json --reason=WHY\n```' in text
    )
    assert "accept it with" not in text
    assert "Report]" not in comment.render(RUN[:1], HEADER_OF_CI, name="H200")
    assert "accept" not in comment.render(RUN[:1], HEADER_OF_CI, name="H200")


def test_comment_of_many_long_results_stays_below_the_limit_and_closes_what_it_opens() -> None:
    details = ("x" * 90,) * 300
    worst = dataclasses.replace(compared("regressed", 1.2), details=details)
    results: list[Result] = [result(f"test_{number}", worst) for number in range(40)]
    results += [result(f"test_{'`y' * 5000}{number}", compared("improved", 0.5), worst) for number in range(30)]
    text = comment.render(results, HEADER_OF_CI, name="a")
    assert 30_000 < len(text) <= comment.MAX_COMMENT
    assert text.count("<details>") == text.count("</details>") > 5
    assert len(re.findall(r"^`{3,}", text, re.MULTILINE)) % 2 == 0
    assert re.search(r"\n\d+ more failures are in the report\.", text)


def test_comment_escapes_what_hosts_interpret() -> None:
    names = [HOSTILE, "test_a[@user #12 !13 %14]\n/close"]
    results = [*map(unmeasured, names), *(result(name, compared("improved", 0.5)) for name in names)]
    text = comment.render(results, HEADER_OF_CI, name="a")
    plain = re.sub(r"(`+).*?\1|<code>.*?</code>", "", text, flags=re.DOTALL)
    assert not re.search(r"<script|@user|[#!]1|%14", plain)
    assert not re.search(r"^/", text, re.MULTILINE)


@pytest.mark.parametrize("url", ["javascript:alert(1)", "trt.html", "http://", "//host/x"])
def test_a_link_leads_to_a_page(url: str) -> None:
    with pytest.raises(DeclarationError, match="give the address of a page"):
        comment.render(RUN, HEADER_OF_CI, name="a", report_url=url)


@pytest.mark.parametrize("name", ["", "-->", "a\nb", "@me", "x" * 61, "a--b", "a-"])
def test_a_name_cannot_end_the_hidden_line(name: str) -> None:
    with pytest.raises(DeclarationError, match="--name is"):
        comment.render(RUN, HEADER_OF_CI, name=name)


def test_a_name_may_be_that_of_an_artifact() -> None:
    assert comment.marker("performance-h200 v1.2_a") == "<!-- pytest-trt comment: performance-h200 v1.2_a -->"


def test_a_link_cannot_end_early() -> None:
    text = comment.render(RUN, HEADER_OF_CI, name="a", report_url="https://ci.example/a b)[x](y")
    assert "[Report](https://ci.example/a%20b%29%5Bx%5D%28y)" in text
