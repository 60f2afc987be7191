"""Run an ONNX graph as a PyTorch module: node by node with the functions of PyTorch, like eager code.

`write` needs onnx and writes a folder. `Network(folder)` needs only torch and numpy, so it can run in another
interpreter. It supports the operators of benchmarks/networks.py, except NonMaxSuppression, which PyTorch lacks.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

try:
    import torch
    from torch.nn import functional
except ImportError:  # The interpreter that writes does not need torch.
    torch = None

Module = torch.nn.Module if torch is not None else object


def write(model: Any, folder: Path) -> None:
    """Write the graph as JSON to `folder`, and its weights as an .npz file beside it."""
    from onnx import numpy_helper

    folder.mkdir(parents=True, exist_ok=True)
    weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    np.savez(folder / "weights.npz", **{f"w{i}": array for i, array in enumerate(weights.values())})
    content = {"graph": _graph(model.graph), "weights": list(weights), "opset": model.opset_import[0].version}
    (folder / "graph.json").write_text(json.dumps(content))


def _graph(graph: Any) -> dict[str, Any]:
    """Return the nodes, inputs and outputs of a graph as JSON data; graphs inside attributes are converted too."""
    from onnx import AttributeProto, helper

    def attribute(found: Any) -> Any:
        value = helper.get_attribute_value(found)
        if found.type == AttributeProto.GRAPH:
            return _graph(value)
        return list(value) if found.type in (AttributeProto.INTS, AttributeProto.FLOATS) else value

    def plain(value: Any) -> Any:
        return value.decode() if isinstance(value, bytes) else value

    nodes = [
        (n.op_type, list(n.input), list(n.output), {a.name: plain(attribute(a)) for a in n.attribute})
        for n in graph.node
    ]
    weights = {tensor.name for tensor in graph.initializer}
    inputs = [value.name for value in graph.input if value.name not in weights]
    return {"nodes": nodes, "inputs": inputs, "outputs": [value.name for value in graph.output]}


class Network(Module):  # type: ignore[misc, valid-type]
    """The graph in `folder`. A call takes the inputs in order, and returns the outputs in order."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        content = json.loads((folder / "graph.json").read_text())
        self._graph, self._opset = content["graph"], content["opset"]
        self._names = {name: f"w{i}" for i, name in enumerate(content["weights"])}
        with np.load(folder / "weights.npz") as file:
            for key in self._names.values():
                self.register_buffer(key, torch.from_numpy(file[key]))
        self._host = {
            name: getattr(self, key).tolist() for name, key in self._names.items() if not self._is_weight(key)
        }
        """The constants that the host reads: shapes and axes."""

    def _is_weight(self, key: str) -> bool:
        return bool(getattr(self, key).is_floating_point())

    def forward(self, *inputs: Any) -> Any:
        values = {name: getattr(self, key) for name, key in self._names.items()}
        return self._run(self._graph, values, inputs)

    def _run(self, graph: Mapping[str, Any], outer: Mapping[str, Any], inputs: Sequence[Any]) -> list[Any]:
        values = {**outer, **dict(zip(graph["inputs"], inputs, strict=True))}
        for operator, names, outputs, attributes in graph["nodes"]:
            arguments = [values[name] if name else None for name in names]
            if operator == "If":
                results = self._run(attributes["then_branch" if bool(arguments[0]) else "else_branch"], values, ())
            elif operator == "Loop":
                results = self._loop(attributes["body"], values, arguments)
            else:
                host = [self._host.get(name, value) for name, value in zip(names, arguments, strict=True)]
                results = _OPERATORS[operator](arguments, host, {"opset": self._opset, **attributes})
            values.update(zip(outputs, results if isinstance(results, (list, tuple)) else (results,), strict=False))
        return [values[name] for name in graph["outputs"]]

    def _loop(self, body: Mapping[str, Any], values: Mapping[str, Any], arguments: list[Any]) -> list[Any]:
        max_turns, condition, state = int(arguments[0]), arguments[1], arguments[2:]
        for turn in range(max_turns):
            condition, *state = self._run(body, values, (turn, condition, *state))
            if not bool(condition):
                break
        return state


Inputs, HostInputs, Attributes = list[Any], list[Any], Mapping[str, Any]


def _pads(x: Any, a: Attributes, value: float) -> Any:
    """Return `x` with the padding of the node, because PyTorch's own padding is equal on both sides of an axis."""
    pads = a.get("pads", [0, 0, 0, 0])
    return functional.pad(x, (pads[1], pads[3], pads[0], pads[2]), value=value) if any(pads) else x


def _convolution(g: Inputs, h: HostInputs, a: Attributes) -> Any:
    pads, strides = a.get("pads", [0, 0, 0, 0]), a.get("strides", [1, 1])
    symmetric = pads[:2] == pads[2:]
    x = g[0] if symmetric else _pads(g[0], a, 0.0)
    bias = g[2] if len(g) > 2 else None
    padding = pads[:2] if symmetric else 0
    return functional.conv2d(x, g[1], bias, strides, padding, a.get("dilations", [1, 1]), a.get("group", 1))


def _average(g: Inputs, h: HostInputs, a: Attributes) -> Any:
    pads, counted = a.get("pads", [0, 0, 0, 0]), bool(a.get("count_include_pad", 0))
    if pads[:2] == pads[2:]:
        return functional.avg_pool2d(g[0], a["kernel_shape"], a["strides"], pads[:2], count_include_pad=counted)
    x, ones = _pads(g[0], a, 0.0), _pads(torch.ones_like(g[0]), a, float(counted))
    shape = a["kernel_shape"], a["strides"]
    return functional.avg_pool2d(x, *shape) / functional.avg_pool2d(ones, *shape)


def _maximum(g: Inputs, h: HostInputs, a: Attributes) -> Any:
    return functional.max_pool2d(_pads(g[0], a, -float("inf")), a["kernel_shape"], a.get("strides", [1, 1]))


def _gemm(g: Inputs, h: HostInputs, a: Attributes) -> Any:
    x, w = g[0].T if a.get("transA") else g[0], g[1].T if a.get("transB") else g[1]
    return torch.addmm(g[2], x, w)


def _softmax(g: Inputs, h: HostInputs, a: Attributes) -> Any:
    axis = a.get("axis", 1 if a["opset"] < 13 else -1)
    if a["opset"] >= 13:
        return torch.softmax(g[0], axis)
    return torch.softmax(g[0].flatten(axis), -1).reshape(g[0].shape)


def _reshape(g: Inputs, h: HostInputs, a: Attributes) -> Any:
    sizes = h[1] if isinstance(h[1], list) else h[1].tolist()
    return g[0].reshape([g[0].shape[i] if size == 0 else size for i, size in enumerate(sizes)])


def _axes(h: HostInputs, a: Attributes) -> list[int]:
    """Return the axes, which are an attribute before opset 13 and an input since."""
    axes = a["axes"] if "axes" in a else h[1]
    return [axes] if isinstance(axes, int) else axes


def _squeeze(g: Inputs, h: HostInputs, a: Attributes) -> Any:
    return g[0].squeeze(tuple(_axes(h, a)))


def _unsqueeze(g: Inputs, h: HostInputs, a: Attributes) -> Any:
    x = g[0]
    for axis in sorted(_axes(h, a)):
        x = x.unsqueeze(axis)
    return x


def _lstm(g: Inputs, h: HostInputs, a: Attributes) -> Any:
    """Run an LSTM. The gates of ONNX are input, output, forget, cell; those of PyTorch input, forget, cell, output."""
    size = a["hidden_size"]

    def gates(w: Any) -> Any:
        i, o, f, c = w.split(size)
        return torch.cat((i, f, c, o))

    flat = [gates(w) for w in (g[1][0], g[2][0], *g[3][0].split(4 * size))]
    start = g[0].new_zeros(1, g[0].shape[1], size)
    states, last, cell = torch._VF.lstm(g[0], (start, start), flat, True, 1, 0.0, False, False, False)
    return states.unsqueeze(1), last, cell


_OPERATORS: Mapping[str, Callable[[Inputs, HostInputs, Attributes], Any]] = {
    "Add": lambda g, h, a: g[0] + g[1],
    "AveragePool": _average,
    "BatchNormalization": lambda g, h, a: functional.batch_norm(
        g[0], g[3], g[4], g[1], g[2], eps=a.get("epsilon", 1e-5)
    ),
    "Concat": lambda g, h, a: torch.cat(g, a["axis"]),
    "Conv": _convolution,
    "Dropout": lambda g, h, a: g[0],
    "Expand": lambda g, h, a: g[0].expand(torch.broadcast_shapes(g[0].shape, tuple(g[1].tolist()))),
    "Gather": lambda g, h, a: g[0][g[1]],  # The networks only gather along the first axis.
    "Gemm": _gemm,
    "GlobalAveragePool": lambda g, h, a: g[0].mean((2, 3), keepdim=True),
    "Greater": lambda g, h, a: g[0] > g[1],
    "Identity": lambda g, h, a: g[0],
    "LRN": lambda g, h, a: functional.local_response_norm(g[0], a["size"], a["alpha"], a["beta"], a.get("bias", 1.0)),
    "LSTM": _lstm,
    "LayerNormalization": lambda g, h, a: functional.layer_norm(g[0], g[1].shape, g[1], g[2], a.get("epsilon", 1e-5)),
    "MatMul": lambda g, h, a: g[0] @ g[1],
    "MaxPool": _maximum,
    "Mul": lambda g, h, a: g[0] * g[1],
    "NonZero": lambda g, h, a: g[0].nonzero().T,
    "ReduceSum": lambda g, h, a: g[0].sum(),
    "Relu": lambda g, h, a: torch.relu(g[0]),
    "Reshape": _reshape,
    "Shape": lambda g, h, a: torch.tensor(g[0].shape, device=g[0].device),
    "Softmax": _softmax,
    "Squeeze": _squeeze,
    "Sum": lambda g, h, a: sum(g[1:], g[0]),
    "Tanh": lambda g, h, a: torch.tanh(g[0]),
    "Transpose": lambda g, h, a: g[0].permute(a["perm"]),
    "Unsqueeze": _unsqueeze,
}
"""A function for each operator. Its arguments are the inputs `g`, the inputs `h` with constants as host values, and the
attributes `a`."""
