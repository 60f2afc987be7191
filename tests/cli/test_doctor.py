"""`pytest-trt doctor` on whatever machine this is."""

from __future__ import annotations

import importlib.metadata

import pytest

from pytest_trt.cli import doctor, main


def test_it_says_what_is_installed_and_what_runs(capsys):
    assert main.main(["doctor"]) == 0
    text = capsys.readouterr().out
    assert f"onnxruntime {importlib.metadata.version('onnxruntime')}" in text
    assert "onnxruntime: works on" in text
    assert "sources of noise:" in text
    assert "Traceback" not in text


def test_every_backend_gets_a_line_installed_or_not(capsys):
    main.main(["doctor"])
    lines = capsys.readouterr().out.splitlines()
    for name in doctor.CHECKED:
        assert any(line.startswith(f"  {name}: ") for line in lines)


def test_a_machine_on_which_nothing_runs_is_told_by_the_exit_status(capsys, monkeypatch):
    monkeypatch.setattr(doctor, "is_installed", lambda *given: False)
    monkeypatch.setattr("pytest_trt.trial.bench.is_installed", lambda *given: False)
    assert main.main(["doctor"]) == 1
    assert "nothing that runs engines is installed" in capsys.readouterr().out


def test_what_is_no_device_is_refused(capsys):
    assert main.main(["doctor", "--device=first"]) == 2
    assert "--device is 'first': give a GPU's number, or its UUID" in capsys.readouterr().err


@pytest.mark.parametrize("argument", ["--device"])
def test_an_option_without_its_value_is_a_usage_error(argument):
    with pytest.raises(SystemExit) as status:
        main.main(["doctor", argument])
    assert status.value.code == 2
