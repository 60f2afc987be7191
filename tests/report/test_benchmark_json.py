"""Test the JSON of pytest-benchmark, also with pytest-benchmark itself."""

from __future__ import annotations

import dataclasses
import json
import statistics
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from samples import TESTS_FOLDER
from samples.reports import RUN, result, text, unmeasured

from pytest_trt.core.records import Estimate, Result
from pytest_trt.report.benchmark_json import fill_fixture, latencies_s

pytest_plugins = ["pytester"]

TEST_FILE = """
    from samples.reports import RUN
    from pytest_trt.report.benchmark_json import fill_fixture

    def test_filled(benchmark):
        {before}
        assert fill_fixture(benchmark, RUN[0]) is {filled}
"""


def compare(*files: Path, columns: str = "median,rounds") -> str:
    command = [sys.executable, "-m", "pytest_benchmark", "compare", "--columns", columns, "--sort=name"]
    done = subprocess.run([*command, *map(str, files)], capture_output=True, text=True, cwd=files[0].parent, check=True)
    assert "Failed to load" not in done.stderr
    return done.stdout


def test_pytest_benchmark_compares_two_of_our_files(tmp_path: Path) -> None:
    old, new = tmp_path / "old.json", tmp_path / "new.json"
    old.write_text(text("benchmark-json", RUN), encoding="utf-8")
    new.write_text(text("benchmark-json", [result("test_resnet18[fp16-b1]", ms=0.544)]), encoding="utf-8")
    table = compare(old, new)
    assert "test_encoder[fp16-b1]" in table
    row = next(line for line in table.splitlines() if "test_resnet18[fp16-b1]" in line and "new" in line)
    assert "544." in row
    assert "320" in row


def test_contains_the_fields_that_other_tools_read() -> None:
    """github-action-benchmark (src/extract.ts) and Bencher (adapters/python/pytest.rs) read these, and no others."""
    document = json.loads(text("benchmark-json", [*RUN, unmeasured("test_lost")]))
    assert isinstance(document["machine_info"], dict)
    assert isinstance(document["commit_info"], dict)
    assert document["commit_info"]["id"].startswith("a1b2c3d4e5")
    assert [b["fullname"] for b in document["benchmarks"]] == [r.node_id for r in RUN]
    stats = document["benchmarks"][0]["stats"]
    latencies = latencies_s(RUN[0].measurement)
    assert stats["median"] == statistics.median(latencies) == pytest.approx(0.000272, rel=0.01)
    assert stats["mean"] == pytest.approx(statistics.fmean(latencies))
    assert stats["stddev"] == pytest.approx(statistics.stdev(latencies))
    assert stats["ops"] == pytest.approx(1 / stats["mean"])
    assert stats["rounds"] == len(latencies) == len(stats["data"]) == 320
    assert 0 < stats["iqr"] < stats["max"] - stats["min"]


def test_has_the_keys_of_a_file_of_pytest_benchmark(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("def test_own(benchmark): benchmark.pedantic(abs, (1,), rounds=3)")
    pytester.runpytest_inprocess("-p", "no:trt", "--benchmark-json=own.json")
    own, ours = json.loads(Path("own.json").read_text(encoding="utf-8")), json.loads(text("benchmark-json", RUN))
    assert own.keys() == ours.keys()
    assert own["commit_info"].keys() == ours["commit_info"].keys()
    assert own["benchmarks"][0].keys() == ours["benchmarks"][0].keys()
    assert own["benchmarks"][0]["stats"].keys() == ours["benchmarks"][0]["stats"].keys()


def test_names_parameters_and_figures() -> None:
    [benchmark] = json.loads(text("benchmark-json", [result("TestA::test_a[x::y-b1]")]))["benchmarks"]
    assert benchmark["name"] == "test_a[x::y-b1]"
    assert benchmark["param"] == "x::y-b1"
    assert benchmark["extra_info"]["memory_mb"] == 628.4
    assert benchmark["extra_info"]["device"] == "NVIDIA H200"
    [plain] = json.loads(text("benchmark-json", [result("test_a")]))["benchmarks"]
    assert (plain["name"], plain["param"]) == ("test_a", None)


def test_without_samples_only_the_median_is_written() -> None:
    sample = RUN[0]
    assert sample.measurement is not None
    bare = dataclasses.replace(sample.measurement, samples=(), figures={"ms": Estimate.exact(2.0)})
    assert latencies_s(bare) == [0.002]
    nothing = dataclasses.replace(bare, figures={})
    assert json.loads(text("benchmark-json", [dataclasses.replace(sample, measurement=nothing)]))["benchmarks"] == []


@pytest.fixture
def run(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Callable[..., pytest.RunResult]:
    def run(*options: str, filled: bool, before: str = "pass") -> pytest.RunResult:
        monkeypatch.setenv("PYTHONPATH", str(TESTS_FOLDER))
        pytester.makepyfile(TEST_FILE.format(filled=filled, before=before))
        return pytester.runpytest_inprocess("-p", "no:trt", "-p", "no:cacheprovider", *options)

    return run


def test_table_and_file_of_pytest_benchmark_show_our_latencies(run: Callable[..., pytest.RunResult]) -> None:
    done = run("--benchmark-json=filled.json", "--benchmark-columns=median,rounds", filled=True)
    done.assert_outcomes(passed=1)
    done.stdout.re_match_lines([r"test_filled +272\.\d+ +320"])
    [benchmark] = json.loads(Path("filled.json").read_text(encoding="utf-8"))["benchmarks"]
    assert benchmark["stats"]["data"] == latencies_s(RUN[0].measurement)
    assert benchmark["extra_info"]["verdict"] == "ok"
    assert benchmark["extra_info"]["throughput"] == pytest.approx(1000 / 0.272)


def test_disabled_benchmark_fixture_is_not_filled(run: Callable[..., pytest.RunResult]) -> None:
    run("--benchmark-disable", filled=False).assert_outcomes(passed=1)


def test_used_benchmark_fixture_is_not_filled(run: Callable[..., pytest.RunResult]) -> None:
    done = run("--benchmark-columns=rounds", before="benchmark.pedantic(abs, (1,), rounds=3)", filled=False)
    done.assert_outcomes(passed=1)
    done.stdout.re_match_lines([r"test_filled +3"])


def test_unknown_benchmark_fixture_is_not_filled() -> None:
    class Unknown:
        enabled = True

    assert not fill_fixture(Unknown(), RUN[0])
    assert not fill_fixture(Unknown(), Result("a.py::test_a", ()))
    assert vars(Unknown()) == {}
