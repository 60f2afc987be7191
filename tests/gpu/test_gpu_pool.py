"""Test runs that use two GPUs of one host. With a single GPU they are skipped."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest
from gpu_workshop import conv_model

from pytest_trt.errors import BackendError
from pytest_trt.spec.settings import Settings
from pytest_trt.trial.bench import Bench

TESTS = """
import pytest
@pytest.mark.parametrize("number", range({tests}))
@pytest.mark.trt_engine("m.onnx", dims={{"N": (1, 4, 8)}}, optimization_level=1)
@pytest.mark.trt_matrix(batch=[4])
def test_m(trt_runner, number):
    trt_runner.measure()
"""


@pytest.fixture(scope="module")
def uuids() -> list[str]:
    """The UUIDs of the visible GPUs, in CUDA's order."""
    with Bench(Settings(backend="tensorrt", device=("all",))) as bench:
        found = [str(card.device_uuid) for card in bench.pool.alike("tensorrt")]
    if len(found) < 2:
        pytest.skip(f"needs two GPUs that are alike: there is {len(found)}")
    return found


@pytest.fixture
def run(tmp_path: Path, workshop: object) -> Callable[..., list[dict[str, Any]]]:
    """Return a function that runs tests of one engine in a pytest of its own, and returns their measurements."""
    onnx.save(conv_model(), str(tmp_path / "m.onnx"))
    (tmp_path / "pytest.ini").write_text("[pytest]\ntrt_backend = tensorrt\ntrt_max_time = 0.3\ntrt_baseline = off\n")

    def run_tests(*options: str, tests: int = 1, **environment: str) -> list[dict[str, Any]]:
        (tmp_path / "test_m.py").write_text(TESTS.format(tests=tests))
        command = [sys.executable, "-m", "pytest", "-q", "--trt-report=json:run.json", "--trt-cache-dir=cache"]
        process = subprocess.run(
            [*command, *options], cwd=tmp_path, env={**os.environ, **environment}, capture_output=True, text=True,
            check=False,
        )  # fmt: skip
        assert process.returncode == 0, process.stdout + process.stderr
        return [result["measurement"] for result in json.loads((tmp_path / "run.json").read_text())["results"]]

    return run_tests


def test_a_card_is_chosen_by_number_and_by_uuid(run, uuids) -> None:
    assert run("--trt-device=1")[0]["environment"]["device_uuid"] == uuids[1]
    assert run(f"--trt-device={uuids[1][:12]}")[0]["environment"]["device_uuid"] == uuids[1]


def test_the_record_of_a_card_agrees_with_the_kernel(run, uuids) -> None:
    environment = run("--trt-device=1")[0]["environment"]
    card = Path("/sys/bus/pci/devices") / environment["pci_address"]
    assert environment["power_limit_w"] > 0
    if card.is_dir():
        assert (card / "vendor").read_text().strip() == "0x10de"
        node = int((card / "numa_node").read_text())
        assert environment["numa_node"] == (node if node >= 0 else None)


def test_workers_use_both_cards_and_nothing_that_is_hidden(run, uuids) -> None:
    pytest.importorskip("xdist", reason="needs pytest-xdist")
    both = run("-n", "2", "--trt-device=all", tests=8)
    assert {one["environment"]["device_uuid"] for one in both} == set(uuids)
    hidden = run("-n", "2", "--trt-device=all", tests=4, CUDA_VISIBLE_DEVICES=uuids[1])
    assert {one["environment"]["device_uuid"] for one in hidden} == {uuids[1]}
    first = run("--trt-device=0", CUDA_VISIBLE_DEVICES="1")
    assert first[0]["environment"]["device_uuid"] == uuids[1], "numbers count within what is visible"


def test_a_probe_sees_only_its_card(uuids) -> None:
    with Bench(Settings(backend="tensorrt", device=("1",))) as bench:
        card = bench.environment("tensorrt")
        with bench.server("tensorrt", card).fork() as probe:
            (seen,) = probe.call("environments", timeout_s=120, name="tensorrt")[0]["found"]
            cpus = os.sched_getaffinity(probe.pid)
    assert seen["device_uuid"] == uuids[1]
    assert cpus <= os.sched_getaffinity(0)


def test_an_engine_is_built_on_each_card_at_once(run, uuids) -> None:
    assert run("--trt-prebuild", "--trt-device=all")[0]["built"] is False


def test_a_card_that_is_not_visible_is_an_error(uuids, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", uuids[0])
    with Bench(Settings(backend="tensorrt", device=(uuids[1],))) as bench, pytest.raises(BackendError, match="visible"):
        bench.environment("tensorrt")
