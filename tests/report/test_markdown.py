"""Test the report in Markdown."""

from __future__ import annotations

import dataclasses
import re

from samples.records import H200
from samples.reports import HEADER, HOSTILE, RUN, compared, result, unmeasured

from pytest_trt.core.records import Verdict
from pytest_trt.report import markdown
from pytest_trt.report.header import Header


def test_markdown_shows_the_worst_first_and_folds_the_reasons() -> None:
    rendered = markdown.render(RUN, HEADER)
    rows = [line for line in rendered.splitlines() if line.startswith("| `")]
    assert [row.split("`")[1] for row in rows] == [
        "test_resnet18[fp16-b8]", "test_encoder[fp16-b1]", "test_resnet18[fp16-b1]",
    ]  # fmt: skip
    assert rows[0].endswith("| +11.0 % [+10.8, +11.2] | **regressed** |")
    assert rendered.count("<details>") == rendered.count("</details>") == 1
    assert "\nlatency regressed: 0.306 ms against 0.276 ms" in rendered
    assert rendered.startswith("### trt: NVIDIA H200, TensorRT 8.6.0, baseline main\n\n1 engine built in 27 s")
    assert "accept it with" in rendered
    assert "accept it with" not in markdown.render(RUN, Header.from_environment(H200, "HEAD", commit="abc1234")), (
        "nothing is stored"
    )


def test_markdown_escapes_names() -> None:
    rendered = markdown.render([unmeasured(HOSTILE)], HEADER)
    [row] = [line for line in rendered.splitlines() if "test_x" in line and line.startswith("|")]
    assert row.startswith("| `` test_x[<script>alert(1)</script>\\|`a`*b*] `` |")
    assert len(re.findall(r"(?<!\\)\|", row)) == 8
    assert "<summary><code>tests/test_models.py::test_x[&lt;script&gt;" in rendered


def test_markdown_fences_are_longer_than_those_in_a_failure() -> None:
    failing = dataclasses.replace(
        unmeasured("test_a"), verdicts=(Verdict("error", "run", "", "x", details=("````", "<b>")),)
    )
    rendered = markdown.render([failing], HEADER)
    assert rendered.count("`````") == 2


def test_markdown_fits_into_a_step_summary() -> None:
    long = compared("regressed", 1.2)
    long = dataclasses.replace(long, details=("x" * 90,) * 300)
    one = result("test", long)
    results = [dataclasses.replace(one, node_id=f"a.py::test_{'m' * 150}[{i}]") for i in range(3000)]
    rendered = markdown.render(results, HEADER)
    assert len(rendered.encode()) < 2**20
    assert "2000 more tests are in the log." in rendered
    assert "2950 more failures are in the log." in rendered
