"""Test the work with pytest-benchmark: it receives our latencies, and its options change no verdict."""

from __future__ import annotations

import json
import statistics

import pytest
from samples.pytest_runs import ENGINE, MEASURES

WITH_BENCHMARK = ("-o", "addopts=--strict-markers -p no:cacheprovider -p no:hypothesispytest")
FILE = ENGINE + MEASURES + "@pytest.mark.trt_budget('cpu', ms=1e-6)\n" + MEASURES.replace("test_m", "test_slow")


def test_benchmark_shows_and_stores_latencies_in_seconds(project, verdicts):
    project.makepyfile(test_m=FILE)
    result = project.runpytest_subprocess(
        *WITH_BENCHMARK, "--benchmark-json=b.json", "--benchmark-save=one", "--trt-baseline=off",
        "--trt-report=json-all:out.json",
    )  # fmt: skip
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["*benchmark: 2 tests*"])
    stored = json.loads((project.path / "b.json").read_text())["benchmarks"]
    ours = {r["node_id"]: r["measurement"] for r in json.loads((project.path / "out.json").read_text())["results"]}
    assert {b["fullname"] for b in stored} == set(ours)
    for benchmark in stored:
        measurement = ours[benchmark["fullname"]]
        latencies = [ms for probe in measurement["samples"] for block in probe["blocks"] for ms in block["times"]["ms"]]
        assert benchmark["stats"]["median"] == pytest.approx(statistics.median(latencies) / 1000)  # in seconds
        assert benchmark["extra_info"]["ms"] == measurement["figures"]["ms"]["value"]
        assert benchmark["extra_info"]["verdict"] in ("ok", "over_budget")
    result = project.runpytest_subprocess(
        *WITH_BENCHMARK, "--benchmark-compare=0001", "--benchmark-compare-fail=min:99999%"
    )
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["*NOW*"])


def test_benchmark_table_is_hidden_if_it_would_repeat_ours(project, monkeypatch):
    project.makepyfile(test_m=ENGINE + MEASURES)

    def has_table(*options):
        result = project.runpytest_subprocess(*WITH_BENCHMARK, "--trt-baseline=off", *options)
        result.assert_outcomes(passed=1 + (project.path / "test_other.py").exists())
        return "- benchmark: " in result.stdout.str()

    assert not has_table()
    assert has_table("--benchmark-columns=min,max")
    monkeypatch.setenv("PYTEST_ADDOPTS", "--benchmark-sort=name")
    assert has_table()
    monkeypatch.delenv("PYTEST_ADDOPTS")
    project.makepyfile(test_other="def test_other(benchmark):\n    benchmark(lambda: None)\n")
    assert has_table()


@pytest.mark.parametrize(
    "options",
    [
        ["--benchmark-skip"],
        ["--benchmark-only"],
        ["--benchmark-disable"],
        ["-p", "no:benchmark"],
        ["--benchmark-skip", "-n", "1"],
    ],
    ids=" ".join,
)
def test_benchmark_options_change_no_verdict(project, verdicts, options):
    project.makepyfile(test_m=FILE)
    project.runpytest_subprocess(*WITH_BENCHMARK, "--trt-baseline=off", *options).assert_outcomes(passed=1, failed=1)
    assert verdicts() == {"test_m": [], "test_slow": ["over_budget"]}


def test_xdist_warning_is_shown_once(project):
    project.makepyfile(test_m=FILE)
    result = project.runpytest_subprocess(*WITH_BENCHMARK, "-n", "2", "--benchmark-json=b.json")
    warning = (
        "pytest-benchmark writes nothing under xdist, so --benchmark-json had no effect: --trt-report=benchmark-json"
    )
    assert result.stdout.str().count(warning) == 1
    assert "pytest-benchmark writes" not in project.runpytest_subprocess(*WITH_BENCHMARK, "-n", "1").stdout.str()
