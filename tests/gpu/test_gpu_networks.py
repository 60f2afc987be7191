"""Test small real networks: TensorRT builds and runs them, and ONNX Runtime is the reference."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import networks
import onnx
import pytest
from gpu_workshop import Workshop

from pytest_trt.engine.backends.tensorrt import versions
from pytest_trt.spec.declaration import Declaration
from pytest_trt.spec.engine_spec import EngineSpec
from pytest_trt.spec.expectations import Accuracy
from pytest_trt.spec.settings import Settings
from pytest_trt.trial.bench import Bench
from pytest_trt.trial.lineup import Lineup
from pytest_trt.trial.trial import Trial

MAKE = {"encoder": networks.make_models.encoder}
NAMES = "embedding", "shapes", "lstm", "control_flow"
"""Only a few, since each is built in a process of its own. benchmarks/models.py runs all, in every precision."""


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    folder = tmp_path_factory.mktemp("networks")
    settings = Settings(cache_dir=str(folder / "cache"), max_time_s=0.2, wait_s=0, rootdir=str(folder))
    with Bench(settings) as bench:  # it need not wait: the assertions also hold on a GPU that others use
        yield bench


def spec(folder: Path, name: str, **more: Any) -> EngineSpec:
    network, path = networks.NETWORKS[name], folder / f"{name}.onnx"
    if not path.exists():
        onnx.save(MAKE.get(name, network.make)(), str(path))
    return EngineSpec(path=str(path), dims=network.dims, input_ranges=network.ranges, **more)


def tensorrt_spec(folder: Path, name: str, **more: Any) -> EngineSpec:
    return spec(folder, name, backend="tensorrt", optimization_level=0, **more)


@pytest.mark.parametrize("name", NAMES)
def test_network_builds_runs_and_is_accurate(workshop: Workshop, bench: Bench, name: str) -> None:
    folder = Path(bench.settings.rootdir)
    row = Lineup(Declaration(spec=spec(folder, name)), bench, [folder]).row(name, tensorrt_spec(folder, name))
    assert (row.why, row.departs) == ("", "")
    assert row.status == "ok"
    assert row.figures["ms"] > 0
    assert row.figures["memory_mb"] > 0


def test_selected_boxes_are_accurate_in_any_order(workshop: Workshop, bench: Bench) -> None:
    """TensorRT 8.6 does not always return them in the same order."""
    folder = Path(bench.settings.rootdir)
    lineup = Lineup(Declaration(spec=spec(folder, "nms")), bench, [folder], Accuracy(unordered={"selected": 0}))
    row = lineup.row("nms", tensorrt_spec(folder, "nms"))
    assert (row.why, row.departs, row.status) == ("", "", "ok")


def test_transformer_fused_into_one_layer_is_accurate_in_fp16(workshop: Workshop, bench: Bench) -> None:
    """TensorRT 8.6 fuses it into one layer with FP32 inputs and outputs, so that its precision is unknown."""
    folder = Path(bench.settings.rootdir)
    plain, half = spec(folder, "encoder"), tensorrt_spec(folder, "encoder", precision="fp16")
    row = Lineup(Declaration(spec=plain), bench, [folder]).row("fp16", half)
    assert (row.why, row.departs, row.status) == ("", "", "ok")
    has_fp16 = row.precisions.get("fp16", 0) > 0
    assert has_fp16 or any("is unknown" in note for note in row.notes)


def test_reference_of_a_model_with_64_bit_integers_is_compared(workshop: Workshop, bench: Bench) -> None:
    """TensorRT 8.6 uses 32-bit integers instead; `trt_accuracy` generates inputs of the engine's types."""
    folder = Path(bench.settings.rootdir)
    declaration = Declaration(spec=tensorrt_spec(folder, "embedding"), accuracy=Accuracy())
    with Trial(bench, "embedding", declaration, [folder]) as trial:
        trial.measure()
        assert trial.result is not None
        verdicts = [verdict for verdict in trial.result.verdicts if verdict.basis == "accuracy"]
    assert [verdict.status for verdict in verdicts] == ["ok"], verdicts


def test_unsupported_bfloat16_names_the_versions_that_have_it(workshop: Workshop, bench: Bench) -> None:
    folder = Path(bench.settings.rootdir)
    bf16 = tensorrt_spec(folder, "lstm", precision="bf16")
    row = Lineup(Declaration(spec=bf16), bench, [folder]).row("bf16", bf16, run=False)
    if versions.parse_version(workshop.backend.version()) < (9, 1):
        assert "TensorRT from 9.1 to before 11.0 has it; on later versions and on TensorRT-RTX, the model" in row.why
    else:
        assert row.why == ""
