"""Test the table at the end of a run, the totals and the warnings."""

from __future__ import annotations

import dataclasses
import re
import subprocess
import sys

import pytest
from samples.records import H200
from samples.reports import NEW, OVER, RUN, compared, on, result, unmeasured

from pytest_trt.core.records import Environment, Estimate, Result, Verdict
from pytest_trt.report.header import Header, RunHead
from pytest_trt.report.numbers import format_change, format_duration, format_limit, format_number, format_share
from pytest_trt.report.table import display_names, totals, warnings
from pytest_trt.report.terminal import render

HEADER = Header.from_environment(H200, "main")
A100 = dataclasses.replace(H200, device="NVIDIA A100-SXM4-80GB")
LONG = "test_a_very_long_name_of_a_model_that_goes_on_and_on_and_says_much[fp16-b1-N32-T128]"


def lines(results: list[Result] | tuple[Result, ...], *, verbosity: int = 0, width: int = 100) -> list[str]:
    return render(results, HEADER, colour=False, verbosity=verbosity, width=width).splitlines()


def test_table_of_a_run() -> None:
    assert lines(RUN) == [
        "========================= trt: NVIDIA H200, TensorRT 8.6.0, baseline main ==========================",
        "test                       ms  p99 ms  inf/s  memory MB  against main            verdict",
        "tests/test_models.py",
        "test_resnet18[fp16-b1]  0.272   0.273   3676        628  +0.1 % [-0.1, +0.3]     ok",
        "test_resnet18[fp16-b8]  0.306   0.307   3268        628  +11.0 % [+10.8, +11.2]  regressed",
        "test_encoder[fp16-b1]   0.245   0.246   4082        628                          new",
        "1 engine built in 27 s, 2 from the cache. 1 ok, 1 new, 1 regressed. Detectable slowdown: 0.3 %.",
    ]


@pytest.mark.parametrize("width", [80, 100, 200])
def test_table_fits_the_terminal(width: int) -> None:
    wide = result("test_画像分類モデルの速度を毎晩はかるとても長い名前[fp16]", compared("ok", 1.0))
    for verbosity in (-1, 0, 1):
        rendered = lines([*RUN, result(LONG, OVER), wide, unmeasured(LONG)], verbosity=verbosity, width=width)
        from rich.cells import cell_len

        assert max(map(cell_len, rendered)) <= width


def test_several_devices_have_a_column_and_numbers_are_not_cut() -> None:
    rendered = lines([*RUN, on(A100, result(LONG, compared("regressed", 1.2, "memory_mb"), ms=12345.6))])
    assert rendered[1].split()[:2] == ["test", "device"]
    assert "A100-SXM4-80GB" in rendered[6]
    assert re.search(r"12346 +memory_mb \+20\.0 % +regressed$", rendered[6])
    assert max(map(len, rendered)) <= 100
    assert "device" not in lines(RUN)[1]


@pytest.mark.parametrize(
    ("length", "columns"),
    [(22, "ms p99 inf/s memory"), (40, "ms p99 inf/s"), (50, "ms p99"), (56, "ms"), (150, "ms")],
)
def test_columns_go_before_a_name_wraps_and_no_name_is_cut(length: int, columns: str) -> None:
    name = "test_".ljust(length - 1, "x") + "!"
    rendered = lines([*RUN, result(name, compared("ok", 1.0))])
    headings = rendered[1].partition("against")[0].replace("p99 ms", "p99").replace("memory MB", "memory")
    assert headings.split() == ["test", *columns.split()]
    names = rendered[1].index("ms") - 5 if columns == "ms" else len(name)
    assert "".join(line[:names].split(" ")[0] for line in rendered[6:-1]) == name


def test_file_is_a_heading_above_its_tests() -> None:
    other = dataclasses.replace(RUN[0], node_id="tests/test_more.py::TestAll::test_resnet18[a::b]")
    alone = dataclasses.replace(RUN[0], node_id="test_alone")
    rendered = lines([RUN[0], other, alone, RUN[1]])
    assert [line.split()[0] for line in rendered[2:-1]] == [
        "tests/test_models.py", "test_resnet18[fp16-b1]", "test_resnet18[fp16-b8]", "tests/test_more.py::TestAll",
        "test_resnet18[a::b]", "test_alone",
    ]  # fmt: skip


def test_tightest_budget_has_a_column() -> None:
    def judged(figure: str, limit: float) -> Verdict:
        return Verdict("ok", "budget", figure, "ok", limit=limit)

    rows = lines(
        [
            result("test_a", judged("ms", 0.332), judged("memory_mb", 1000)),
            result("test_b", judged("ms", 10), judged("p99_ms", 0.28)),
            result("test_c", judged("ms", 10), judged("throughput", 3600)),
            result("test_d"),
        ],
        width=120,
    )
    assert [re.sub(r"^.* 628 *|  +.*", "", row) for row in rows[3:6]] == [
        "82 % of 0.332 ms", "p99 98 % of 0.28 ms", "102 % of 3600 inf/s",
    ]  # fmt: skip
    assert [format_limit(x) for x in (10, 0.31, 26100, 1e12)] == ["10", "0.31", "26100", "1000000000000"]


def test_ambiguous_name_is_shown_with_its_file() -> None:
    again = dataclasses.replace(RUN[0], node_id="tests/test_more.py::test_resnet18[fp16-b1]")
    assert display_names([*RUN, again]) == [
        "tests/test_models.py::test_resnet18[fp16-b1]", "test_resnet18[fp16-b8]", "test_encoder[fp16-b1]",
        "tests/test_more.py::test_resnet18[fp16-b1]",
    ]  # fmt: skip


def test_worse_memory_is_shown_instead_of_an_unchanged_latency() -> None:
    [row] = lines([result("test_a", compared("ok", 1.0), compared("regressed", 1.2, "memory_mb"))])[3:4]
    assert "memory_mb +20.0 %" in row


def test_without_a_gpu_host_memory_is_shown() -> None:
    cpu = dataclasses.replace(H200, device="AMD EPYC 9654", kind="cpu", backend="onnxruntime", backend_version="1.20.0")
    sample = on(cpu, result("test_a", NEW))
    assert sample.measurement is not None
    figures = {"ms": Estimate.exact(0.0042), "host_mb": Estimate.exact(81.25)}
    sample = dataclasses.replace(sample, measurement=dataclasses.replace(sample.measurement, figures=figures))
    assert lines([sample])[1].split() == [
        "test",
        "ms",
        "p99",
        "ms",
        "inf/s",
        "host",
        "MB",
        "against",
        "main",
        "verdict",
    ]
    assert lines([sample])[3].split() == ["test_a", "0.00420", "-", "-", "81.2", "new"]


def test_quiet_shows_only_failing_tests_and_totals() -> None:
    rendered = lines([*RUN, unmeasured("test_lost")], verbosity=-1)
    assert [line.split()[0] for line in rendered[3:5]] == ["test_resnet18[fp16-b8]", "test_lost"]
    assert rendered[5].startswith("1 engine built")
    assert len(lines(RUN[:1], verbosity=-1)) == 2


def test_header_chooses_the_failing_verdicts() -> None:
    strict = dataclasses.replace(HEADER, failing=HEADER.failing | {"new"})
    assert "test_encoder" in render(RUN, strict, colour=False, verbosity=-1)


def test_verbose_shows_details() -> None:
    shown = "\n".join(lines(RUN[1:2], verbosity=1))
    for text in (
        "latency regressed: 0.306 ms against 0.276 ms",
        "judged engine against engine",
        "GPU compute 0.275",
        "weights 23.4",
        "2 probes, 16 blocks, 400 samples; warm-up 0.3 s; graph captured; pinned yes",
        "driver 550.54.15",
        "took 4.1 s: build 2.7 s, load 0.2 s, measure 1.2 s",
    ):
        assert text in shown


def test_energy_has_a_column_and_details_only_where_it_was_measured() -> None:
    sample = result("test_a", NEW)
    assert sample.measurement is not None
    energy = {
        "energy_mj": Estimate(21.1, 20.9, 21.3),
        "power_w": Estimate.exact(608.5),
        "idle_w": Estimate.exact(124.0),
    }
    figures = {**sample.measurement.figures, **energy}
    measured = dataclasses.replace(sample, measurement=dataclasses.replace(sample.measurement, figures=figures))
    assert "mJ" not in "\n".join(lines([sample], verbosity=1))
    rendered = lines([measured, result("test_b", NEW)], verbosity=1)
    assert " mJ " in rendered[1]
    assert any(" 21.10 " in line for line in rendered)
    assert "    W: power 608.5, idle power 124.0" in rendered


def test_colour_is_used_only_on_request(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert "\x1b" not in render(RUN, HEADER, colour=False)
    monkeypatch.setenv("NO_COLOR", "1")
    coloured = render(RUN, HEADER, colour=True)
    assert "\x1b[1;31mregressed\x1b[0m" in coloured
    assert re.sub(r"\x1b\[[0-9;]*m", "", coloured) == render(RUN, HEADER, colour=False)


def test_ascii_characters_for_an_ascii_encoding() -> None:
    rendered = render([*RUN, result(LONG, NEW), unmeasured("test_größe")], HEADER, colour=False, encoding="ascii")
    assert rendered.isascii()
    assert "3676" not in rendered
    assert r"test_gr\xf6\xdfe" in rendered


def test_totals_count_engines_not_tests() -> None:
    shared = [dataclasses.replace(r, measurement=RUN[0].measurement) for r in RUN]
    assert totals(shared).startswith("1 engine built in 27 s. ")
    assert totals([RUN[0], RUN[2]]).startswith("2 engines from the cache. 1 ok, 1 new")
    assert totals([unmeasured("test_a")]) == "1 error."
    assert totals([]) == "No test measured an engine."


def test_totals_do_not_hide_a_noisy_test() -> None:
    noisy = dataclasses.replace(compared("ok", 1.0), resolution=0.04)
    results = [*(result(f"test_{i}", compared("ok", 1.0)) for i in range(5)), result("test_n", noisy)]
    assert totals(results).endswith("Detectable slowdown: 0.3 %, in the noisiest test 4 %.")


def test_a_failure_that_may_be_chance_among_many_tests_is_a_warning() -> None:
    header = dataclasses.replace(HEADER, doubtful=frozenset((result("test_a").node_id,)))
    results = [result(name, compared("regressed", 1.2)) for name in ("test_a", "test_b")]
    assert warnings(results, header) == [
        "seen too few times for a run of so many tests, where chance does the same: run it again: test_a"
    ]


def test_warnings_of_one_kind_are_joined() -> None:
    near = dataclasses.replace(OVER, status="ok", details=("at 97% of its budget",))
    open_verdict = Verdict("inconclusive", "baseline", "ms", "latency inconclusive (build lottery)")
    tight = dataclasses.replace(compared("ok", 1.0), tolerance=0.001)
    results = [result(f"test_{i}", near) for i in range(5)] + [result("test_o", open_verdict), result("test_t", tight)]
    first = ", ".join(f"test_{i}" for i in range(3))
    assert warnings(results, HEADER) == [
        f"near the budget: p99_ms at 97% of its budget ({first} and 2 more)",
        "inconclusive: test_o (latency inconclusive (build lottery))",
        "tolerance below the detectable change: test_t (ms: tolerance 0.1 %, detectable 0.3 %)",
    ]


def test_fallbacks_and_notes_are_warnings() -> None:
    def noted(name: str) -> Result:
        sample = result(name, compared("ok", 1.0))
        assert sample.measurement is not None
        proof = {"graph": "fell back: the engine has a loop", "pinned": "yes"}
        environment: Environment = dataclasses.replace(H200, notes=("power capped at 700 W",))
        changed = dataclasses.replace(sample.measurement, proof=proof, environment=environment, notes=("waited 3 s",))
        return dataclasses.replace(sample, measurement=changed)

    assert warnings([noted("test_a"), noted("test_b")], HEADER) == [
        "graph fell back: the engine has a loop: test_a, test_b",
        "waited 3 s: test_a, test_b",
        "power capped at 700 W: test_a, test_b",
    ]
    assert "warning: power capped at 700 W: test_a" in "\n".join(lines([noted("test_a")]))


def test_markup_in_names_is_not_interpreted() -> None:
    assert "test_a[red]" in render([unmeasured("test_a[red]")], HEADER, colour=True)


@pytest.mark.parametrize(
    ("value", "digits", "text"),
    [
        (0.0042, 4, "0.00420"), (0.2724, 4, "0.272"), (9.9996, 4, "10.000"), (12.3456, 4, "12.35"), (123.4, 4, "123.4"),
        (1234.5, 4, "1234"), (1234567, 4, "1234567"), (628.4, 3, "628"), (62.84, 3, "62.8"), (0, 4, "0.000"),
        (-1.5, 4, "-1.500"),
    ],
)  # fmt: skip
def test_numbers(value: float, digits: int, text: str) -> None:
    assert format_number(value, digits) == text


def test_changes_shares_and_durations() -> None:
    assert format_change(Estimate(1.11, 1.108, 1.112)) == "+11.0 % [+10.8, +11.2]"
    assert format_change(Estimate.exact(0.5)) == "-50.0 %"
    assert [format_share(s) for s in (0.003, 0.05, 0.12, 0.96)] == ["0.3 %", "5 %", "12 %", "96 %"]
    assert format_share(2031348.32) == "more than 1000 %"
    assert [format_duration(s) for s in (0.04, 9.94, 27.2, 59.7, 200, 7260)] == [
        "0.0 s", "9.9 s", "27 s", "1 min 0 s", "3 min 20 s", "2 h 1 min",
    ]  # fmt: skip


def test_reports_import_no_heavy_package() -> None:
    modules = "terminal, failure, markdown, html, result_json, benchmark_json, trtexec_json, history"
    heavy = "{'rich', 'numpy', 'pytest', '_pytest', 'pytest_benchmark'}"
    code = f"import sys; from pytest_trt.report import {modules}; print({heavy} & set(sys.modules))"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "set()"


def test_first_run_ends_with_one_command_and_no_warning() -> None:
    absent = Verdict("missing", "baseline", "", "there is no baseline main for X: --trt-baseline-save stores one")
    run = RunHead("0.1.0", ("pytest", "tests", "-k", "a b"), "host", "project", "2026-07-01T12:00:00+00:00")
    header = dataclasses.replace(HEADER, run=run)
    results = [result("test_a", absent), result("test_b", absent)]
    *_, before, last = render(results, header, colour=False).splitlines()
    assert last == ("Next: there is no baseline main for X. Store one with: pytest tests -k 'a b' --trt-baseline-save")
    assert before.startswith("2 engines from the cache.")
    saved = [dataclasses.replace(one, saved="baseline created") for one in results]
    assert "Next" not in render(saved, header, colour=False)
    assert "warning: missing: there is no baseline" in render(results, HEADER, colour=False)
