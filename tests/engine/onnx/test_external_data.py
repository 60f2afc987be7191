"""Test that weights in other files are found through links, but never outside the model's folders."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from pytest_trt.engine.convert import half
from pytest_trt.engine.model.intermediate import TensorGraph
from pytest_trt.engine.model.model import read_model
from pytest_trt.engine.onnx.model_files import copy_model
from pytest_trt.errors import ModelError

X = np.linspace(-1, 1, 8, dtype=np.float32).reshape(2, 4)


def save(folder: Path, location: str = "m.onnx_data") -> Path:
    """Save y = x @ w, with w in another file, and return the path of the model."""
    weight = numpy_helper.from_array(np.arange(16, dtype=np.float32).reshape(4, 4), "w")
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [2, 4]) for name in "xy")
    graph = helper.make_graph([helper.make_node("MatMul", ["x", "w"], ["y"])], "g", [x], [y], [weight])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    folder.mkdir(parents=True, exist_ok=True)
    onnx.save(model, str(folder / "m.onnx"), save_as_external_data=True, location=location, size_threshold=0)
    return folder / "m.onnx"


def hub_cache(folder: Path) -> Path:
    """Links into `blobs/`, as in the cache of huggingface_hub."""
    blobs, snapshot = folder / "blobs", folder / "snapshots" / "abc" / "onnx"
    model = save(blobs)
    snapshot.mkdir(parents=True)
    for source, blob in ((model, "1111"), (blobs / "m.onnx_data", "2222")):
        source.rename(blobs / blob)
        (snapshot / source.name).symlink_to(f"../../../blobs/{blob}")
    return snapshot / "m.onnx"


def link_to_model(folder: Path) -> Path:
    """A link to a model whose weights lie beside its target."""
    model = save(folder / "models")
    (folder / "links").mkdir()
    (folder / "links" / "renamed.onnx").symlink_to(model)
    return folder / "links" / "renamed.onnx"


def link_to_weights(folder: Path) -> Path:
    """A model whose weights are a link within its folder."""
    model = save(folder / "models")
    (folder / "models" / "m.onnx_data").rename(folder / "models" / "stored")
    (folder / "models" / "m.onnx_data").symlink_to("stored")
    return model


def linked_folder(folder: Path) -> Path:
    """A link to the folder of a model."""
    save(folder / "models")
    (folder / "linked").symlink_to("models")
    return folder / "linked" / "m.onnx"


def hard_links(folder: Path) -> Path:
    """Two names of the same files, as `cp -l` and package managers make them."""
    save(folder / "models")
    (folder / "copy").mkdir()
    for name in ("m.onnx", "m.onnx_data"):
        os.link(folder / "models" / name, folder / "copy" / name)
    return folder / "copy" / "m.onnx"


LAYOUTS = (hub_cache, link_to_model, link_to_weights, linked_folder, hard_links)
layouts = pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.__name__)


def run(path: Path) -> np.ndarray:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {"x": X})[0])


@layouts
def test_linked_weights_have_the_hash_of_plain_ones(layout: Callable[[Path], Path], tmp_path: Path) -> None:
    model = read_model(layout(tmp_path / "linked"))
    assert model.sha256 == read_model(save(tmp_path / "plain")).sha256
    assert model.path.parent.resolve().is_relative_to(tmp_path / "linked")


@layouts
def test_change_of_linked_weights_changes_the_hash(layout: Callable[[Path], Path], tmp_path: Path) -> None:
    path = layout(tmp_path)
    before = read_model(path).sha256
    weights = next(file for file in tmp_path.rglob("*") if file.is_file() and file.stat().st_size == 64)
    weights.write_bytes(bytes(64))
    assert read_model(path).sha256 != before


@layouts
def test_linked_weights_are_copied_converted_and_marked(layout: Callable[[Path], Path], tmp_path: Path) -> None:
    path = layout(tmp_path)
    expected = X @ np.arange(16, dtype=np.float32).reshape(4, 4)
    output = tmp_path / "output"
    output.mkdir()
    copy_model(path, output / "copy.onnx")
    half.convert(path, "fp16", output / "half.onnx")
    TensorGraph(read_model(path)).write_marked([], output / "marked.onnx")
    np.testing.assert_allclose(run(output / "copy.onnx"), expected, rtol=1e-6)
    np.testing.assert_allclose(run(output / "half.onnx"), expected, rtol=1e-2, atol=1e-2)
    np.testing.assert_allclose(run(output / "marked.onnx"), expected, rtol=1e-6)


@layouts
def test_parser_gets_a_path_with_the_weights_beside_it(layout: Callable[[Path], Path], tmp_path: Path) -> None:
    """TensorRT's parser looks for weights beside the path that it is given."""
    path = read_model(layout(tmp_path)).parser_path
    assert path.is_file()
    assert (path.parent / "m.onnx_data").is_file()


def test_weights_beside_a_link_and_its_target_cannot_be_parsed(tmp_path: Path) -> None:
    path = link_to_model(tmp_path)
    model = onnx.load(str(path), load_external_data=False)
    second = numpy_helper.from_array(np.ones(4, np.float32), "v")
    second.ClearField("raw_data")
    second.data_location = TensorProto.EXTERNAL
    second.external_data.add(key="location", value="v.data")
    model.graph.initializer.append(second)
    path.resolve().write_bytes(model.SerializeToString())
    (path.parent / "v.data").write_bytes(np.ones(4, np.float32).tobytes())
    with pytest.raises(ModelError, match=r"neither all beside it nor all beside its target .*: copy the model"):
        _ = read_model(path).parser_path


@pytest.mark.parametrize("location", ["", "../m.onnx_data", "/etc/hostname", "inner/../../m.onnx_data"])
def test_location_outside_the_folder_is_refused_through_a_link_too(location: str, tmp_path: Path) -> None:
    path = link_to_model(tmp_path)
    model = onnx.load(str(path), load_external_data=False)
    entry = next(entry for entry in model.graph.initializer[0].external_data if entry.key == "location")
    entry.value = location
    path.resolve().write_bytes(model.SerializeToString())
    for folder in (tmp_path, tmp_path / "links", tmp_path / "models" / "inner", tmp_path / "links" / "inner"):
        folder.mkdir(exist_ok=True)
        (folder / "m.onnx_data").write_bytes(bytes(64))
    (tmp_path / "m.onnx_data").write_bytes(bytes(64))
    with pytest.raises(ModelError, match="outside its folder"):
        read_model(path)


def test_link_that_leads_out_of_the_folder_is_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "models")
    (tmp_path / "secret").write_bytes(bytes(64))
    (tmp_path / "models" / "m.onnx_data").unlink()
    (tmp_path / "models" / "m.onnx_data").symlink_to(tmp_path / "secret")
    with pytest.raises(ModelError, match=r"is a link to .*secret, outside the folder of the model: copy it \(cp -L\)"):
        read_model(path)
    (tmp_path / "models" / "m.onnx_data").unlink()
    (tmp_path / "models" / "m.onnx_data").symlink_to("m.onnx_data")
    with pytest.raises(ModelError, match=r"which is not in .*: copy it beside the model"):
        read_model(path)
