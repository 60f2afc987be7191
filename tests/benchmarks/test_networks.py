"""Real networks: each right in half precision on ONNX Runtime, each built by TensorRT-RTX without a GPU."""

from __future__ import annotations

import dataclasses
import importlib.util
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import networks
import onnx
import pytest

from pytest_trt.errors import BuildError
from pytest_trt.judge.accuracy import allowed_error
from pytest_trt.judge.accuracy import verdicts as accuracy
from pytest_trt.spec.declaration import Declaration
from pytest_trt.spec.engine_spec import EngineSpec
from pytest_trt.spec.expectations import Accuracy
from pytest_trt.spec.settings import Settings
from pytest_trt.trial.bench import Bench
from pytest_trt.trial.case import Case

SMALL = {
    **{name: dataclasses.replace(networks.NETWORKS[name], make=partial(networks.light, name, hidden=128, narrow=4))
       for name in networks.LIGHTS},
    "shufflenet": networks.NETWORKS["shufflenet"],  # the groups of its convolutions fit its width
    "encoder": dataclasses.replace(networks.NETWORKS["encoder"], make=networks.make_models.encoder),
}  # fmt: skip
"""With the structure of the networks, in fewer channels. The tests on a GPU run them as they are."""

NO_FLOATS = ("nms",)
"""Without an operator that has a precision."""

NOT_IN_RTX = {"nonzero": r"node nonzero \(NonZero\)", "nms": "nms"}
"""What TensorRT-RTX cannot build, and what it has to name."""

ALL = pytest.mark.parametrize("name", networks.NETWORKS)

pytestmark = pytest.mark.usefixtures("forked_children")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("networks")


@pytest.fixture(scope="module")
def bench(folder: Path) -> Iterator[Bench]:
    with Bench(Settings(cache_dir=str(folder / "cache"), build_only=True)) as made:
        yield made


def case(bench: Bench, folder: Path, name: str, **spec: object) -> Case:
    network, path = SMALL.get(name, networks.NETWORKS[name]), folder / f"{name}.onnx"
    if not path.exists():
        onnx.save(network.make(), str(path))
    dims = {dim: (low, low * 2, high) for dim, (low, _, high) in network.dims.items()}
    made = EngineSpec(path=str(path), dims=dims, input_ranges=network.ranges, **spec)  # type: ignore[arg-type]
    return Case(bench, name, Declaration(spec=made), [folder])


@ALL
def test_half_precision_is_right_on_onnxruntime(bench: Bench, folder: Path, name: str) -> None:
    with case(bench, folder, name, backend="onnxruntime") as whole:
        inputs = whole.generated_inputs()
        expected = whole(inputs)
    with case(bench, folder, name, backend="onnxruntime", precision="fp16") as half:
        if name in NO_FLOATS:
            with pytest.raises(BuildError, match="nothing in it can become fp16"):
                half(inputs)
            return
        verdicts = accuracy.judge(half(inputs), expected, allowed_error.limits_for(Accuracy(), "fp16", False), "fp32")
        assert half.engine.precisions["fp16"] > 0.9
    assert [verdict.text for verdict in verdicts if verdict.status != "ok"] == []
    assert any(array.std() > 0 for array in expected.values())


@pytest.mark.skipif(importlib.util.find_spec("tensorrt_rtx") is None, reason="needs the package tensorrt_rtx")
@ALL
def test_every_network_builds_without_a_gpu(bench: Bench, folder: Path, name: str) -> None:
    precision = "fp32" if name in NO_FLOATS else "fp16"
    with case(bench, folder, name, backend="tensorrt_rtx", compute_capabilities=(89,), precision=precision) as built:
        if name in NOT_IN_RTX:
            with pytest.raises(BuildError, match=NOT_IN_RTX[name]):
                _ = built.engine
            return
        engine = built.engine
    assert engine.precisions[precision] > 0.5  # casts at inputs and outputs are all the rest of a small one
    assert engine.proved_by == "model"
    assert engine.plan.stat().st_size > 10_000
