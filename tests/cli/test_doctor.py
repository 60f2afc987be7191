"""Test `pytest-trt doctor` on any machine."""

from __future__ import annotations

import importlib.metadata
import sys

import pytest
from samples.energy import ClockMeter

from pytest_trt.cli import doctor, main
from pytest_trt.engine.backends import cuda
from pytest_trt.trial import energy


def test_doctor_reports_installed_and_working_backends(capsys):
    assert main.main(["doctor"]) == 0
    text = capsys.readouterr().out
    assert f"onnxruntime {importlib.metadata.version('onnxruntime')}" in text
    assert "onnxruntime: works on" in text
    assert "sources of noise:" in text
    assert "Traceback" not in text


@pytest.mark.skipif(cuda.reason_unusable() is None, reason="needs a machine without a GPU")
def test_doctor_tells_how_energy_can_be_measured(capsys, monkeypatch):
    monkeypatch.setattr(energy, "RaplMeter", lambda: ClockMeter(50.0))
    main.main(["doctor"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[lines.index("energy of an inference:") + 1] == "  counted by clock"


def test_every_backend_has_a_line(capsys):
    main.main(["doctor"])
    lines = capsys.readouterr().out.splitlines()
    for name in doctor.CHECKED:
        assert any(line.startswith(f"  {name}: ") for line in lines)


def test_exit_status_is_1_if_no_backend_works(capsys, monkeypatch):
    monkeypatch.setattr("pytest_trt.trial.hosts.local.is_installed", lambda *arguments: False)
    assert main.main(["doctor"]) == 1
    assert "nothing that runs engines is installed" in capsys.readouterr().out


def test_invalid_device_exits_with_2(capsys):
    assert main.main(["doctor", "--device=0-3"]) == 2
    assert "--device is '0-3': give 'all', or a list of numbers" in capsys.readouterr().err


@pytest.mark.parametrize("argument", ["--device", "--host"])
def test_option_without_a_value_exits_with_2(argument):
    with pytest.raises(SystemExit) as status:
        main.main(["doctor", argument])
    assert status.value.code == 2


def test_each_host_elsewhere_has_a_section(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pytest.ini").write_text(f"[pytest]\ntrt_hosts =\n    exec:{sys.executable}\n    exec:false\n")
    assert main.main(["doctor"]) == 1, "one of them cannot be reached"
    text = capsys.readouterr().out
    assert f"host {sys.executable}:\nbackends:\n" in text
    assert "onnxruntime: works on" in text
    assert "host false:\n  host false: the command ended with status 1 before Python had started\n" in text
