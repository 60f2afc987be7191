"""Find bfloat16 in a model: few operators of ONNX Runtime support it on a CPU."""

from __future__ import annotations

from pathlib import Path

from pytest_trt.engine.onnx import traverse


def find_bfloat16(path: Path) -> str | None:
    """Return the name of a bfloat16 value of a model, if there is one."""
    import onnx

    kind, model = onnx.TensorProto.BFLOAT16, onnx.load(str(path), load_external_data=False)
    for graph in traverse.graphs(model):
        for value in (*graph.input, *graph.output, *graph.value_info):
            if value.type.tensor_type.elem_type == kind:
                return str(value.name)
    names = [tensor.name for tensor in traverse.tensors(model) if tensor.data_type == kind]
    casts = (node for node in traverse.nodes(model) if node.op_type == "Cast")
    names += [node.output[0] for node in casts if any(a.name == "to" and a.i == kind for a in node.attribute)]
    return next(iter(names), None)
