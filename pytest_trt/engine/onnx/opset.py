"""A model in a later opset, in which it computes what it did: onnx's converter alone does not always see to that."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pytest_trt.engine.onnx import traverse

_LAST_PLAIN_RESIZE = 10
"""Up to this opset Upsample and Resize have no coordinate_transformation_mode, and are asymmetric (ONNX's operator
changelog); later the default is another, which onnx's converter (1.23) leaves them with."""

_LAST_FLAT_HARDMAX = 12
"""Up to this opset Hardmax takes all axes from `axis` on for one; later `axis` alone. onnx's converter knows it of
Softmax and LogSoftmax."""


def version_of(model: Any) -> int:
    """The opset of ONNX's own operators in a model; 0 where it has none of them."""
    return max((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), default=0)


def upgrade(model: Any, opset: int) -> Any:
    """`model` in a later `opset`. Raises ValueError for a Resize whose rounding no later one has, and what onnx's
    converter raises."""
    import onnx.version_converter
    from onnx import helper

    before = version_of(model)
    rounding = _resize_attributes(model) if before <= _LAST_PLAIN_RESIZE < opset else {}
    if before <= _LAST_FLAT_HARDMAX < opset:
        for graph in traverse.graphs(model):
            _flatten_hardmax(graph)
    model = onnx.version_converter.convert_version(model, opset)
    for node in traverse.nodes(model):
        if node.op_type == "Resize" and node.output[0] in rounding:
            said = {"coordinate_transformation_mode": "asymmetric", **rounding[node.output[0]]}
            node.attribute.extend(helper.make_attribute(name, value) for name, value in said.items())
    return model


def _resize_attributes(model: Any) -> dict[str, dict[str, str]]:
    """What each Upsample and Resize of an old opset, by its output, has to say in a new one of the pixel it takes."""
    from onnx import numpy_helper

    scales = {tensor.name: tensor for tensor in traverse.tensors(model)}
    found: dict[str, dict[str, str]] = {}
    for node in traverse.nodes(model):
        if node.op_type in ("Upsample", "Resize"):
            linear = any(a.name == "mode" and a.s in (b"linear", b"bilinear") for a in node.attribute)
            mode = "floor"
            if node.op_type == "Resize" and not linear:
                known = node.input[1] in scales
                mode = _nearest_mode(numpy_helper.to_array(scales[node.input[1]]).tolist() if known else ())
            found[node.output[0]] = {} if linear else {"nearest_mode": mode}
    return found


def _nearest_mode(scales: Sequence[float]) -> str:
    """How the nearest pixel is found: opset 10 leaves it open, its own tests and ONNX Runtime take the next one where
    an axis shrinks, and else the one before."""
    shrinks = {scale < 1 for scale in scales if scale != 1}
    if not scales or len(shrinks) > 1:
        why = "makes one axis larger and another one smaller" if scales else "computes its scales"
        raise ValueError(f"a Resize to the nearest pixel {why}, and later ones cannot round as it does")
    return "ceil" if True in shrinks else "floor"


def _flatten_hardmax(graph: Any) -> None:
    """Give each Hardmax a matrix whose rows are what it takes for one axis."""
    from onnx import helper

    nodes = list(graph.node)
    del graph.node[:]
    for node in nodes:
        if node.op_type != "Hardmax":
            graph.node.append(node)
            continue
        (source,), (result,) = node.input, node.output
        axis = next((attribute.i for attribute in node.attribute if attribute.name == "axis"), 1)
        shape, matrix, largest = (f"{result}_hardmax_{part}" for part in ("shape", "matrix", "largest"))
        graph.node.extend(
            [
                helper.make_node("Shape", [source], [shape]),
                helper.make_node("Flatten", [source], [matrix], axis=axis),
                helper.make_node("Hardmax", [matrix], [largest], node.name, axis=1),
                helper.make_node("Reshape", [largest, shape], [result]),
            ]
        )
