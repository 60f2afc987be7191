"""Test runs that use two GPUs of one host. With a single GPU they are skipped."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest
from gpu_workshop import Workshop, chain_model, conv_model

from pytest_trt.errors import BackendError
from pytest_trt.spec.settings import Settings
from pytest_trt.trial.bench import Bench

Run = Callable[..., list[dict[str, Any]]]
TESTS = """
import pytest
@pytest.mark.parametrize("number", range({tests}))
@pytest.mark.trt_engine("conv.onnx", dims={{"N": (1, 4, 8)}}, optimization_level=1)
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
def run(project: pytest.Pytester, workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Return a function that runs tests of one engine, and returns their measurements."""
    onnx.save(conv_model(), str(project.path / "conv.onnx"))
    ini = project.path / "tox.ini"
    ini.write_text(ini.read_text().replace("trt_backend = onnxruntime", "trt_backend = tensorrt"))

    def run_tests(*options: str, tests: int = 1, visible: str | None = None) -> list[dict[str, Any]]:
        project.makepyfile(test_m=TESTS.format(tests=tests))
        if visible is not None:
            monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
        result = project.runpytest_subprocess(*options)
        result.assert_outcomes(passed=tests)
        return [one["measurement"] for one in json.loads((project.path / "out.json").read_text())["results"]]

    return run_tests


def test_a_card_is_chosen_by_number_and_by_uuid(run: Run, uuids: list[str]) -> None:
    assert run("--trt-device=1")[0]["environment"]["device_uuid"] == uuids[1]
    assert run(f"--trt-device={uuids[1][:12]}")[0]["environment"]["device_uuid"] == uuids[1]


def test_the_record_of_a_card_agrees_with_the_kernel(run: Run, uuids: list[str]) -> None:
    environment = run("--trt-device=1")[0]["environment"]
    card = Path("/sys/bus/pci/devices") / environment["pci_address"]
    assert environment["power_limit_w"] > 0
    if card.is_dir():
        assert (card / "vendor").read_text().strip() == "0x10de"
        node = int((card / "numa_node").read_text())
        assert environment["numa_node"] == (node if node >= 0 else None)


def test_workers_use_both_cards_and_nothing_that_is_hidden(run: Run, uuids: list[str]) -> None:
    pytest.importorskip("xdist", reason="needs pytest-xdist")
    both = run("-n", "2", "--trt-device=all", tests=8)
    assert {one["environment"]["device_uuid"] for one in both} == set(uuids)
    hidden = run("-n", "2", "--trt-device=all", tests=4, visible=uuids[1])
    assert {one["environment"]["device_uuid"] for one in hidden} == {uuids[1]}
    first = run("--trt-device=0", visible="1")
    assert first[0]["environment"]["device_uuid"] == uuids[1], "numbers count within what is visible"


def test_a_probe_sees_only_its_card(uuids: list[str]) -> None:
    with Bench(Settings(backend="tensorrt", device=("1",))) as bench:
        card = bench.environment("tensorrt")
        with bench.server("tensorrt", card).fork() as probe:
            (seen,) = probe.call("environments", timeout_s=120, name="tensorrt")[0]["found"]
            cpus = os.sched_getaffinity(probe.pid)
    assert seen["device_uuid"] == uuids[1]
    assert cpus <= os.sched_getaffinity(0)


def test_engines_are_built_on_both_cards(run: Run, uuids: list[str], project: pytest.Pytester) -> None:
    onnx.save(chain_model(), str(project.path / "chain.onnx"))
    names = ("conv", "chain")
    markers = (f"@pytest.mark.trt_engine('{name}.onnx', optimization_level=1)" for name in names)
    tests = [f"{mark}\n@pytest.mark.trt_matrix(batch=[4])\ndef test_{n}(trt_runner): trt_runner.measure()"
             for n, mark in enumerate(markers)]  # fmt: skip
    project.makepyfile(test_b="\n".join(["import pytest", *tests]))
    result = project.runpytest_subprocess("test_b.py", "--trt-prebuild", "--trt-device=all", "--trt-cache-dir=engines")
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["trt: built 2 engines on 2 devices in *"])


def test_a_card_that_is_not_visible_is_an_error(uuids: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", uuids[0])
    with Bench(Settings(backend="tensorrt", device=(uuids[1],))) as bench, pytest.raises(BackendError, match="visible"):
        bench.environment("tensorrt")
