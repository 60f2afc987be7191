"""The first layer that departs: the search by itself, then on models that ONNX Runtime really gets wrong."""

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
    """A model of which it is known what departs, given what is marked. Counts what the search asks for."""

    def __init__(self, made: onnx.ModelProto, folder: Path, departs: Callable[[str, frozenset[str]], Any]) -> None:
        onnx.save(made, str(folder / "m.onnx"))
        self.graph, self._departs = TensorGraph(read_model(folder / "m.onnx")), departs
        self.asked: list[tuple[str, ...]] = []

    def compare(self, names: Sequence[str]) -> Mapping[str, Reading]:
        self.asked.append(tuple(names))
        seen = {}
        for name in (*self.graph.outputs, *names):
            found = self._departs(name, frozenset(names))
            seen[name] = found if isinstance(found, Reading) else reading(found)
        return seen

    def search(self, at_once: int = 8, max_builds: int = 8) -> BisectionResult:
        return Bisection(self.graph, self.compare, at_once, max_builds).run()


def place(name: str) -> int:
    return 10**6 if name == "y" else int(name[1:])


@pytest.mark.parametrize("at_once", [1, 3, 8, 1000])
@pytest.mark.parametrize("culprit", [0, 1, 57, 98, 99])
def test_the_culprit_is_found_wherever_it_is(culprit: int, at_once: int, tmp_path: Path) -> None:
    builds = Builds(chain(100), tmp_path, lambda name, marked: place(name) >= culprit)
    found = builds.search(at_once, max_builds=20)
    assert found.first is not None
    assert (found.first.node, found.confirmed) == (f"tanh{culprit}", True)
    assert list(found.sources) == ([f"t{culprit - 1}"] if culprit else [])
    assert max(map(len, builds.asked)) <= max(at_once + 1, 2)
    assert builds.asked[-1] == (*found.sources, f"t{culprit}")


def test_builds_are_few(tmp_path: Path) -> None:
    builds = Builds(chain(1000), tmp_path, lambda name, marked: place(name) >= 637)
    found = builds.search(at_once=32, max_builds=8)
    assert found.confirmed
    assert found.builds == len(builds.asked) - 1 == 3
    assert found.marked == sum(map(len, builds.asked))


def test_only_the_branch_that_departs_is_searched(tmp_path: Path) -> None:
    builds = Builds(chain(50, branch=50), tmp_path, lambda name, marked: name == "y" or name in ("b48", "b49"))
    found = builds.search(at_once=4)
    assert found.first is not None
    assert (found.first.node, found.confirmed) == ("relu48", True)


def test_a_join_that_departs_though_its_branches_agree_is_the_culprit(tmp_path: Path) -> None:
    found = Builds(chain(9, branch=9), tmp_path, lambda name, marked: name == "y").search()
    assert found.first is not None
    assert (found.first.node, found.confirmed, len(found.sources)) == ("sum", True, 2)


def test_nothing_departs(tmp_path: Path) -> None:
    found = Builds(chain(9), tmp_path, lambda name, marked: False).search()
    assert (found.first, found.builds) == (None, 0)
    assert describe(found) == ("every output agrees with ONNX Runtime's in fp32, element by element",)


def test_a_layer_that_departs_above_one_that_agrees_is_found_all_the_same(tmp_path: Path) -> None:
    """b's error is hidden where it is clipped, and shows again along the other branch."""
    builds = Builds(chain(9, branch=9), tmp_path, lambda name, marked: name in ("y", "t3", "t8"))
    found = builds.search(at_once=2)
    assert found.first is not None
    assert found.first.node in ("tanh3", "tanh8")
    assert found.confirmed


def test_the_first_infinity_is_looked_for_once_one_was_seen(tmp_path: Path) -> None:
    def departs(name: str, marked: frozenset[str]) -> Reading:
        if name != "y" and 60 <= place(name) < 90:
            return reading(True, np.inf, infinite=True)
        return reading(place(name) >= 20, 1.5)  # inexact from there on, and the infinity is hidden by the output

    found = Builds(chain(100), tmp_path, departs).search(at_once=16)
    assert found.first is not None
    assert (found.first.node, found.confirmed) == ("tanh60", True)


def test_a_fault_that_goes_with_its_fusion_is_not_certain(tmp_path: Path) -> None:
    found = Builds(chain(100), tmp_path, lambda name, marked: not marked).search()
    assert (found.confirmed, found.first is not None and found.first.tensor) == (False, "y")
    assert "a fusion is at fault" in found.why


def test_fewer_tensors_are_marked_where_many_hide_the_fault(tmp_path: Path) -> None:
    builds = Builds(chain(64), tmp_path, lambda name, marked: len(marked) < 6 and place(name) >= 30)
    found = builds.search(at_once=32, max_builds=12)
    assert found.first is not None
    assert (found.first.node, found.confirmed) == ("tanh30", True)


def test_what_does_not_show_alone_is_not_certain(tmp_path: Path) -> None:
    builds = Builds(chain(9), tmp_path, lambda name, marked: not marked or (len(marked) > 3 and place(name) >= 5))
    found = builds.search()
    assert (found.confirmed, found.why) == (
        False, "it agrees if nothing else is marked: the fault is in a fusion with other layers"
    )  # fmt: skip


def test_builds_are_bounded(tmp_path: Path) -> None:
    builds = Builds(chain(1000), tmp_path, lambda name, marked: place(name) >= 637)
    found = builds.search(at_once=1, max_builds=3)
    assert (found.builds, found.confirmed) == (3, False)
    assert "layers before it were not compared: allow more builds" in found.why


def test_an_error_that_grows_is_no_single_layers_fault(tmp_path: Path) -> None:
    def departs(name: str, marked: frozenset[str]) -> Reading:
        return reading(place(name) >= 50, place(name) / 50)

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
    made = EngineSpec(path="m.onnx", precision=precision, **spec)  # type: ignore[arg-type]
    return Declaration(spec=made, run=RunShape(batch=2), accuracy=accuracy)


@pytest.mark.parametrize("at_once", [4, 32])
def test_a_weight_that_float16_clips_is_found(at_once: int, bench: Bench, tmp_path: Path) -> None:
    onnx.save(clipped_model(), str(tmp_path / "m.onnx"))
    found = bisect(bench, declared(), [tmp_path], at_once=at_once)
    assert found.first is not None
    assert (found.first.node, found.first.tensor, found.confirmed) == ("scale_down", "down", True)
    assert list(found.sources) == ["t13"]
    text = "\n".join(describe(found))
    assert "first to depart: scale_down (Mul): output 'down' departs from onnxruntime" in text
    assert "seen again with nothing else marked" in text
    assert not found.is_gradual


def test_a_layer_that_was_not_calibrated_for_what_it_gets_is_found(bench: Bench, tmp_path: Path) -> None:
    onnx.save(clipped_model(6, at=99), str(tmp_path / "m.onnx"))

    def quiet() -> Iterator[dict[str, Any]]:
        yield {"x": np.full((2, 16), 1e-3, np.float32)}

    inputs = {"x": np.random.default_rng(1).standard_normal((2, 16)).astype(np.float32)}
    found = bisect(bench, declared("int8", calibration=quiet), [tmp_path], inputs)
    assert found.first is not None
    assert (found.first.node, found.confirmed) == ("matmul0", True)
    assert "it reads nothing but the model's inputs" in "\n".join(describe(found))


def test_absolute_tolerances_go_with_the_size_of_each_tensor(bench: Bench, tmp_path: Path) -> None:
    """`down` is a hundred millionth of the output: what is allowed of that must not be allowed of it."""
    onnx.save(clipped_model(), str(tmp_path / "m.onnx"))
    said = Accuracy(rtol=0.0, atol=0.02)
    found = bisect(bench, declared(accuracy=said), [tmp_path])
    assert found.first is not None
    assert (found.first.node, found.confirmed) == ("scale_down", True)


def test_what_is_right_departs_nowhere(bench: Bench, tmp_path: Path) -> None:
    onnx.save(clipped_model(at=99), str(tmp_path / "m.onnx"))
    assert bisect(bench, declared(), [tmp_path]).first is None


def test_a_plan_has_nothing_to_mark(bench: Bench, tmp_path: Path) -> None:
    given = dataclasses.replace(declared(), spec=EngineSpec(path="m.plan"))
    with pytest.raises(DeclarationError, match=r"m\.plan is a plan, which has no tensors to mark: name its model"):
        bisect(bench, given, [tmp_path])
