import json
import os
import time

import isolated_engine
import placement
import placement_report
import pytest


def test_child_returns_a_value_or_raises_its_error():
    assert isolated_engine.child(lambda: [1.5, "x"]) == [1.5, "x"]
    with pytest.raises(RuntimeError, match="ValueError: no such thing"):
        isolated_engine.child(lambda: (_ for _ in ()).throw(ValueError("no such thing")))


def test_child_has_its_own_environment(monkeypatch):
    monkeypatch.setenv("CUDA_MODULE_LOADING", "LAZY")
    assert isolated_engine.child(lambda: os.environ["CUDA_MODULE_LOADING"], {"CUDA_MODULE_LOADING": "EAGER"}) == "EAGER"
    assert os.environ["CUDA_MODULE_LOADING"] == "LAZY"


def test_child_that_hangs_or_dies_is_an_error():
    with pytest.raises(RuntimeError, match=r"within 0\.2 s"):
        isolated_engine.child(lambda: time.sleep(60), timeout_s=0.2)
    with pytest.raises(RuntimeError, match="ended without an answer"):
        isolated_engine.child(lambda: os.kill(os.getpid(), 9))


def test_failed_experiment_is_recorded_and_earlier_results_are_kept(tmp_path, monkeypatch, capsys):
    def experiment(_study):
        yield "first", [1.0, 1.1], None
        raise OSError("no more")

    study = placement.Study("small", None, None, 10)
    study.fresh_ms = 1.0
    report = placement_report.Report(tmp_path, {"device": "a card"}, placement.EXPERIMENTS)
    monkeypatch.setitem(placement.EXPERIMENTS, "load order", experiment)
    placement.ask(study, "load order", report, lambda: {"sm_mhz": 1980.0})
    first, failed = json.loads((tmp_path / "placement.json").read_text())["rows"]
    assert (first["values"], first["state"], failed["error"]) == ([1.0, 1.1], {"sm_mhz": 1980.0}, "OSError: no more")
    text = (tmp_path / "placement.md").read_text()
    assert "| small | first | 1.0500 | +5.00% | 10.00% | 1.0000 1.1000 |" in text
    assert "failed: OSError: no more" in text
    assert "first" in capsys.readouterr().out
