"""Test the spread between probes: measured, stored, and used."""

from __future__ import annotations

import dataclasses
import json
import math

import pytest

from pytest_trt.cli import main
from pytest_trt.core.engine_noise import PairedMedians
from pytest_trt.core.records import Environment
from pytest_trt.errors import CacheError
from pytest_trt.measure.figures import DEFAULT_PROBE_SPREAD
from pytest_trt.trial import probe_spread
from pytest_trt.trial.probe_spread import Calibration, ProbeSpread

GPU = Environment("NVIDIA H200", "gpu", "tensorrt", "8.6.0")


def test_default_spread_without_a_calibration(tmp_path):
    assert probe_spread.spread_of(tmp_path, GPU) == ProbeSpread(0.01, 0.01, calibrated=False)


def test_calibration_is_stored_per_device_and_backend(tmp_path):
    known = Calibration(GPU.device).with_more((0.001, -0.001, 0.0005, 0.0))
    probe_spread.save(tmp_path, GPU, known)
    assert probe_spread.load(tmp_path, GPU) == known
    assert probe_spread.spread_of(tmp_path, GPU).calibrated
    assert probe_spread.spread_of(tmp_path, GPU).share > known.spread  # of another engine, it shows less
    other = Environment("NVIDIA H200", "gpu", "tensorrt", "8.6.0", mig_profile="1g.18gb")
    assert probe_spread.spread_of(tmp_path, other) == ProbeSpread(0.01, 0.01, calibrated=False)


def test_calibration_is_stored_per_card(tmp_path):
    one, other = (dataclasses.replace(GPU, device_uuid=f"GPU-{name * 8}") for name in "ab")
    probe_spread.save(tmp_path, GPU, Calibration(GPU.device, (0.001, -0.001)))
    assert probe_spread.load(tmp_path, one).differences == (0.001, -0.001)  # from before cards were told apart
    probe_spread.save(tmp_path, one, Calibration(GPU.device, (0.002,)))
    assert probe_spread.load(tmp_path, one).differences == (0.002,)
    assert probe_spread.load(tmp_path, other).differences == (0.001, -0.001)


def test_comparisons_narrow_the_spread_of_their_engine_most(tmp_path):
    for number in range(20):
        noise = 0.0002 * (-1) ** number
        probe_spread.learn(tmp_path, GPU, "engine", PairedMedians((0.01 + noise, 0.01)))
        probe_spread.learn(tmp_path, GPU, "engine", PairedMedians((0.5,)))  # one pair shows nothing
    own, other = (probe_spread.spread_of(tmp_path, GPU, name) for name in ("engine", "another"))
    assert own.calibrated
    assert own.share < other.share < 0.01
    assert own.open_order_effect < other.open_order_effect == 0.01


def test_only_the_engines_that_were_compared_last_are_kept():
    known = Calibration("x")
    for number in range(probe_spread.MAX_ENGINES + 1):
        known = known.with_comparison(str(number), PairedMedians((0.001, 0.0)))
        known = known.with_comparison("first", PairedMedians((0.001, 0.0)))
    assert len(known.engines) == probe_spread.MAX_ENGINES
    assert {"first", str(probe_spread.MAX_ENGINES)} <= known.engines.keys()
    assert "0" not in known.engines


def test_a_lone_pair_of_an_engine_counts_as_often_as_its_own_pairs_allow():
    known = Calibration("GPU")
    for _ in range(5):
        known = known.with_comparison("engine", PairedMedians((0.001, 0.0)))
    assert known.engines["engine"].freedom == 4
    assert known.spread_of("engine", "gpu").lone_pair == 1.5
    assert known.spread_of("another", "gpu").lone_pair == Calibration("GPU").spread_of("engine", "gpu").lone_pair == 2


def test_more_pairs_narrow_the_spread_and_only_the_last_are_kept():
    scatter = tuple(0.001 * (-1) ** i for i in range(100))
    few, many = Calibration("x", scatter[:3]), Calibration("x").with_more(scatter)
    assert many.spread < few.spread
    assert len(many.differences) == probe_spread.MAX_PAIRS
    assert many.spread > 0.001


def test_unreadable_calibration_is_an_error(tmp_path):
    path = probe_spread.save(tmp_path, GPU, Calibration(GPU.device, (0.1, 0.2)))
    path.write_text('{"device": "x", "differences": ["a"]}')
    with pytest.raises(CacheError, match=r"differences\[0\].*remove it and calibrate again"):
        probe_spread.spread_of(tmp_path, GPU)


def test_calibrate_command_measures_pairs_of_real_probes(save_model, tmp_path, capsys, monkeypatch):
    model = save_model()
    cache = tmp_path / "cache"
    arguments = ["calibrate", str(model), "--batch=4", "--pairs=4", "--backend=onnxruntime", f"--cache-dir={cache}"]
    assert main.main(arguments) == 0
    assert "two probes of one plan differ by at most" in capsys.readouterr().out
    (found,) = (cache / "calibration").iterdir()
    assert math.isfinite(Calibration(**json.loads(found.read_text())).spread)
    monkeypatch.setitem(DEFAULT_PROBE_SPREAD, "cpu", 0.0)
    assert main.main(arguments) == 0
    assert f"remove {found} and calibrate again" in capsys.readouterr().out
    assert len(json.loads(found.read_text())["differences"]) == 8


@pytest.mark.parametrize(
    ("extra", "message"),
    [(["--pairs=1"], "--pairs is 1"), (["--dims=S"], "--dims is 'S'"), (["--precision=fp17"], "precision is 'fp17'")],
)
def test_invalid_arguments_of_calibrate(extra, message, tmp_path, capsys):
    assert main.main(["calibrate", "m.onnx", "--backend=onnxruntime", f"--cache-dir={tmp_path}", *extra]) == 2
    assert message in capsys.readouterr().err


def test_assumed_spread_names_the_command_that_measures_it():
    (advice,) = ProbeSpread(0.01, 0.01, calibrated=False).advice()
    assert advice == "two processes are assumed to differ by 2 %: pytest-trt calibrate measures it"
    assert (
        ProbeSpread(0.1, 0.0, calibrated=False).advice()[0].startswith("two processes are assumed to differ by 10 %: ")
    )
    assert ProbeSpread(0.004, 0.002).advice() == ()


def test_widest_spread_covers_both_environments():
    wide, narrow = ProbeSpread(0.1, 0.001, calibrated=False), ProbeSpread(0.002, 0.003)
    assert wide.widest(narrow) == ProbeSpread(0.1, 0.003, calibrated=False)


@pytest.mark.parametrize("difference", [1e300, -1e200, 7.0])
def test_calibration_with_an_impossible_difference_is_an_error(tmp_path, difference):
    """The square of 1e200 overflows, and the interval would have no end."""
    probe_spread.save(tmp_path, GPU, Calibration(GPU.device, (0.001, difference)))
    with pytest.raises(CacheError, match=r"has differences\[1\] = .* never differ by a factor above 1000: remove it"):
        probe_spread.spread_of(tmp_path, GPU)


def test_calibration_of_another_device_is_an_error(tmp_path):
    probe_spread.save(tmp_path, GPU, Calibration("NVIDIA L4", (0.001, 0.002)))
    with pytest.raises(CacheError, match=r"is of the device 'NVIDIA L4', not of 'NVIDIA H200': remove it"):
        probe_spread.spread_of(tmp_path, GPU)


@pytest.mark.parametrize("content", ["[" * 100_000, " " * 100_000, "", "\udcff"])
def test_hostile_calibration_is_an_error(tmp_path, content):
    path = probe_spread.save(tmp_path, GPU, Calibration(GPU.device))
    path.write_text(content, errors="surrogateescape")
    with pytest.raises(CacheError, match="remove it and calibrate again"):
        probe_spread.load(tmp_path, GPU)
