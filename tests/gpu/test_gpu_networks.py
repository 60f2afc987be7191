"""Small real networks, built by TensorRT, run, and held against ONNX Runtime, as `pytest-trt backends` does."""

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
"""Few, since each is built in a process of its own: benchmarks/models.py has them all, in every precision."""


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    folder = tmp_path_factory.mktemp("networks")
    settings = Settings(cache_dir=str(folder / "cache"), max_time_s=0.2, wait_s=0, rootdir=str(folder))
    with Bench(settings) as made:  # waits for nobody: what is asserted here holds on a GPU that others use, too
        yield made


def spec(folder: Path, name: str, **more: Any) -> EngineSpec:
    network, path = networks.NETWORKS[name], folder / f"{name}.onnx"
    if not path.exists():
        onnx.save(MAKE.get(name, network.make)(), str(path))
    return EngineSpec(path=str(path), dims=network.dims, input_ranges=network.ranges, **more)


def asked(folder: Path, name: str, **more: Any) -> EngineSpec:
    return spec(folder, name, backend="tensorrt", optimization_level=0, **more)


@pytest.mark.parametrize("name", NAMES)
def test_a_network_is_built_runs_and_is_right(workshop: Workshop, bench: Bench, name: str) -> None:
    folder = Path(bench.settings.rootdir)
    row = Lineup(Declaration(spec=spec(folder, name)), bench, [folder]).row(name, asked(folder, name))
    assert (row.why, row.departs) == ("", "")
    assert row.status == "ok"
    assert row.figures["ms"] > 0
    assert row.figures["memory_mb"] > 0


def test_the_boxes_that_are_kept_are_right_in_any_order(workshop: Workshop, bench: Bench) -> None:
    """TensorRT 8.6 does not always give them in the same order."""
    folder = Path(bench.settings.rootdir)
    lineup = Lineup(Declaration(spec=spec(folder, "nms")), bench, [folder], Accuracy(unordered={"selected": 0}))
    row = lineup.row("nms", asked(folder, "nms"))
    assert (row.why, row.departs, row.status) == ("", "", "ok")


def test_a_transformer_in_half_precision_is_right_though_it_is_one_layer(workshop: Workshop, bench: Bench) -> None:
    """TensorRT 8.6 makes one layer of it, with FP32 inputs and outputs: what is in it is not told, and that is said."""
    folder = Path(bench.settings.rootdir)
    plain, half = spec(folder, "encoder"), asked(folder, "encoder", precision="fp16")
    row = Lineup(Declaration(spec=plain), bench, [folder]).row("fp16", half)
    assert (row.why, row.departs, row.status) == ("", "", "ok")
    told = row.precisions.get("fp16", 0) > 0
    assert told or any("is unknown" in note for note in row.notes)


def test_integers_of_64_bits_are_held_against_the_reference_in_its_own_width(workshop: Workshop, bench: Bench) -> None:
    """TensorRT 8.6 takes 32 bits in their place; `trt_accuracy` draws the inputs as the engine takes them."""
    folder = Path(bench.settings.rootdir)
    declaration = Declaration(spec=asked(folder, "embedding"), accuracy=Accuracy())
    with Trial(bench, "embedding", declaration, [folder]) as trial:
        trial.measure()
        assert trial.result is not None
        right = [verdict for verdict in trial.result.verdicts if verdict.basis == "accuracy"]
    assert [verdict.status for verdict in right] == ["ok"], right


def test_bfloat16_names_the_versions_that_have_it(workshop: Workshop, bench: Bench) -> None:
    folder = Path(bench.settings.rootdir)
    wanted = asked(folder, "lstm", precision="bf16")
    row = Lineup(Declaration(spec=wanted), bench, [folder]).row("bf16", wanted, run=False)
    if versions.parse_version(workshop.backend.version()) < (9, 1):
        assert "TensorRT from 9.1 to before 11.0 has it; on later versions and on TensorRT-RTX, the model" in row.why
    else:
        assert row.why == ""
