"""Test the self-test: on simulated engines, on ONNX Runtime, and its file."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from samples.records import H200, measurement

from pytest_trt.cli import main
from pytest_trt.cli.selftest import read_slowdowns
from pytest_trt.core.records import Block, Estimate, Result, Verdict
from pytest_trt.core.selftest_record import SelftestRecord, SlowdownCount
from pytest_trt.errors import CacheError
from pytest_trt.judge.regression.question import RegressionQuestion
from pytest_trt.measure.engine_probe import Subject
from pytest_trt.measure.run import MeasuredRun
from pytest_trt.measure.sampler import Limits, sample
from pytest_trt.plugin import summary
from pytest_trt.report.header import Header, RunHead
from pytest_trt.report.write import write
from pytest_trt.spec.declaration import PipelineOptions
from pytest_trt.spec.engine_spec import EngineSpec
from pytest_trt.spec.settings import Settings
from pytest_trt.trial import selftest
from pytest_trt.trial.selftest import Selftest

SUBJECT = Subject(Path("m.plan"), "0", EngineSpec(path="m.onnx"), {}, PipelineOptions())
BASE_MS = 2.0
RUN = RunHead("0.1.0", ("pytest",), "host", "project", "2026-11-30T12:00:00+00:00")


class SimulatedSource:
    """Blocks of two sides that scatter by 0.1 %."""

    sides = 2
    levels = ("block",)

    def __init__(self, latencies: list[float], generator: np.random.Generator) -> None:
        self._latencies, self._generator = latencies, generator
        self.sides = len(latencies)

    def next_block(self, side: int, *, kept: bool = True) -> Block:
        return Block({"ms": (self._latencies[side] * math.exp(self._generator.normal(0, 0.001)),)}, 0.02)

    def renew(self) -> None:
        raise AssertionError("there is no probe level")


class SimulatedDevice:
    """Measures 2 ms plus the delay of a subject times `effect`."""

    def __init__(self, effect: float, swapped: bool) -> None:
        self._effect, self._swapped, self._generator = effect, swapped, np.random.default_rng(0)

    def measure(self, sides: Any, rule: Any, **options: Any) -> MeasuredRun:
        latencies = [BASE_MS + self._effect * subject.delay_ms for _server, subject in sides]
        if self._swapped:
            latencies.reverse()
        sampling = sample(SimulatedSource(latencies, self._generator), rule, Limits(max_time_s=2.0))
        return MeasuredRun(sampling, {"ms": Estimate.exact(latencies[0])}, {})


def run_selftest(
    effect: float = 1.0, tolerance: float = 0.05, comparisons: int = 4, *, swapped: bool = False
) -> Selftest:
    device: Any = SimulatedDevice(effect, swapped)
    question = RegressionQuestion(tolerance=tolerance, spread=0.0)
    server: Any = None
    return Selftest(device, server, SUBJECT, question, comparisons=comparisons)


def test_a_slowdown_beyond_the_tolerance_is_caught_in_the_right_direction() -> None:
    found = run_selftest().slowed(0.1)
    assert dataclasses.replace(found, measured=None) == SlowdownCount(
        share=0.1, measured=None, slower=2, caught=2, faster=2, inverted=0, inconclusive=0
    )
    assert found.measured == pytest.approx(0.1, abs=0.005)


def test_a_slowdown_within_the_tolerance_passes() -> None:
    found = run_selftest().slowed(0.02)
    assert (found.caught, found.inverted, found.inconclusive) == (0, 0, 0)


def test_a_judge_that_mistakes_the_sides_is_seen() -> None:
    found = run_selftest(swapped=True).slowed(0.25)
    assert (found.caught, found.inverted) == (0, 4)
    assert found.measured == pytest.approx(1 / 1.25 - 1, abs=0.01)


@pytest.mark.parametrize("effect", [0.3, 1.0, 2.5])
def test_a_delay_that_adds_more_or_less_than_its_time_is_corrected(effect: float) -> None:
    assert run_selftest(effect=effect).slowed(0.1).measured == pytest.approx(0.1, abs=0.005)


def test_an_engine_is_like_itself() -> None:
    assert run_selftest(comparisons=5).same() == {"ok": 5}


def record(**changes: Any) -> SelftestRecord:
    base = SelftestRecord(
        device=H200.device,
        model="m.onnx",
        time="2026-11-30T12:00:00+00:00",
        tolerance=0.05,
        max_time_s=10.0,
        same=4,
        false_alarms=0,
        same_inconclusive=0,
        slowdowns=(run_selftest().slowed(0.1),),
        tests=1,
        unable=(("test_a", "no budget and no baseline"),),
    )
    return dataclasses.replace(base, **changes)


def test_a_selftest_is_stored_per_device_and_backend(tmp_path: Path) -> None:
    assert selftest.load(tmp_path, H200) is None
    path = selftest.save(tmp_path, H200, record())
    assert selftest.load(tmp_path, H200) == record()
    assert selftest.load(tmp_path, dataclasses.replace(H200, backend="onnxruntime")) is None
    path.write_text(json.dumps({**json.loads(path.read_text()), "device": "another"}))
    with pytest.raises(CacheError, match=r"is of the device 'another'.*run pytest-trt selftest again"):
        selftest.load(tmp_path, H200)
    path.write_text("[1")
    with pytest.raises(CacheError, match="run pytest-trt selftest again"):
        selftest.load(tmp_path, H200)


def test_the_reports_of_a_run_name_the_last_selftest_of_the_device(tmp_path: Path) -> None:
    results = [Result("test_a", (Verdict("ok", "budget", "ms", "fine"),), measurement(0.3, "test_a"))]
    settings = Settings(cache_dir=str(tmp_path / "cache"), reports=(("md", "run.md"),), rootdir=str(tmp_path))

    def report(settings: Settings) -> str:
        assert summary.write_reports(results, settings, None, RUN)[1] == []
        return (tmp_path / "run.md").read_text()

    assert "self-test" not in report(settings)
    (tmp_path / "cache").mkdir()
    path = selftest.save(tmp_path / "cache", H200, record())
    assert "self-test of 2026-11-30 (m.onnx): catches +10 %; no false of 4 alike; 1 test cannot fail" in report(
        settings
    )
    assert "self-test" not in report(dataclasses.replace(settings, no_cache=True))
    path.write_text("{}")
    assert "run pytest-trt selftest again" in report(settings)


def test_the_command_measures_known_slowdowns_of_a_real_engine(
    save_model: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_file, cache = tmp_path / "run.json", tmp_path / "cache"
    new = Result("test_new", (Verdict("new", "baseline", "ms", "no baseline"),))
    write("json", run_file, [new, Result("test_ok", (Verdict("ok", "budget", "ms", "fine"),))], Header("", ""))
    arguments = ["--batch=4", "--backend=onnxruntime", f"--cache-dir={cache}", "--comparisons=2", "--max-time=0.5"]
    limits = ["--max-slowdown=90%", "--slowdown=x100", f"--from={run_file}"]
    assert main.main(["selftest", str(save_model()), *arguments, *limits]) in (0, 1, 125)  # as quiet as the machine is
    out = capsys.readouterr().out
    assert "  x100: caught in " in out
    assert "1 of 2 tests of the last run cannot fail\n  test_new: no budget and no baseline" in out
    (stored,) = (cache / "calibration").iterdir()
    (slowdown,) = json.loads(stored.read_text())["slowdowns"]
    assert (slowdown["slower"], slowdown["faster"], slowdown["share"]) == (1, 1, 99.0)
    assert slowdown["measured"] > 1  # a delay of 99 times the latency is longer than any noise that is bearable


@pytest.mark.parametrize(
    ("tolerance", "expected"),
    [
        (0.05, (0.01, 0.1, 1.0)),
        (0.01, (0.02, 0.05, 1.0)),
        (0.055, (0.01, 0.11, 1.0)),
        (0.07, (0.01, 0.05, 0.14, 1.0)),
        (0.0, (0.01, 0.05, 0.1, 1.0)),
    ],
)
def test_no_default_slowdown_lies_at_the_tolerance_where_nothing_is_decided(
    tolerance: float, expected: tuple[float, ...]
) -> None:
    assert read_slowdowns([], tolerance) == pytest.approx(expected)
    assert read_slowdowns(["5%", "x2", "5%"], tolerance) == (0.05, 1.0)


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (["--comparisons=1"], "--comparisons is 1: give a number from 2 to 1000"),
        (["--comparisons=1001"], "--comparisons is 1001"),
        (["--slowdown=0%"], "--slowdown is '0%': write a share such as 3%, or a factor"),
        (["--slowdown=x1"], "--slowdown is 'x1': write a share"),
        (["--slowdown=x1e9"], "--slowdown is 'x1e9': write a share"),
        (["--slowdown=xnan"], "--slowdown is 'xnan'"),
        (["--slowdown=fast"], "--slowdown is 'fast': write a share such as '3%' or 0.03"),
        (["--slowdown=-3%"], "--slowdown is '-3%'"),
        (["--max-slowdown=5"], "--max-slowdown is '5': did you mean '5%'?"),
        (["--precision=fp17"], "precision is 'fp17'"),
        (["--from=absent.json"], "absent.json cannot be read"),
    ],
)
def test_invalid_arguments_are_named(
    extra: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main.main(["selftest", "m.onnx", "--backend=onnxruntime", f"--cache-dir={tmp_path}", *extra]) == 2
    assert message in capsys.readouterr().err


def test_a_missing_model_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["selftest", "absent.onnx", "--backend=onnxruntime", f"--cache-dir={tmp_path}"]) == 2
    assert "absent.onnx" in capsys.readouterr().err
