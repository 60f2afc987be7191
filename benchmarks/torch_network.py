"""An ONNX graph as a PyTorch module: each node by PyTorch's own function, one after another, as eager code runs.

`write` needs onnx and leaves a folder; `Network(folder)` needs torch and numpy alone, so that it can run under another
interpreter. It knows the operators of benchmarks/networks.py, except NonMaxSuppression, which PyTorch lacks.
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
except ImportError:  # the interpreter that writes
    torch = None

Module = torch.nn.Module if torch is not None else object


def write(model: Any, folder: Path) -> None:
    """The graph as JSON, and its weights beside it."""
    from onnx import numpy_helper

    folder.mkdir(parents=True, exist_ok=True)
    weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    np.savez(folder / "weights.npz", **{f"w{i}": array for i, array in enumerate(weights.values())})
    said = {"graph": _graph(model.graph), "weights": list(weights), "opset": model.opset_import[0].version}
    (folder / "graph.json").write_text(json.dumps(said))


def _graph(graph: Any) -> dict[str, Any]:
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
    own = {tensor.name for tensor in graph.initializer}
    inputs = [value.name for value in graph.input if value.name not in own]
    return {"nodes": nodes, "inputs": inputs, "outputs": [value.name for value in graph.output]}


class Network(Module):  # type: ignore[misc, valid-type]
    """The graph in `folder`; called with its inputs in order, returns its outputs in order."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        said = json.loads((folder / "graph.json").read_text())
        self._graph, self._opset = said["graph"], said["opset"]
        self._names = {name: f"w{i}" for i, name in enumerate(said["weights"])}
        with np.load(folder / "weights.npz") as file:
            for key in self._names.values():
                self.register_buffer(key, torch.from_numpy(file[key]))
        self._host = {
            name: getattr(self, key).tolist() for name, key in self._names.items() if not self._is_weight(key)
        }
        """Shapes and axes: constants that the host reads."""

    def _is_weight(self, key: str) -> bool:
        return bool(getattr(self, key).is_floating_point())

    def forward(self, *inputs: Any) -> Any:
        values = {name: getattr(self, key) for name, key in self._names.items()}
        return self._run(self._graph, values, inputs)

    def _run(self, graph: Mapping[str, Any], outer: Mapping[str, Any], inputs: Sequence[Any]) -> list[Any]:
        values = {**outer, **dict(zip(graph["inputs"], inputs, strict=True))}
        for operator, names, outputs, attributes in graph["nodes"]:
            given = [values[name] if name else None for name in names]
            if operator == "If":
                found = self._run(attributes["then_branch" if bool(given[0]) else "else_branch"], values, ())
            elif operator == "Loop":
                found = self._loop(attributes["body"], values, given)
            else:
                host = [self._host.get(name, value) for name, value in zip(names, given, strict=True)]
                found = _OPERATORS[operator](given, host, {"opset": self._opset, **attributes})
            values.update(zip(outputs, found if isinstance(found, (list, tuple)) else (found,), strict=False))
        return [values[name] for name in graph["outputs"]]

    def _loop(self, body: Mapping[str, Any], values: Mapping[str, Any], given: list[Any]) -> list[Any]:
        most, going, state = int(given[0]), given[1], given[2:]
        for turn in range(most):
            going, *state = self._run(body, values, (turn, going, *state))
            if not bool(going):
                break
        return state


Given, Host, Attributes = list[Any], list[Any], Mapping[str, Any]


def _pads(x: Any, a: Attributes, value: float) -> Any:
    """`x` with the node's padding: PyTorch's own is the same on both sides of an axis."""
    pads = a.get("pads", [0, 0, 0, 0])
    return functional.pad(x, (pads[1], pads[3], pads[0], pads[2]), value=value) if any(pads) else x


def _convolution(g: Given, h: Host, a: Attributes) -> Any:
    pads, strides = a.get("pads", [0, 0, 0, 0]), a.get("strides", [1, 1])
    even = pads[:2] == pads[2:]
    x = g[0] if even else _pads(g[0], a, 0.0)
    bias = g[2] if len(g) > 2 else None
    padding = pads[:2] if even else 0
    return functional.conv2d(x, g[1], bias, strides, padding, a.get("dilations", [1, 1]), a.get("group", 1))


def _average(g: Given, h: Host, a: Attributes) -> Any:
    pads, counted = a.get("pads", [0, 0, 0, 0]), bool(a.get("count_include_pad", 0))
    if pads[:2] == pads[2:]:
        return functional.avg_pool2d(g[0], a["kernel_shape"], a["strides"], pads[:2], count_include_pad=counted)
    x, ones = _pads(g[0], a, 0.0), _pads(torch.ones_like(g[0]), a, float(counted))
    shape = a["kernel_shape"], a["strides"]
    return functional.avg_pool2d(x, *shape) / functional.avg_pool2d(ones, *shape)


def _maximum(g: Given, h: Host, a: Attributes) -> Any:
    return functional.max_pool2d(_pads(g[0], a, -float("inf")), a["kernel_shape"], a.get("strides", [1, 1]))


def _gemm(g: Given, h: Host, a: Attributes) -> Any:
    x, w = g[0].T if a.get("transA") else g[0], g[1].T if a.get("transB") else g[1]
    return torch.addmm(g[2], x, w)


def _softmax(g: Given, h: Host, a: Attributes) -> Any:
    axis = a.get("axis", 1 if a["opset"] < 13 else -1)
    if a["opset"] >= 13:
        return torch.softmax(g[0], axis)
    return torch.softmax(g[0].flatten(axis), -1).reshape(g[0].shape)


def _reshape(g: Given, h: Host, a: Attributes) -> Any:
    sizes = h[1] if isinstance(h[1], list) else h[1].tolist()
    return g[0].reshape([g[0].shape[i] if size == 0 else size for i, size in enumerate(sizes)])


def _at(h: Host, a: Attributes) -> list[int]:
    """Axes: an attribute before opset 13, an input since."""
    found = a["axes"] if "axes" in a else h[1]
    return [found] if isinstance(found, int) else found


def _squeeze(g: Given, h: Host, a: Attributes) -> Any:
    return g[0].squeeze(tuple(_at(h, a)))


def _unsqueeze(g: Given, h: Host, a: Attributes) -> Any:
    x = g[0]
    for axis in sorted(_at(h, a)):
        x = x.unsqueeze(axis)
    return x


def _lstm(g: Given, h: Host, a: Attributes) -> Any:
    """ONNX has its gates in the order input, output, forget, cell; PyTorch input, forget, cell, output."""
    size = a["hidden_size"]

    def gates(w: Any) -> Any:
        i, o, f, c = w.split(size)
        return torch.cat((i, f, c, o))

    flat = [gates(w) for w in (g[1][0], g[2][0], *g[3][0].split(4 * size))]
    start = g[0].new_zeros(1, g[0].shape[1], size)
    every, last, cell = torch._VF.lstm(g[0], (start, start), flat, True, 1, 0.0, False, False, False)
    return every.unsqueeze(1), last, cell


_OPERATORS: Mapping[str, Callable[[Given, Host, Attributes], Any]] = {
    "Add": lambda g, h, a: g[0] + g[1],
    "AveragePool": _average,
    "BatchNormalization": lambda g, h, a: functional.batch_norm(
        g[0], g[3], g[4], g[1], g[2], eps=a.get("epsilon", 1e-5)
    ),
    "Concat": lambda g, h, a: torch.cat(g, a["axis"]),
    "Conv": _convolution,
    "Dropout": lambda g, h, a: g[0],
    "Expand": lambda g, h, a: g[0].expand(torch.broadcast_shapes(g[0].shape, tuple(g[1].tolist()))),
    "Gather": lambda g, h, a: g[0][g[1]],  # along the first axis, which is all that is used
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
"""By operator: the values that are read, the same where the host reads them, and the attributes."""
