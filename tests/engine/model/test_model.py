"""Test how models are found, read and hashed: real ONNX files, complete and broken."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from pytest_trt.engine.cache.store import Store
from pytest_trt.engine.model.model import Model, read_model, resolve_model
from pytest_trt.engine.tensors import Tensor
from pytest_trt.errors import ModelError
from pytest_trt.spec.engine_spec import EngineSpec

LIGHT = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"
Save = Callable[..., Path]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "cache", 10**9) as opened:
        yield opened


def model_of(
    inputs: list[onnx.ValueInfoProto],
    outputs: list[onnx.ValueInfoProto] | None = None,
    nodes: list[onnx.NodeProto] | None = None,
    weights: list[TensorProto] | None = None,
    opset: int = 17,
) -> onnx.ModelProto:
    """Return a model; without nodes, its output is its first input."""
    outputs = outputs or [helper.make_tensor_value_info("y", inputs[0].type.tensor_type.elem_type or 1, None)]
    nodes = nodes or [helper.make_node("Identity", [inputs[0].name], ["y"])]
    graph = helper.make_graph(nodes, "g", inputs, outputs, weights or [])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def save_external(folder: Path, name: str = "m.onnx", location: str = "m.data") -> Path:
    """x [2, 4] + w, with w in another file."""
    weights = [numpy_helper.from_array(np.arange(8, dtype=np.float32).reshape(2, 4), "w")]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, 4])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [2, 4])
    model = model_of([x], [y], [helper.make_node("Add", ["x", "w"], ["y"])], weights)
    folder.mkdir(parents=True, exist_ok=True)
    onnx.save(model, str(folder / name), save_as_external_data=True, location=location, size_threshold=0)
    return folder / name


def test_inputs_outputs_and_dimensions_are_read(tmp_path: Path) -> None:
    inputs = [
        helper.make_tensor_value_info("ids", TensorProto.INT64, ["batch", "sequence"]),
        helper.make_tensor_value_info("mask", TensorProto.BOOL, ["batch", None]),
        helper.make_tensor_value_info("scale", TensorProto.BFLOAT16, []),
        helper.make_tensor_value_info("picture", TensorProto.FLOAT, [-1, "?", "?"]),
        helper.make_tensor_value_info("free", TensorProto.FLOAT16, None),
    ]
    path = tmp_path / "m.onnx"
    onnx.save(model_of(inputs, [helper.make_tensor_value_info("y", TensorProto.INT64, ["batch", 4])]), str(path))
    model = read_model(path)
    assert model.inputs == (
        Tensor("ids", "int64", (-1, -1)), Tensor("mask", "bool", (-1, -1)), Tensor("scale", "bfloat16", ()),
        Tensor("picture", "float32", (-1, -1, -1)), Tensor("free", "float16", ()),
    )  # fmt: skip
    assert model.outputs == (Tensor("y", "int64", (-1, 4)),)
    assert model.dims == {
        "ids": ("batch", "sequence"), "mask": ("batch", None), "scale": (), "picture": (None, None, None), "free": None,
        "y": ("batch", 4),
    }  # fmt: skip
    assert (model.kind, model.opset, model.ops) == ("onnx", 17, {"Identity"})


@pytest.mark.parametrize("path", sorted(LIGHT.glob("*.onnx")), ids=lambda path: path.stem)
def test_weights_listed_as_inputs_are_not_inputs(path: Path) -> None:
    model = read_model(path)
    assert [tensor.shape for tensor in model.inputs] == [(1, 3, 224, 224)]


def test_hash_is_that_of_the_file(save_model: Save, tmp_path: Path) -> None:
    path = save_model()
    assert read_model(path).sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    shutil.copy(path, tmp_path / "copy.onnx")
    assert read_model(tmp_path / "copy.onnx").sha256 == read_model(path).sha256


def test_hash_covers_external_data_but_not_the_folder(tmp_path: Path) -> None:
    path = save_external(tmp_path / "one", location="weights.data")
    before = read_model(path)
    assert before.external == ("weights.data",)
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    assert read_model(tmp_path / "two" / "m.onnx").sha256 == before.sha256
    data = tmp_path / "one" / "weights.data"
    data.write_bytes(b"\1" + data.read_bytes()[1:])
    assert read_model(path).sha256 != before.sha256


def test_modified_file_is_read_again(save_model: Save) -> None:
    before = read_model(save_model(width=8))
    after = read_model(save_model(width=16))
    assert before.path == after.path
    assert before.sha256 != after.sha256
    assert after.inputs[0].shape == (-1, 16)


def test_external_data_in_constants_inside_branches_is_found(tmp_path: Path) -> None:
    then = numpy_helper.from_array(np.zeros(3, np.float32), "then_value")
    then.data_location = TensorProto.EXTERNAL
    then.external_data.add(key="location", value="hidden.data")
    then.ClearField("raw_data")
    y = helper.make_tensor_value_info("b", TensorProto.FLOAT, [3])
    branch = helper.make_graph([helper.make_node("Constant", [], ["b"], value=then)], "branch", [], [y])
    condition = helper.make_tensor_value_info("c", TensorProto.BOOL, [])
    node = helper.make_node("If", ["c"], ["y"], then_branch=branch, else_branch=branch)
    model = model_of([condition], [helper.make_tensor_value_info("y", TensorProto.FLOAT, [3])], [node])
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(ModelError, match=r"keeps weights in 'hidden.data', which is not in"):
        read_model(tmp_path / "m.onnx")


def test_weights_are_not_loaded_to_read_a_model(tmp_path: Path) -> None:
    """The file of 3 GB of weights is sparse: it uses no disk space."""
    weight = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[750_000_000], data_location=TensorProto.EXTERNAL)
    for key, value in {"location": "big.data", "offset": "0", "length": "3000000000"}.items():
        weight.external_data.add(key=key, value=value)
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N"])
    (tmp_path / "m.onnx").write_bytes(model_of([x], weights=[weight]).SerializeToString())
    with (tmp_path / "big.data").open("wb") as data:
        data.truncate(2_999_999_999)
    with pytest.raises(ModelError, match="was cut short: it has 2999999999 bytes, but the weight 'w'"):
        read_model(tmp_path / "m.onnx")
    (tmp_path / "big.data").unlink()
    with pytest.raises(ModelError, match=r"keeps weights in 'big\.data', which is not in"):
        read_model(tmp_path / "m.onnx")


def broken(name: str, tmp_path: Path) -> Path:
    path = save_external(tmp_path)
    whole = path.read_bytes()
    if name == "empty":
        path.write_bytes(b"")
    elif name == "truncated":
        path.write_bytes(whole[: len(whole) // 2])
    elif name == "cut after the graph":
        model = onnx.load(str(path), load_external_data=False)
        model.ClearField("opset_import")
        path.write_bytes(model.SerializeToString())
    elif name == "no model":
        path.write_bytes(b"<!DOCTYPE html><html>Not found</html>")
    elif name == "pointer":
        path.write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12345\n")
    elif name == "no data":
        (tmp_path / "m.data").unlink()
    elif name == "short data":
        (tmp_path / "m.data").write_bytes(b"1234")
    elif name == "data is a pointer":
        (tmp_path / "m.data").write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12345\n")
    elif name == "no number":
        model = onnx.load(str(path), load_external_data=False)
        model.graph.initializer[0].external_data.add(key="offset", value="-1")
        path.write_bytes(model.SerializeToString())
    elif name in ("data above", "absolute data", "data behind a link"):
        outside = tmp_path.parent / f"{tmp_path.name}.data"
        shutil.copy(tmp_path / "m.data", outside)
        location = {"data above": f"../{outside.name}", "absolute data": str(outside)}.get(name, "link.data")
        if name == "data behind a link":
            (tmp_path / "link.data").symlink_to(outside)
        model = onnx.load(str(path), load_external_data=False)
        for entry in model.graph.initializer[0].external_data:
            if entry.key == "location":
                entry.value = location
        path.write_bytes(model.SerializeToString())
    return path


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("empty", "is empty (0 bytes): export or copy it again"),
        ("truncated", "was cut short at"),
        ("cut after the graph", "is no complete ONNX model"),
        ("no model", "is no ONNX model"),
        ("pointer", "is a Git LFS pointer, not the model: git lfs pull"),
        ("no data", "keeps weights in 'm.data', which is not in"),
        ("short data", "m.data was cut short: it has 4 bytes, but the weight 'w' of m.onnx ends at byte 32"),
        ("data is a pointer", "is a Git LFS pointer: git lfs pull"),
        ("no number", "the offset and length of the weight 'w' in 'm.data' are ['-1', '32']"),
        ("data above", "outside its folder"),
        ("absolute data", "outside its folder"),
        ("data behind a link", ".data, outside the folder of the model: copy it (cp -L)"),
    ],
)
def test_broken_model_is_explained(name: str, message: str, tmp_path: Path) -> None:
    path = broken(name, tmp_path)
    with pytest.raises(ModelError) as caught:
        read_model(path)
    assert message in str(caught.value)
    assert str(tmp_path) in str(caught.value)


def test_model_truncated_at_any_byte_is_an_error(save_model: Save, tmp_path: Path) -> None:
    whole = save_model(width=4).read_bytes()
    cut = tmp_path / "cut.onnx"
    for size in range(len(whole)):
        cut.write_bytes(whole[:size])
        with pytest.raises(ModelError):
            read_model(cut)


@pytest.mark.parametrize(
    ("value", "what"),
    [
        (helper.make_tensor_value_info("x", TensorProto.STRING, [1]), "string"),
        (helper.make_tensor_sequence_value_info("x", TensorProto.FLOAT, None), "sequence"),
    ],
)
def test_input_that_is_no_tensor_of_numbers_is_an_error(value: onnx.ValueInfoProto, what: str, tmp_path: Path) -> None:
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])
    (tmp_path / "m.onnx").write_bytes(model_of([value], [y]).SerializeToString())
    with pytest.raises(ModelError, match=f"the input 'x' is of type {what}"):
        read_model(tmp_path / "m.onnx")


def test_path_is_searched_for_in_each_folder_in_turn(save_model: Save, tmp_path: Path, store: Store) -> None:
    (tmp_path / "tests").mkdir()
    outer = save_model("m.onnx", tmp_path)
    folders = [tmp_path / "tests", tmp_path]
    assert resolve_model(EngineSpec(path="m.onnx"), folders, store).path == outer
    inner = save_model("m.onnx", tmp_path / "tests")
    assert resolve_model(EngineSpec(path="m.onnx"), folders, store).path == inner
    assert resolve_model(EngineSpec(path="../m.onnx"), folders, store).path.samefile(outer)
    assert resolve_model(EngineSpec(path=str(outer)), folders, store).path == outer


def test_missing_model_lists_searched_paths_and_the_nearest_name(
    save_model: Save, tmp_path: Path, store: Store
) -> None:
    save_model("resnet18.onnx")
    with pytest.raises(ModelError) as caught:
        resolve_model(EngineSpec(path="resnet.onnx"), [tmp_path / "nowhere", tmp_path], store)
    assert str(caught.value) == (
        "there is no model 'resnet.onnx' (did you mean 'resnet18.onnx'?): "
        f"looked for {tmp_path}/nowhere/resnet.onnx; {tmp_path}/resnet.onnx"
    )


def test_folder_instead_of_a_model_lists_its_models(save_model: Save, tmp_path: Path, store: Store) -> None:
    (tmp_path / "models").mkdir()
    save_model("a.onnx", tmp_path / "models")
    with pytest.raises(ModelError, match=r"is a folder .*: it has a.onnx"):
        resolve_model(EngineSpec(path="models"), [tmp_path], store)


def test_function_may_return_a_model_or_a_path(save_model: Save, store: Store) -> None:
    path = save_model()
    by_path = resolve_model(EngineSpec(onnx=lambda: path), [], store)
    assert by_path.path == path
    made = onnx.load(str(path))
    by_model = resolve_model(EngineSpec(onnx=lambda: made), [], store)
    assert by_model.path.is_relative_to(store.folder)
    assert by_model.inputs == by_path.inputs
    assert resolve_model(EngineSpec(onnx=lambda: made), [], store) == by_model


def raises() -> None:
    raise RuntimeError("no weights here")


def exits() -> None:
    raise SystemExit("no weights here")


def test_system_exit_of_a_function_is_an_error(store: Store) -> None:
    with pytest.raises(ModelError, match=r"trt_engine\(onnx=exits\).*SystemExit: no weights here"):
        resolve_model(EngineSpec(onnx=exits), [], store)


def test_exception_of_a_function_names_the_function(store: Store) -> None:
    for name in ("onnx", "build"):
        with pytest.raises(ModelError, match=rf"trt_engine\({name}=raises\).*RuntimeError: no weights here"):
            resolve_model(EngineSpec(**{name: raises}), [], store)


@pytest.mark.parametrize(
    ("name", "returned", "message"),
    [
        ("onnx", 3, "returned int: it must return a path or a ModelProto"),
        ("build", "text", "returned str: it must return a plan's bytes"),
        ("build", b"", "returned no bytes: it must return a plan's bytes"),
    ],
)
def test_invalid_return_value_of_a_function_is_an_error(
    name: str, returned: object, message: str, store: Store
) -> None:
    with pytest.raises(ModelError, match=message):
        resolve_model(EngineSpec(**{name: lambda: returned}), [], store)


def test_returned_model_must_contain_its_weights(tmp_path: Path, store: Store) -> None:
    light = onnx.load(str(save_external(tmp_path)), load_external_data=False)
    with pytest.raises(ModelError, match="whose weights lie in another file"):
        resolve_model(EngineSpec(onnx=lambda: light), [], store)


def test_plans_are_not_read(tmp_path: Path, store: Store) -> None:
    (tmp_path / "m.engine").write_bytes(b"a plan")
    model = resolve_model(EngineSpec(path="m.engine"), [tmp_path], store)
    assert (model.kind, model.sha256) == ("plan", hashlib.sha256(b"a plan").hexdigest())
    built = resolve_model(EngineSpec(build=lambda: b"a plan"), [], store)
    assert built.path.read_bytes() == b"a plan"
    assert built.sha256 == model.sha256
    known = model.with_tensors([Tensor("x", "float32", (-1, 4))], [Tensor("y", "float32", (-1,))])
    assert known.dims == {"x": (None, 4), "y": (None,)}


@pytest.mark.parametrize("content", [b"", b"version https://git-lfs.github.com/spec/v1\n"])
def test_invalid_plan_file_is_an_error(content: bytes, tmp_path: Path, store: Store) -> None:
    (tmp_path / "m.plan").write_bytes(content)
    with pytest.raises(ModelError, match=r"is empty|git lfs pull"):
        resolve_model(EngineSpec(path="m.plan"), [tmp_path], store)


def test_spec_without_a_model_is_an_error(store: Store) -> None:
    with pytest.raises(ModelError, match="no model is named: write trt_engine"):
        resolve_model(EngineSpec(), [], store)


def test_quantised_models_are_recognised_by_their_operators(tmp_path: Path) -> None:
    x = helper.make_tensor_value_info("x", TensorProto.INT8, [4])
    scale = numpy_helper.from_array(np.float32(0.1), "s")
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [4])
    model = model_of([x], [y], [helper.make_node("DequantizeLinear", ["x", "s"], ["y"])], [scale])
    onnx.save(model, str(tmp_path / "q.onnx"))
    assert read_model(tmp_path / "q.onnx").has_qdq
    assert not Model(tmp_path, "", "plan").has_qdq


def test_unreadable_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=f"{tmp_path}/absent.onnx cannot be read: No such file"):
        read_model(tmp_path / "absent.onnx")
    os.mkfifo(tmp_path / "pipe.onnx")
    with pytest.raises(ModelError, match=r"there is no model 'pipe.onnx'"), Store(tmp_path / "cache", 10**9) as store:
        resolve_model(EngineSpec(path="pipe.onnx"), [tmp_path], store)
