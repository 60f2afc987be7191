"""Test the resources of a run: the backend, the device and its lock."""

from __future__ import annotations

import dataclasses
import os
import tempfile
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
from pytest_trt.trial.bench import Bench


@pytest.fixture
def without_gpu(monkeypatch):
    """Hide all GPUs from this process."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert not gpu_is_visible()


def test_backend_comes_from_the_spec_then_the_settings_then_the_machine(without_gpu):
    chosen = Bench(Settings(backend="tensorrt_lean"))
    assert chosen.backend_name(EngineSpec(backend="onnxruntime")) == "onnxruntime"
    assert chosen.backend_name(EngineSpec()) == "tensorrt_lean"
    assert Bench(Settings()).backend_name(EngineSpec(path="m.onnx")) == "onnxruntime"
    with pytest.raises(BackendError, match=r"the model is a plan, and a plan runs only on a GPU .*: there is no GPU"):
        Bench(Settings()).backend_name(EngineSpec(path="m.plan"))


def test_environment_describes_the_device_and_is_read_once():
    with Bench(Settings(backend="onnxruntime")) as bench:
        seen = bench.environment("onnxruntime")
        assert (seen.kind, seen.backend, seen.threads) == ("cpu", "onnxruntime", seen.host_cpus)
        assert all((seen.device, seen.plugin, seen.backend_version, seen.python))
        assert bench.environment("onnxruntime") is seen


def test_ahead_of_time_build_uses_the_requested_capabilities():
    with Bench(Settings(build_only=True, compute_capabilities=(89, 120))) as bench:
        declaration = Declaration(spec=EngineSpec(path="m.onnx"))
        completed = bench.completed(declaration, "tensorrt_rtx")
        assert completed.spec.compute_capabilities == (89, 120)
        assert bench.completed(declaration, "onnxruntime") == declaration
        own = Declaration(spec=EngineSpec(path="m.onnx", compute_capabilities=(75,)))
        assert bench.completed(own, "tensorrt_rtx") == own


@pytest.mark.skipif(cuda.reason_unusable() is None, reason="needs a machine without a GPU")
def test_missing_driver_suggests_build_only(without_gpu):
    if not is_installed("tensorrt_rtx"):
        pytest.skip("needs the package tensorrt_rtx")
    with Bench(Settings()) as bench:
        with pytest.raises(BackendError, match=r"driver.* \(with --trt-build-only, engines are built for"):
            bench.environment_for("tensorrt_rtx", EngineSpec(compute_capabilities=(89,)))
        with pytest.raises(BackendError, match="driver") as caught:
            bench.environment_for("tensorrt_rtx", EngineSpec())
        assert "--trt-build-only" not in str(caught.value)


def test_preparation_counts_towards_the_build_timeout(save_model, tmp_path):
    job = BuildJob(
        "onnxruntime", "0", EngineSpec(build_timeout_s=60), str(save_model()), str(tmp_path), preparation_s=61
    )
    with Bench(Settings()) as bench:
        with pytest.raises(BuildError, match=r"building m.onnx took longer than build_timeout_s=60 and was stopped"):
            bench.build(job)
        assert bench.build(dataclasses.replace(job, preparation_s=1)).plan_bytes


def test_second_bench_waits_for_the_device_and_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    progress: list[str] = []
    with Bench(Settings()) as first, Bench(Settings(), progress.append) as second:
        environment = first.environment("onnxruntime")
        order = []

        def other() -> None:
            with second.lock(environment):
                order.append("second")

        with first.lock(environment):
            with first.lock(environment):  # a build within a measurement: this bench has locked the device already
                pass
            waiting = threading.Thread(target=other)
            waiting.start()
            deadline = time.monotonic() + 30
            while not progress and time.monotonic() < deadline:
                time.sleep(0.01)
            order.append("first")
        waiting.join()
    assert order == ["first", "second"]
    assert progress[0].startswith(f"waiting for {environment.device}: another run measures or builds on it")
    assert progress[-1] == ""


def test_a_lock_folder_that_is_a_file_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    (tmp_path / f"pytest-trt-{os.getuid()}").touch()
    environment = Environment("some CPU", "cpu", "onnxruntime", "1.20")
    remedy = r"temporary folder .* cannot be used .*: remove the file"
    with Bench(Settings()) as bench, pytest.raises(CacheError, match=remedy), bench.lock(environment):
        pass


def test_lock_folder_of_another_user_is_refused(tmp_path, monkeypatch):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (tmp_path / f"pytest-trt-{os.getuid()}").symlink_to(elsewhere)
    with Bench(Settings()) as bench:
        environment = bench.environment("onnxruntime")
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
        with pytest.raises(CacheError, match="belongs to somebody else"), bench.lock(environment):
            pass


def test_dead_server_is_replaced():
    with Bench(Settings()) as bench:
        first = bench.server("onnxruntime")
        assert bench.server("onnxruntime") is first
        first._process.kill()
        first._process.wait()
        second = bench.server("onnxruntime")
        assert second is not first
        with second.fork() as probe:
            assert probe.call("environments", timeout_s=60, name="onnxruntime")[0]["found"][0]["kind"] == "cpu"


@pytest.mark.skipif(gpu_is_visible(), reason="needs a machine without a GPU")
def test_lost_gpu_is_reported_once_and_fails_later_tests():
    pytest.importorskip("tensorrt_rtx", reason="needs the package tensorrt_rtx")
    with Bench(Settings(backend="tensorrt_rtx")) as bench:
        assert bench.lost_device("tensorrt_rtx", "a.py::test_a") == "", "a device that never worked cannot be lost"
        environment = Environment(device="NVIDIA L4", kind="gpu", backend="tensorrt_rtx", backend_version="1.4")
        bench.pool._pools[""]._cards["tensorrt_rtx"] = (environment,)  # as if the first tests of the run had used it
        bench.pool.take("tensorrt_rtx")
        message = bench.lost_device("tensorrt_rtx", "a.py::test_a")
        assert message.startswith("NVIDIA L4 does not work in a fresh process either (")
        assert "driver" in message
        assert bench.lost_device("tensorrt_rtx", "a.py::test_b") == ""
        with pytest.raises(BackendError, match=r"not run: NVIDIA L4 was lost in a\.py::test_a"):
            bench.environment("tensorrt_rtx")
        assert bench.environment("onnxruntime").kind == "cpu", "a backend without a GPU still works"
        assert bench.lost_device("onnxruntime", "a.py::test_c") == ""


def test_auto_prefers_onnx_runtime_on_the_gpu_to_the_cpu(monkeypatch):
    installed = {"onnxruntime", "onnxruntime_cuda", "onnxruntime_tensorrt"}
    monkeypatch.setattr("pytest_trt.trial.hosts.local.is_installed", lambda name, python: name in installed)
    monkeypatch.setattr("pytest_trt.trial.hosts.local.gpu_is_visible", lambda: True)
    with Bench(Settings()) as bench:
        assert bench.backend_name(EngineSpec()) == "onnxruntime_cuda"
        installed.add("tensorrt_rtx")
        assert bench.backend_name(EngineSpec()) == "tensorrt_rtx"
        monkeypatch.setattr("pytest_trt.trial.hosts.local.gpu_is_visible", lambda: False)
        assert bench.backend_name(EngineSpec()) == "onnxruntime"
