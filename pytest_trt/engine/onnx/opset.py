"""Convert a model to a later opset without changing its results, which onnx's converter alone does not ensure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pytest_trt.engine.onnx import traverse

_LAST_PLAIN_RESIZE = 10
"""The last opset in which Upsample and Resize have no coordinate_transformation_mode and are asymmetric (ONNX's
operator changelog). Later opsets have another default, and onnx's converter (1.23) does not set the old one."""

_LAST_FLAT_HARDMAX = 12
"""The last opset in which Hardmax treats all axes from `axis` on as one. Later opsets use `axis` alone. onnx's
converter adapts Softmax and LogSoftmax, but not Hardmax."""


def version_of(model: Any) -> int:
    """Return the opset version of ONNX's own operators in a model, or 0 if it has none."""
    return max((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), default=0)


def upgrade(model: Any, opset: int) -> Any:
    """Return `model` converted to a later `opset`.

    Raises:
        ValueError: A Resize rounds in a way that no later opset has.
        Exception: onnx's converter failed.
    """
    import onnx.version_converter
    from onnx import helper

    before = version_of(model)
    resize = _resize_attributes(model) if before <= _LAST_PLAIN_RESIZE < opset else {}
    if before <= _LAST_FLAT_HARDMAX < opset:
        for graph in traverse.graphs(model):
            _flatten_hardmax(graph)
    model = onnx.version_converter.convert_version(model, opset)
    for node in traverse.nodes(model):
        if node.op_type == "Resize" and node.output[0] in resize:
            attributes = {"coordinate_transformation_mode": "asymmetric", **resize[node.output[0]]}
            node.attribute.extend(helper.make_attribute(name, value) for name, value in attributes.items())
    return model


def _resize_attributes(model: Any) -> dict[str, dict[str, str]]:
    """Return the attributes that each Upsample and Resize needs in a later opset to keep its rounding, by its output.

    Raises:
        ValueError: A Resize rounds in a way that no later opset has.
    """
    from onnx import numpy_helper

    scales = {tensor.name: tensor for tensor in traverse.tensors(model)}
    found: dict[str, dict[str, str]] = {}
    for node in traverse.nodes(model):
        if node.op_type in ("Upsample", "Resize"):
            linear = any(a.name == "mode" and a.s in (b"linear", b"bilinear") for a in node.attribute)
            mode = "floor"
            if node.op_type == "Resize" and not linear:
                constant = node.input[1] in scales
                mode = _nearest_mode(numpy_helper.to_array(scales[node.input[1]]).tolist() if constant else ())
            found[node.output[0]] = {} if linear else {"nearest_mode": mode}
    return found


def _nearest_mode(scales: Sequence[float]) -> str:
    """Return the nearest_mode of a Resize of opset 10. `scales` is empty if the model computes them.

    Opset 10 does not define it. ONNX's tests and ONNX Runtime round up if an axis shrinks, and down otherwise.

    Raises:
        ValueError: The scales are computed, or one axis shrinks while another grows.
    """
    shrinks = {scale < 1 for scale in scales if scale != 1}
    if not scales or len(shrinks) > 1:
        why = "enlarges one axis and shrinks another" if scales else "computes its scales"
        raise ValueError(f"a Resize to the nearest pixel {why}, and no later opset can round as it does")
    return "ceil" if True in shrinks else "floor"


def _flatten_hardmax(graph: Any) -> None:
    """Let each Hardmax read a matrix, whose rows contain the axes that it treats as one."""
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
