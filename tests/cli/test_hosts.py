"""Test the commands on a machine whose ini file names a host elsewhere."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from samples.runs import Run

from pytest_trt.cli.main import main
from pytest_trt.trial import probe_spread


@pytest.fixture
def host(run: Run, tmp_path: Path, save_model) -> str:
    """The name of a host with an engine cache of its own, which the ini file names, in a folder with a model."""
    save_model()
    script = tmp_path / "host"
    script.write_text(f'#!/bin/sh\nexport XDG_CACHE_HOME={tmp_path}/there\nexec {sys.executable} "$@"\n')
    script.chmod(0o755)
    Path("pytest.ini").write_text("[pytest]\ntrt_backend = onnxruntime\ntrt_hosts =\n    exec:./host\n")
    return "./host"


def test_engines_of_commands_are_built_and_run_on_the_host(run: Run, host: str, tmp_path: Path) -> None:
    status, out, _ = run("explore", "m.onnx", "--batch=4")
    assert (status, f", host {host}" in out) == (0, True)
    assert len(list(tmp_path.glob("there/pytest-trt/*/plan"))) == 1
    assert not list(tmp_path.glob("cache/pytest-trt/*/plan"))
    assert f", host {host}" not in run("explore", "m.onnx", "--batch=4", "--host=off")[1]
    status, out, _ = run("cache", "clear")
    here, there = out.split(f"host {host}:\n")
    assert here.startswith("this host:\nremoved ")
    assert there.endswith("2 removed, 0.0 MB freed\n"), "the engine, and the model that was sent"
    assert not list(tmp_path.glob("*/pytest-trt/*/plan"))


def test_interpreters_that_ab_names_are_those_of_the_host(run: Run, host: str, tmp_path: Path) -> None:
    limits = ("--max-slowdown=90%", "--max-time=1", "--batch=4", "--gate=host_mb=off")
    status, out, _ = run("ab", "m.onnx", f"--b-python={sys.executable}", *limits)
    assert status in (0, 125)
    assert f"Python {sys.version.split()[0]} ({host}): " in out
    assert f" ({sys.executable} on {host}): " in out
    status, _, error = run("ab", "m.onnx", "--b-python=/no/python", *limits)
    assert status == 2
    assert f"B (/no/python on {host}): host {host}: the interpreter /no/python cannot be started" in error
    status, _, error = run("ab", "m.onnx", "--host=ray", *limits)
    assert (status, "each link to Ray leads to a card of its own" in error) == (2, True)


def test_backends_measures_on_the_host_and_compares_here(run: Run, host: str, tmp_path: Path) -> None:
    chosen = ("--backends=onnxruntime", "--precisions=fp32", "--max-time=0.1", "--batch=4")
    status, out, _ = run("backends", "m.onnx", *chosen)
    assert (status, f", host {host}" in out) == (0, True)
    status, _, error = run("backends", "m.onnx", "--torch=module:function", *chosen)
    assert (status, "add --host=off" in error) == (2, True)


def test_a_backend_of_the_host_reads_the_file_that_inspect_shows(run: Run, host: str) -> None:
    status, out, _ = run("inspect", "m.onnx", "--backend=onnxruntime")
    assert (status, "takes it" in out) == (0, True)
    status, _, error = run("inspect", "m.onnx", "--backend=onnxruntime", "--host=exec:false")
    assert (status, error.count("\n")) == (2, 1)
    assert "host false: the command ended with status 1 before Python had started" in error


def test_a_calibration_stays_here_and_is_found_again(run: Run, host: str, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(probe_spread, "BLOCKS_S", 0.01)
    for pairs in (4, 8):
        status, out, _ = run("calibrate", "m.onnx", "--batch=4", "--pairs=4")
        assert status == 0
        (found,) = tmp_path.glob("*/pytest-trt/calibration/*")
        assert found.is_relative_to(tmp_path / "cache")
        assert f"({found})" in out
        assert found.read_text().count(",") >= pairs


def test_a_cache_of_a_host_that_cannot_be_reached_is_named(run: Run) -> None:
    status, out, error = run("cache", "list", "--host=exec:false")
    assert status == 2
    assert "this host:\ntotal: 0" in out
    assert error == "host false: the command ended with status 1 before Python had started\n"


def test_a_project_that_is_begun_with_a_host_names_it(run: Run, tmp_path: Path, save_model) -> None:
    (tmp_path / "app").mkdir()
    save_model(folder=tmp_path / "app")
    address = f"exec:{sys.executable}"
    Path("pytest.ini").unlink()
    command = ["init", "app", f"--host={address}", "--backend=onnxruntime", "--max-time=0.1"]
    assert main(command) == 0
    assert f"trt_hosts =\n    {address}\n" in Path("app/pytest.ini").read_text()
