"""Test the text with which a test fails."""

from __future__ import annotations

import dataclasses

from samples.records import H200
from samples.reports import OVER, RUN, compared, result, unmeasured

from pytest_trt.core.records import ALWAYS_FAIL, Result, Verdict
from pytest_trt.report.failure import sentence, text
from pytest_trt.report.header import environment_line

ENVIRONMENT = "  measured on NVIDIA H200, TensorRT 8.6.0, driver 550.54.15, CUDA 12.4, commit a1b2c3d4e5"


def test_regression_shows_figures_details_environment_and_accept_command() -> None:
    blamed = dataclasses.replace(
        compared("regressed", 1.11), details=("blame, explains 94 % of +0.031 ms:", "  new layer")
    )
    assert text(result("test_resnet18[fp16-b8]", blamed, ms=0.306)).splitlines() == [
        "latency regressed: 0.306 ms against 0.276 ms, +11.0 % [+10.8, +11.2], tolerance 5 %",
        "  blame, explains 94 % of +0.031 ms:",
        "    new layer",
        ENVIRONMENT,
        '  accept it with: pytest-trt baseline accept "tests/test_models.py::test_resnet18[fp16-b8]" --reason=WHY',
    ]


def test_commit_of_a_modified_checkout_keeps_its_plus() -> None:
    dirty = dataclasses.replace(H200, commit="a1b2c3d4e5f6+")
    assert environment_line(dirty).endswith(", commit a1b2c3d4e5+")
    assert environment_line(dataclasses.replace(H200, commit="a1b2c3d4e5f6")).endswith(", commit a1b2c3d4e5")


def test_budget_shows_the_limit_and_the_excess() -> None:
    assert text(result("test_a", OVER, ms=0.44)).splitlines() == [
        "p99 latency over budget: 0.442 ms, budget 0.400 ms, +10.4 % [+10.3, +10.7]",
        ENVIRONMENT,
    ]


def test_worst_verdict_comes_first_and_counts_the_others() -> None:
    first, *rest = text(
        result("test_a", compared("ok", 1.0, "memory_mb"), compared("regressed", 1.1), OVER)
    ).splitlines()
    assert first.startswith("p99 latency over budget: ")
    assert first.endswith("(and 1 more verdict below)")
    assert rest[0].startswith("latency regressed: ")
    assert not any("device memory" in line for line in rest)


def test_caller_chooses_the_failing_verdicts() -> None:
    unsure = Verdict("inconclusive", "baseline", "ms", "latency inconclusive (at the limit): +4.9 %\n[+4, +6]")
    sample = result("test_a", unsure)
    assert text(sample) == ""
    assert text(sample, ALWAYS_FAIL | {"inconclusive"}).startswith(
        "latency inconclusive (at the limit): +4.9 % [+4, +6]\n"
    )


def test_test_without_a_measurement_shows_its_error() -> None:
    assert text(unmeasured("test_a")) == "the probe was killed by signal 9 while it ran: see its log"


def test_notes_are_shown() -> None:
    sample = RUN[1]
    assert sample.measurement is not None
    noted = dataclasses.replace(sample.measurement, notes=("torch has a CUDA context in this process",))
    assert "  note: torch has a CUDA context in this process" in text(dataclasses.replace(sample, measurement=noted))


def test_node_id_is_quoted_for_a_shell() -> None:
    def accept(parameters: str) -> str:
        return text(result(f"test_a[{parameters}]", compared("regressed", 1.1))).splitlines()[-1]

    assert accept("$HOME-`x`").endswith("accept 'tests/test_models.py::test_a[$HOME-`x`]' --reason=WHY")
    assert accept("it's").endswith('accept "tests/test_models.py::test_a[it\'s]" --reason=WHY')


def test_throughput_below_its_budget_is_shown_as_a_shortfall() -> None:
    short = Verdict("over_budget", "budget", "throughput", "throughput over budget", limit=5000.0)
    measured = result("test_a", short).measurement
    assert sentence(short, measured).endswith("-26.5 % [-26.8, -26.1]")


def test_verdict_without_a_text_still_names_its_figure() -> None:
    bare = Verdict("error", "run", "ms", "")
    assert text(Result("a.py::test_a", (bare,))) == "ms error"
