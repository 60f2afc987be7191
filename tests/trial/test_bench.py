"""What a run works with: which backend, which device, and who has it."""

from __future__ import annotations

import dataclasses
import threading
import time

import pytest

from pytest_trt.core.records import Environment
from pytest_trt.engine.backends import cuda
from pytest_trt.engine.backends.base import BuildJob
from pytest_trt.engine.backends.installed import gpu_is_visible, is_installed
from pytest_trt.errors import BackendError, BuildError, CacheError
from pytest_trt.spec.declaration import Declaration
from pytest_trt.spec.engine_spec import EngineSpec
from pytest_trt.spec.settings import Settings
from pytest_trt.trial import bench as room
from pytest_trt.trial.bench import Bench


@pytest.fixture
def without_gpu(monkeypatch):
    """As on a machine whose GPUs are not for this process."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert not gpu_is_visible()


def test_the_spec_chooses_its_backend_then_the_settings_then_what_is_there(without_gpu):
    chosen = Bench(Settings(backend="tensorrt_lean"))
    assert chosen.backend_name(EngineSpec(backend="onnxruntime")) == "onnxruntime"
    assert chosen.backend_name(EngineSpec()) == "tensorrt_lean"
    assert Bench(Settings()).backend_name(EngineSpec(path="m.onnx")) == "onnxruntime"
    with pytest.raises(BackendError, match=r"the model is a plan, and a plan runs only on a GPU .*: there is no GPU"):
        Bench(Settings()).backend_name(EngineSpec(path="m.plan"))


def test_the_environment_says_what_ran_and_is_asked_for_once():
    with Bench(Settings(backend="onnxruntime")) as bench:
        seen = bench.environment("onnxruntime")
        assert (seen.kind, seen.backend, seen.threads) == ("cpu", "onnxruntime", seen.host_cpus)
        assert all((seen.device, seen.plugin, seen.backend_version, seen.python))
        assert bench.environment("onnxruntime") is seen


def test_an_ahead_of_time_build_is_for_what_it_names():
    with Bench(Settings(build_only=True, compute_capabilities=(89, 120))) as bench:
        declaration = Declaration(spec=EngineSpec(path="m.onnx"))
        completed = bench.completed(declaration, "tensorrt_rtx")
        assert completed.spec.compute_capabilities == (89, 120)
        assert bench.completed(declaration, "onnxruntime") == declaration
        own = Declaration(spec=EngineSpec(path="m.onnx", compute_capabilities=(75,)))
        assert bench.completed(own, "tensorrt_rtx") == own


@pytest.mark.skipif(cuda.reason_unusable() is None, reason="needs a machine without a GPU")
def test_what_could_be_built_without_a_gpu_and_is_to_be_run_is_told_of_the_option(without_gpu):
    if not is_installed("tensorrt_rtx"):
        pytest.skip("needs the package tensorrt_rtx")
    with Bench(Settings()) as bench:
        with pytest.raises(BackendError, match=r"driver.* \(with --trt-build-only, engines are built for"):
            bench.environment_for("tensorrt_rtx", EngineSpec(compute_capabilities=(89,)))
        with pytest.raises(BackendError, match="driver") as caught:
            bench.environment_for("tensorrt_rtx", EngineSpec())
        assert "--trt-build-only" not in str(caught.value)


def test_what_made_the_model_counts_in_the_build_time(save_model, tmp_path):
    job = BuildJob(
        "onnxruntime", "0", EngineSpec(build_timeout_s=60), str(save_model()), str(tmp_path), preparation_s=61
    )
    with Bench(Settings()) as bench:
        with pytest.raises(BuildError, match=r"building m.onnx took longer than build_timeout_s=60 and was stopped"):
            bench.build(job)
        assert bench.build(dataclasses.replace(job, preparation_s=1)).plan_bytes


def test_one_measures_on_a_device_at_a_time_and_the_other_says_that_it_waits(tmp_path, monkeypatch):
    monkeypatch.setattr(room.tempfile, "tempdir", str(tmp_path))
    said: list[str] = []
    with Bench(Settings()) as first, Bench(Settings(), said.append) as second:
        environment = first.environment("onnxruntime")
        order = []

        def other() -> None:
            with second.lock(environment):
                order.append("second")

        with first.lock(environment):
            with first.lock(environment):  # a build within a measurement: the device is held already
                pass
            waiting = threading.Thread(target=other)
            waiting.start()
            deadline = time.monotonic() + 30
            while not said and time.monotonic() < deadline:
                time.sleep(0.01)
            order.append("first")
        waiting.join()
    assert order == ["first", "second"]
    assert said[0].startswith(f"waiting for {environment.device}: another run measures or builds on it")
    assert said[-1] == ""


def test_a_lock_folder_of_somebody_else_is_not_trusted(tmp_path, monkeypatch):
    monkeypatch.setattr(room.tempfile, "tempdir", str(tmp_path))
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (tmp_path / f"pytest-trt-{room.os.getuid()}").symlink_to(elsewhere)
    with Bench(Settings()) as bench:
        environment = bench.environment("onnxruntime")
        with pytest.raises(CacheError, match="belongs to somebody else"), bench.lock(environment):
            pass


def test_a_server_that_has_died_is_replaced():
    with Bench(Settings()) as bench:
        first = bench.server("onnxruntime")
        assert bench.server("onnxruntime") is first
        first._process.kill()
        first._process.wait()
        second = bench.server("onnxruntime")
        assert second is not first
        with second.fork() as probe:
            assert probe.call("environment", timeout_s=60, name="onnxruntime", device="0")[0]["kind"] == "cpu"


@pytest.mark.skipif(gpu_is_visible(), reason="needs a machine without a GPU")
def test_a_gpu_that_is_lost_is_said_once_and_fails_the_rest_at_once():
    pytest.importorskip("tensorrt_rtx", reason="needs the package tensorrt_rtx")
    with Bench(Settings(backend="tensorrt_rtx")) as bench:
        assert bench.lost_device("tensorrt_rtx", "a.py::test_a") == "", "of a device that never worked nothing is lost"
        was = Environment(device="NVIDIA L4", kind="gpu", backend="tensorrt_rtx", backend_version="1.4")
        bench._environments["tensorrt_rtx"] = was  # as it is where the first tests of a run have found it
        said = bench.lost_device("tensorrt_rtx", "a.py::test_a")
        assert said.startswith("NVIDIA L4 does not work in a fresh process either (")
        assert "driver" in said
        assert bench.lost_device("tensorrt_rtx", "a.py::test_b") == ""
        with pytest.raises(BackendError, match=r"not run: NVIDIA L4 was lost in a\.py::test_a"):
            bench.server("tensorrt_rtx")
        assert bench.environment("onnxruntime").kind == "cpu", "what needs no GPU goes on"
        assert bench.lost_device("onnxruntime", "a.py::test_c") == ""
