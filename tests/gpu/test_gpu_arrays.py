"""Test inputs that are filled in place and outputs that are views, and arrays that are on the GPU already."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gpu_workshop import Workshop, assert_close, conv_inputs
from samples.dlpack import ForeignArray

from pytest_trt.engine.backends import cuda
from pytest_trt.engine.dlpack import take_arrays
from pytest_trt.errors import InputError
from pytest_trt.measure.engine_probe import EngineProbe, Subject
from pytest_trt.measure.probe.server import ProbeServer
from pytest_trt.spec.declaration import PipelineOptions
from pytest_trt.spec.engine_spec import EngineSpec

SHAPE = (4, 3, 32, 32)
OPTIONS = [
    {},
    {"depth": 1},
    {"depth": 3, "contexts": 2},
    {"cuda_graph": False},
    {"pinned": False},
    {"transfers": False},
    {"expose_dma": True},
]


@pytest.fixture(scope="module")
def server(workshop: Workshop) -> Iterator[ProbeServer]:
    with ProbeServer("tensorrt") as server:
        yield server


@pytest.fixture(scope="module")
def batches() -> list[Any]:
    return [conv_inputs(4, seed) for seed in range(60)]


@pytest.fixture(scope="module")
def expected(batches: list[Any], reference: Callable[..., Any]) -> list[Any]:
    return [reference("conv", batch) for batch in batches]


def open_probe(server: ProbeServer, plan: Path, **options: Any) -> EngineProbe:
    return EngineProbe(server, Subject(plan, "0", EngineSpec(), {"x": SHAPE}, PipelineOptions(**options)))


@pytest.mark.parametrize("options", OPTIONS)
def test_inputs_filled_in_place_give_the_same_outputs(
    server: ProbeServer, conv_plan: Path, batches: list[Any], expected: list[Any], options: dict[str, Any]
) -> None:
    with open_probe(server, conv_plan, **options) as probe:
        for kept in (1, 4):

            def filled(kept: int = kept) -> Iterator[Any]:
                for batch, arrays in zip(batches, probe.input_sets(kept), strict=False):
                    arrays["x"][...] = batch["x"]
                    yield arrays

            count = 0
            for got, want in zip(probe.stream(filled()), expected, strict=True):
                assert_close(got, want)
                count += 1
            assert count == len(batches)
        with pytest.raises(InputError, match="still in use"):
            list(probe.stream(filled()))
        arrays = next(probe.input_sets(4))
        arrays["x"] = batches[7]["x"]
        assert_close(probe.infer(arrays), expected[7])


@pytest.fixture
def on_gpu(batches: list[Any]) -> Iterator[list[ForeignArray]]:
    """The batches in device memory of this process, two in each allocation."""
    cuda.device("0").activate()
    memory, arrays, stream = [], [], cuda.Stream()
    for first, second in zip(batches[::2], batches[1::2], strict=True):
        nbytes = first["x"].nbytes
        buffer = cuda.DeviceBuffer(2 * nbytes)
        memory.append(buffer)
        for number, batch in enumerate((first, second)):
            stream.copy(buffer.address + number * nbytes, int(batch["x"].ctypes.data), nbytes)
            arrays.append(ForeignArray(buffer.address + number * nbytes, SHAPE, np.dtype(np.float32), device=(2, 0)))
    stream.synchronize()
    yield arrays
    stream.close()
    for buffer in memory:
        buffer.close()


@pytest.mark.parametrize("options", OPTIONS)
def test_arrays_on_the_gpu_are_taken_as_they_are(
    server: ProbeServer,
    conv_plan: Path,
    batches: list[Any],
    expected: list[Any],
    on_gpu: list[ForeignArray],
    options: dict[str, Any],
) -> None:
    with open_probe(server, conv_plan, **options) as probe:
        for array, want in zip(on_gpu[:5], expected, strict=False):
            assert_close(probe.infer(take_arrays({"x": array})), want)
        mixed = (take_arrays({"x": array}) if n % 3 else batches[n] for n, array in enumerate(on_gpu))
        for got, want in zip(list(probe.stream(mixed)), expected, strict=True):
            assert_close(got, want)


def test_arrays_on_the_gpu_that_do_not_fit_are_errors(
    server: ProbeServer, workshop: Workshop, conv_plan: Path, on_gpu: list[ForeignArray]
) -> None:
    with open_probe(server, conv_plan) as probe:
        taken = take_arrays({"x": on_gpu[0]})["x"]
        with pytest.raises(InputError, match=r"'x' has the shape \(4, 3072\)"):
            probe.infer(take_arrays({"x": ForeignArray(taken.address, (4, 3072), taken.dtype, device=(2, 0))}))
        with pytest.raises(InputError, match="'x' is float16: it must be float32"):
            probe.infer(take_arrays({"x": ForeignArray(taken.address, SHAPE, np.dtype(np.float16), device=(2, 0))}))
        assert probe.infer({"x": np.zeros(SHAPE, np.float32)})["y"].shape == (4, 8)
