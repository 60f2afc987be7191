"""Fixtures of the GPU tests: engines that are built once per session, and reference outputs of ONNX Runtime.

With TensorRT's builder, the tests build their engines. With only the lean runtime, they run the plans that a run with
the builder left in the folder PYTEST_TRT_PLANS. Several workers can share the GPU, except for serial tests:
`pytest tests/gpu -n 8 --dist=worksteal -m "not serial"`, then `pytest tests/gpu -m serial`.
"""

from __future__ import annotations

import importlib.util
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from gpu_workshop import RANGES, Arrays, Workshop

from pytest_trt.engine.backends import cuda
from pytest_trt.pipeline.open import open_runner
from pytest_trt.spec.declaration import PipelineOptions


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    if reason := cuda.reason_unusable():
        ours = {path for path in {item.path for item in items} if here in path.parents}
        for item in items:
            if item.path in ours:
                item.add_marker(pytest.mark.skip(reason=f"needs a GPU: {reason}"))


@pytest.fixture(autouse=True)
def own_lock(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give each xdist worker its own lock of the device, so that workers build and measure at once.

    Tests that need the GPU alone are marked `serial`.
    """
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path_factory.getbasetemp()))


@pytest.fixture(scope="session")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    """TensorRT with its builder. Tests that need it are skipped if only the lean runtime is installed."""
    if importlib.util.find_spec("tensorrt") is None:
        pytest.skip("needs the package tensorrt, with its builder")
    return Workshop(tmp_path_factory.mktemp("workshop"), "tensorrt")


@pytest.fixture(scope="session")
def plans() -> Path:
    """The folder in which a run with the builder leaves plans for the lean runtime."""
    if "PYTEST_TRT_PLANS" not in os.environ:
        pytest.skip("needs PYTEST_TRT_PLANS, a folder of plans for another TensorRT")
    folder = Path(os.environ["PYTEST_TRT_PLANS"])
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def conv_plan(workshop: Workshop) -> Path:
    return workshop.plan("conv", (RANGES["conv"],))


@pytest.fixture
def open_conv(workshop: Workshop, conv_plan: Path) -> Iterator[Callable[..., Any]]:
    """Return a function that opens the conv model's engine at a batch, with pipeline options. All are closed."""
    opened: list[Any] = []

    def open_one(batch: int = 4, **options: Any) -> Any:
        engine = workshop.load(conv_plan)
        opened.append(engine)
        runner = open_runner(engine, {"x": (batch, 3, 32, 32)}, PipelineOptions(**options))
        opened.append(runner)
        return runner

    yield open_one
    for part in reversed(opened):
        part.close()


@pytest.fixture(scope="session")
def reference(workshop: Workshop) -> Callable[[str, Arrays], Arrays]:
    """Return a function that runs a model on ONNX Runtime."""
    import onnxruntime

    sessions: dict[str, Any] = {}

    def run(name: str, inputs: Arrays) -> Arrays:
        if name not in sessions:
            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = 2
            path = str(workshop.model(name))
            sessions[name] = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        names = [output.name for output in sessions[name].get_outputs()]
        return dict(zip(names, sessions[name].run(None, dict(inputs)), strict=True))

    return run
