"""Test the search for the first layer that departs: first alone, then on models that really are inaccurate."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from samples.models import clipped_model

from pytest_trt.core.records import Verdict
from pytest_trt.engine.model.intermediate import TensorGraph
from pytest_trt.engine.model.model import read_model
from pytest_trt.errors import DeclarationError
from pytest_trt.spec.declaration import Declaration, RunShape
from pytest_trt.spec.engine_spec import EngineSpec
from pytest_trt.spec.expectations import Accuracy
from pytest_trt.spec.settings import Settings
from pytest_trt.trial.bench import Bench
from pytest_trt.trial.bisection import Bisection, BisectionResult, Reading, bisect, describe


def chain(count: int, branch: int = 0) -> onnx.ModelProto:
    """x -> t0 -> t1 ... -> y, with a branch of `branch` nodes from x that joins at the end."""
    nodes = [
        helper.make_node("Tanh", [f"t{i - 1}" if i else "x"], [f"t{i}"], f"tanh{i}") for i in range(count)
    ]  # fmt: skip
    nodes += [helper.make_node("Relu", [f"b{i - 1}" if i else "x"], [f"b{i}"], f"relu{i}") for i in range(branch)]
    last = [f"t{count - 1}", f"b{branch - 1}"] if branch else [f"t{count - 1}"]
    nodes.append(helper.make_node("Sum", last, ["y"], "sum"))
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 4]) for name in "xy")
    graph = helper.make_graph(nodes, "chain", [x], [y])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def reading(departs: bool, used: float = 0.0, infinite: bool = False) -> Reading:
    return Reading(Verdict("inaccurate" if departs else "ok", "accuracy", "", ""), used, infinite)


class Builds:
    """A model whose departing tensors are known for any marked ones. It records which tensors the search marks."""

    def __init__(self, model: onnx.ModelProto, folder: Path, departs: Callable[[str, frozenset[str]], Any]) -> None:
        onnx.save(model, str(folder / "m.onnx"))
        self.graph, self._departs = TensorGraph(read_model(folder / "m.onnx")), departs
        self.marked_together: list[tuple[str, ...]] = []

    def compare(self, names: Sequence[str]) -> Mapping[str, Reading]:
        self.marked_together.append(tuple(names))
        seen = {}
        for name in (*self.graph.outputs, *names):
            found = self._departs(name, frozenset(names))
            seen[name] = found if isinstance(found, Reading) else reading(found)
        return seen

    def search(self, at_once: int = 8, max_builds: int = 8) -> BisectionResult:
        return Bisection(self.graph, self.compare, at_once, max_builds).run()


def position(name: str) -> int:
    """Return a tensor's position in the chain."""
    return 10**6 if name == "y" else int(name[1:])


@pytest.mark.parametrize("at_once", [1, 3, 8, 1000])
@pytest.mark.parametrize("culprit", [0, 1, 57, 98, 99])
def test_culprit_is_found_at_every_position(culprit: int, at_once: int, tmp_path: Path) -> None:
    builds = Builds(chain(100), tmp_path, lambda name, marked: position(name) >= culprit)
    found = builds.search(at_once, max_builds=20)
    assert found.first is not None
    assert (found.first.node, found.confirmed) == (f"tanh{culprit}", True)
    assert list(found.sources) == ([f"t{culprit - 1}"] if culprit else [])
    assert max(map(len, builds.marked_together)) <= max(at_once + 1, 2)
    assert builds.marked_together[-1] == (*found.sources, f"t{culprit}")


def test_few_builds_are_needed(tmp_path: Path) -> None:
    builds = Builds(chain(1000), tmp_path, lambda name, marked: position(name) >= 637)
    found = builds.search(at_once=32, max_builds=8)
    assert found.confirmed
    assert found.builds == len(builds.marked_together) - 1 == 3
    assert found.marked == sum(map(len, builds.marked_together))


def test_only_the_branch_that_departs_is_searched(tmp_path: Path) -> None:
    builds = Builds(chain(50, branch=50), tmp_path, lambda name, marked: name == "y" or name in ("b48", "b49"))
    found = builds.search(at_once=4)
    assert found.first is not None
    assert (found.first.node, found.confirmed) == ("relu48", True)


def test_departing_join_of_agreeing_branches_is_the_culprit(tmp_path: Path) -> None:
    found = Builds(chain(9, branch=9), tmp_path, lambda name, marked: name == "y").search()
    assert found.first is not None
    assert (found.first.node, found.confirmed, len(found.sources)) == ("sum", True, 2)


def test_nothing_departs(tmp_path: Path) -> None:
    found = Builds(chain(9), tmp_path, lambda name, marked: False).search()
    assert (found.first, found.builds) == (None, 0)
    assert describe(found) == ("every output agrees with ONNX Runtime's in fp32, element by element",)


def test_departing_layer_above_an_agreeing_one_is_found(tmp_path: Path) -> None:
    """b's error is hidden where it is clipped, and shows again along the other branch."""
    builds = Builds(chain(9, branch=9), tmp_path, lambda name, marked: name in ("y", "t3", "t8"))
    found = builds.search(at_once=2)
    assert found.first is not None
    assert found.first.node in ("tanh3", "tanh8")
    assert found.confirmed


def test_first_infinity_is_searched_for_once_one_was_seen(tmp_path: Path) -> None:
    def departs(name: str, marked: frozenset[str]) -> Reading:
        if name != "y" and 60 <= position(name) < 90:
            return reading(True, np.inf, infinite=True)
        return reading(position(name) >= 20, 1.5)  # inexact from t20 on; the output hides the infinity

    found = Builds(chain(100), tmp_path, departs).search(at_once=16)
    assert found.first is not None
    assert (found.first.node, found.confirmed) == ("tanh60", True)


def test_fault_that_vanishes_when_marked_is_not_certain(tmp_path: Path) -> None:
    found = Builds(chain(100), tmp_path, lambda name, marked: not marked).search()
    assert (found.confirmed, found.first is not None and found.first.tensor) == (False, "y")
    assert "a fusion is at fault" in found.why


def test_fewer_tensors_are_marked_if_many_hide_the_fault(tmp_path: Path) -> None:
    builds = Builds(chain(64), tmp_path, lambda name, marked: len(marked) < 6 and position(name) >= 30)
    found = builds.search(at_once=32, max_builds=12)
    assert found.first is not None
    assert (found.first.node, found.confirmed) == ("tanh30", True)


def test_fault_that_vanishes_when_marked_alone_is_not_certain(tmp_path: Path) -> None:
    builds = Builds(chain(9), tmp_path, lambda name, marked: not marked or (len(marked) > 3 and position(name) >= 5))
    found = builds.search()
    assert (found.confirmed, found.why) == (
        False, "it agrees if nothing else is marked: the fault is in a fusion with other layers"
    )  # fmt: skip


def test_builds_are_bounded(tmp_path: Path) -> None:
    builds = Builds(chain(1000), tmp_path, lambda name, marked: position(name) >= 637)
    found = builds.search(at_once=1, max_builds=3)
    assert (found.builds, found.confirmed) == (3, False)
    assert "layers before it were not compared: allow more builds" in found.why


def test_gradual_error_blames_no_single_layer(tmp_path: Path) -> None:
    def departs(name: str, marked: frozenset[str]) -> Reading:
        return reading(position(name) >= 50, position(name) / 50)

    found = Builds(chain(100), tmp_path, departs).search()
    assert found.is_gradual
    assert any("no single one is at fault" in line for line in describe(found))
    assert not dataclasses.replace(found, sources={"t49": reading(False, 0.1)}).is_gradual


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    cache = tmp_path_factory.mktemp("bisection") / "cache"
    with Bench(Settings(backend="onnxruntime", cache_dir=str(cache))) as bench:
        yield bench


def declared(precision: str = "fp16", accuracy: Accuracy | None = None, **spec: Any) -> Declaration:
    engine = EngineSpec(path="m.onnx", precision=precision, **spec)  # type: ignore[arg-type]
    return Declaration(spec=engine, run=RunShape(batch=2), accuracy=accuracy)


@pytest.mark.parametrize("at_once", [4, 32])
def test_weight_clipped_by_float16_is_found(at_once: int, bench: Bench, tmp_path: Path) -> None:
    onnx.save(clipped_model(), str(tmp_path / "m.onnx"))
    found = bisect(bench, declared(), [tmp_path], at_once=at_once)
    assert found.first is not None
    assert (found.first.node, found.first.tensor, found.confirmed) == ("scale_down", "down", True)
    assert list(found.sources) == ["t13"]
    text = "\n".join(describe(found))
    assert "first to depart: scale_down (Mul): output 'down' departs from onnxruntime" in text
    assert "seen again with nothing else marked" in text
    assert not found.is_gradual


def test_layer_calibrated_on_other_inputs_is_found(bench: Bench, tmp_path: Path) -> None:
    onnx.save(clipped_model(6, at=99), str(tmp_path / "m.onnx"))

    def quiet() -> Iterator[dict[str, Any]]:
        yield {"x": np.full((2, 16), 1e-3, np.float32)}

    inputs = {"x": np.random.default_rng(1).standard_normal((2, 16)).astype(np.float32)}
    found = bisect(bench, declared("int8", calibration=quiet), [tmp_path], inputs)
    assert found.first is not None
    assert (found.first.node, found.confirmed) == ("matmul0", True)
    assert "it reads nothing but the model's inputs" in "\n".join(describe(found))


def test_absolute_tolerances_are_scaled_to_each_tensor(bench: Bench, tmp_path: Path) -> None:
    """`down` is a hundred million times smaller than the output, so the output's limit must not apply to it."""
    onnx.save(clipped_model(), str(tmp_path / "m.onnx"))
    accuracy = Accuracy(rtol=0.0, atol=0.02)
    found = bisect(bench, declared(accuracy=accuracy), [tmp_path])
    assert found.first is not None
    assert (found.first.node, found.confirmed) == ("scale_down", True)


def test_accurate_model_departs_nowhere(bench: Bench, tmp_path: Path) -> None:
    onnx.save(clipped_model(at=99), str(tmp_path / "m.onnx"))
    assert bisect(bench, declared(), [tmp_path]).first is None


def test_plan_cannot_be_bisected(bench: Bench, tmp_path: Path) -> None:
    declaration = dataclasses.replace(declared(), spec=EngineSpec(path="m.plan"))
    with pytest.raises(DeclarationError, match=r"m\.plan is a plan, which has no tensors to mark: name its model"):
        bisect(bench, declaration, [tmp_path])
