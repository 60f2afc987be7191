"""Create the networks of benchmarks/models.py, without any download.

The convolutional networks are those that the `onnx` package contains without weights (`light_*`). Their weights are
random. The encoder comes from the example project. The other networks are small. They cover what runtimes often get
wrong: computed shapes, outputs whose size depends on the data, recurrence, and control flow.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

sys.path.insert(0, str(Path(__file__).parents[1] / "example_project"))
import make_models

LIGHT = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"
OPSET = 17
_RESHAPES = ("Unsqueeze", "Reshape")
LOGITS_STD = 2.0
"""The standard deviation of a classifier's logits. Without scaling it is in the hundreds, and Softmax yields 0 or 1."""


@dataclasses.dataclass(frozen=True)
class Network:
    """A network and how it is run.

    Attributes:
        make: Returns the model.
        dims: The ranges of its dynamic dimensions, as (min, opt, max). The optimum is run.
        ranges: The ranges from which inputs are generated, if they matter.
        unordered: The axis along which an output may be in any order, by the name of the output.
    """

    make: Callable[[], ModelProto]
    dims: Mapping[str, tuple[int, int, int]] = dataclasses.field(default_factory=dict)
    ranges: Mapping[str, tuple[float, float]] = dataclasses.field(default_factory=dict)
    unordered: Mapping[str, int] = dataclasses.field(default_factory=dict)


RESIDUAL = 0.25
"""The factor of residual branches. With a factor of 1, activations double from block to block and exceed float16."""

HIDDEN = 4096
"""The width of the hidden layers of AlexNet, ZFNet and VGG, which contain most of their weights."""


CLASSES = 1000
"""The number of classes of each convolutional network."""


def light(name: str, seed: int = 0, hidden: int = HIDDEN, narrow: int = 1) -> ModelProto:
    """Return the network `light_NAME` with random weights instead of its constants.

    Weights are normal with the variance 2 / fan-in (He et al. 2015). Biases and means are small, scales and variances
    are about 1, and the scales of residual branches are RESIDUAL. The input of the last Softmax is scaled to
    LOGITS_STD, with a run of ONNX Runtime.

    Args:
        name: The name without `light_`, one of LIGHTS.
        seed: The seed of the weights.
        hidden: The width of the layers that have HIDDEN channels in the original.
        narrow: What the channels of all other layers are divided by.
    """
    model = onnx.load(str(LIGHT / f"light_{name}.onnx"))
    graph = model.graph
    random, fills = np.random.default_rng(seed), [n for n in graph.node if n.op_type == "ConstantOfShape"]
    shapes = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    readers = _readers(graph)
    summed = {name for node in graph.node if node.op_type == "Sum" for name in node.input}
    filled: list[TensorProto] = []
    for fill in fills:
        shape = tuple(_width(int(size), hidden, narrow) for size in shapes[fill.input[0]])
        reader, index = readers[fill.output[0]]
        values = _random_values(random, shape, reader, index)
        if reader.op_type == "BatchNormalization" and index == 1 and reader.output[0] in summed:
            values *= np.float32(RESIDUAL)
        filled.append(numpy_helper.from_array(values, fill.output[0]))
        graph.node.remove(fill)
    used = {name for node in graph.node for name in node.input}
    initializers = [_narrowed(tensor, hidden, narrow) for tensor in graph.initializer if tensor.name in used]
    inputs = [value for value in graph.input if value.name not in shapes]
    del graph.initializer[:], graph.input[:]
    graph.initializer.extend([*initializers, *filled])
    graph.input.extend(inputs)
    model.ir_version = 8
    if graph.node[-1].op_type == "Softmax":
        _scale_logits(model, seed)
    onnx.checker.check_model(model)
    return model


def _width(size: int, hidden: int, narrow: int) -> int:
    """Return the size of an axis of a tensor of weights. Kernels, the colours of an image and classes keep theirs."""
    if size == HIDDEN:
        return hidden
    return size // narrow if size > 11 and size != CLASSES else size


def _narrowed(tensor: TensorProto, hidden: int, narrow: int) -> TensorProto:
    """Return a constant of the original, which may be the shape of a Reshape, for the narrower network."""
    values = numpy_helper.to_array(tensor)
    if values.dtype == np.int64:
        values = np.array([_width(size, hidden, narrow) for size in values.tolist()], np.int64)
    else:
        values = values[tuple(slice(_width(size, hidden, narrow)) for size in values.shape)]
    return numpy_helper.from_array(values, tensor.name)


def _readers(graph: Any) -> dict[str, tuple[NodeProto, int]]:
    """Return, for each tensor, the node that first reads its values, and the index of that input.

    Reshaping nodes do not count: their own readers do.
    """
    found: dict[str, tuple[NodeProto, int]] = {}
    for node in reversed(graph.node):
        for index, name in enumerate(node.input):
            found[name] = found.get(node.output[0], (node, index)) if node.op_type in _RESHAPES else (node, index)
    return found


def _random_values(random: np.random.Generator, shape: tuple[int, ...], reader: NodeProto, index: int) -> np.ndarray:
    """Return random values that suit the input `index` of the node that reads them."""
    if reader.op_type == "BatchNormalization" and index == 4:
        return random.uniform(0.5, 1.5, shape).astype(np.float32)
    noise = random.standard_normal(shape, dtype=np.float32)
    if reader.op_type == "Mul" or (reader.op_type == "BatchNormalization" and index == 1):
        return 1 + np.float32(0.1) * noise
    if len(shape) < 2:
        return np.float32(0.1) * noise
    transposed = next((a.i for a in reader.attribute if a.name == "transB"), 0)
    fan_in = shape[-1 if transposed else -2] if reader.op_type == "Gemm" else int(np.prod(shape[1:]))
    return noise * np.float32(np.sqrt(2 / fan_in))


def _scale_logits(model: ModelProto, seed: int) -> None:
    """Scale the weights of the last layer, so that the logits have the standard deviation LOGITS_STD."""
    import onnxruntime

    graph = model.graph
    logits = graph.node[-1].input[0]
    weights = {tensor.name: tensor for tensor in graph.initializer}
    weights.update({node.output[0]: weights[node.input[0]] for node in graph.node if node.input[0] in weights})
    last = next(node for node in reversed(graph.node) if node.op_type in ("Gemm", "Conv"))
    graph.output.append(onnx.ValueInfoProto(name=logits))
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (source,) = session.get_inputs()
    image = np.random.default_rng(seed).standard_normal(source.shape, dtype=np.float32)
    (values,) = session.run([logits], {source.name: image})
    del graph.output[-1]
    for name in last.input[1:]:
        scaled = numpy_helper.to_array(weights[name]) * np.float32(LOGITS_STD / values.std())
        weights[name].CopyFrom(numpy_helper.from_array(scaled, weights[name].name))


def _value(name: str, shape: list[Any], kind: int = TensorProto.FLOAT) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, shape)


def _model(
    nodes: list[NodeProto], inputs: list[Any], outputs: list[Any], constants: Mapping[str, np.ndarray]
) -> ModelProto:
    weights = [numpy_helper.from_array(values, name) for name, values in constants.items()]
    graph = helper.make_graph(nodes, "network", inputs, outputs, weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    return model


def _weights(*shape: int, seed: int = 0) -> np.ndarray:
    values = np.random.default_rng(seed).standard_normal(shape) * np.sqrt(1 / shape[-2])
    return values.astype(np.float32)


def shapes(width: int = 256) -> ModelProto:
    """Return a model with a computed shape: words [N, S, width], context [N, width] -> mixed [N, S, width].

    The context is expanded to the shape of the words.
    """
    node = helper.make_node
    nodes = [
        node("Shape", ["words"], ["shape"], "shape"),
        node("Unsqueeze", ["context", "one"], ["context_3d"], "unsqueeze"),
        node("Expand", ["context_3d", "shape"], ["spread"], "expand"),
        node("Concat", ["words", "spread"], ["joined"], "concat", axis=2),
        node("Gather", ["shape", "zero"], ["batch"], "gather"),
        node("Concat", ["batch", "rest"], ["flat_shape"], "flat_shape", axis=0),
        node("Reshape", ["joined", "flat_shape"], ["flat"], "flatten"),
        node("MatMul", ["flat", "w"], ["product"], "project"),
        node("Relu", ["product"], ["positive"], "relu"),
        node("Reshape", ["positive", "shape"], ["mixed"], "unflatten"),
    ]
    inputs = [_value("words", ["N", "S", width]), _value("context", ["N", width])]
    constants = {
        "one": np.array([1]), "zero": np.array([0]), "rest": np.array([-1, 2 * width]), "w": _weights(2 * width, width)
    }  # fmt: skip
    return _model(nodes, inputs, [_value("mixed", ["N", "S", width])], constants)


def embedding(words: int = 1000, width: int = 128) -> ModelProto:
    """Return an embedding with the integers that exporters write: ids [N, S] int64 -> y [N, S, width]."""
    nodes = [
        helper.make_node("Gather", ["table", "ids"], ["embedded"], "gather"),
        helper.make_node("MatMul", ["embedded", "w"], ["y"], "project"),
    ]
    ids, y = _value("ids", ["N", "S"], TensorProto.INT64), _value("y", ["N", "S", width])
    return _model(nodes, [ids], [y], {"table": _weights(words, width), "w": _weights(width, width)})


def nonzero(width: int = 64) -> ModelProto:
    """Return a model whose output size depends on the data: x [N, width] -> where [2, K], positive [N, width].

    `where` contains the indices of the positive elements of x.
    """
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["product"], "project"),
        helper.make_node("Relu", ["product"], ["positive"], "relu"),
        helper.make_node("Relu", ["x"], ["kept"], "keep"),
        helper.make_node("NonZero", ["kept"], ["where"], "nonzero"),
    ]
    outputs = [_value("where", [2, "K"], TensorProto.INT64), _value("positive", ["N", width])]
    return _model(nodes, [_value("x", ["N", width])], outputs, {"w": _weights(width, width)})


def nms(boxes: int = 128, classes: int = 4) -> ModelProto:
    """Return a NonMaxSuppression: boxes [1, boxes, 4], scores [1, classes, boxes] -> selected [K, 3].

    A box has the form (centre x, centre y, width, height).
    """
    node = helper.make_node(
        "NonMaxSuppression", ["boxes", "scores", "most", "iou", "score"], ["selected"], "nms", center_point_box=1
    )
    inputs = [_value("boxes", [1, boxes, 4]), _value("scores", [1, classes, boxes])]
    limits = {"most": np.array([16]), "iou": np.array([0.5], np.float32), "score": np.array([0.25], np.float32)}
    return _model([node], inputs, [_value("selected", ["K", 3], TensorProto.INT64)], limits)


def lstm(width: int = 128) -> ModelProto:
    """Return an LSTM with a projection of its states: x [S, N, width] -> states [S, N, width], last [N, width]."""
    nodes = [
        helper.make_node("LSTM", ["x", "w", "r", "b"], ["all", "h"], "lstm", hidden_size=width),
        helper.make_node("Squeeze", ["all", "one"], ["squeezed"], "squeeze"),
        helper.make_node("MatMul", ["squeezed", "v"], ["states"], "project"),
        helper.make_node("Squeeze", ["h", "zero"], ["last"], "last"),
    ]
    constants = {
        "w": _weights(1, width, 4 * width).transpose(0, 2, 1).copy(),
        "r": _weights(1, width, 4 * width, seed=1).transpose(0, 2, 1).copy(),
        "b": 0.1 * _weights(1, 8 * width, seed=2), "v": _weights(width, width, seed=3),
        "one": np.array([1]), "zero": np.array([0]),
    }  # fmt: skip
    outputs = [_value("states", ["S", "N", width]), _value("last", ["N", width])]
    return _model(nodes, [_value("x", ["S", "N", width])], outputs, constants)


def control_flow(width: int = 128, turns: int = 8) -> ModelProto:
    """Return a model with an If and a Loop: x [N, width] -> y [N, width].

    The If projects x by one of two branches. The Loop then runs `turns` times.
    """

    def branch(weights: str) -> onnx.GraphProto:
        node = helper.make_node("MatMul", ["x", weights], [f"by_{weights}"], f"project_{weights}")
        return helper.make_graph([node], weights, [], [_value(f"by_{weights}", ["N", width])])

    turn = helper.make_graph(
        [
            helper.make_node("Identity", ["going"], ["goes_on"], "goes_on"),
            helper.make_node("MatMul", ["state", "w"], ["turned"], "turn"),
            helper.make_node("Tanh", ["turned"], ["next"], "tanh"),
        ],
        "turn",
        [_value("i", [], TensorProto.INT64), _value("going", [], TensorProto.BOOL), _value("state", ["N", width])],
        [_value("goes_on", [], TensorProto.BOOL), _value("next", ["N", width])],
    )
    nodes = [
        helper.make_node("ReduceSum", ["x"], ["sum"], "sum", keepdims=0),
        helper.make_node("Greater", ["sum", "nothing"], ["condition"], "greater"),
        helper.make_node("If", ["condition"], ["start"], "if", then_branch=branch("v"), else_branch=branch("u")),
        helper.make_node("Loop", ["turns", "true", "start"], ["y"], "loop", body=turn),
    ]
    constants = {
        **{name: _weights(width, width, seed=seed) for seed, name in enumerate("uvw")},
        "nothing": np.array(0, np.float32), "turns": np.array(turns), "true": np.array(True),
    }  # fmt: skip
    return _model(nodes, [_value("x", ["N", width])], [_value("y", ["N", width])], constants)


_SEQUENCE = {"N": (1, 4, 8), "S": (16, 128, 256)}

LIGHTS = (
    "bvlc_alexnet", "zfnet512", "squeezenet", "shufflenet", "inception_v1", "inception_v2", "resnet50", "densenet121",
    "vgg19",
)  # fmt: skip
"""The networks of the `onnx` package, by the name after `light_`."""

NETWORKS: Mapping[str, Network] = {
    **{name: Network(partial(light, name)) for name in LIGHTS},
    "encoder": Network(lambda: make_models.encoder(depth=3, width=512, heads=8), _SEQUENCE),
    "embedding": Network(embedding, _SEQUENCE, {"ids": (0, 999)}),
    "shapes": Network(shapes, _SEQUENCE),
    "nonzero": Network(nonzero, {"N": (1, 32, 64)}),
    "nms": Network(nms, ranges={"boxes": (0.05, 1.0), "scores": (0.0, 1.0)}, unordered={"selected": 0}),
    "lstm": Network(lstm, {"N": (1, 4, 8), "S": (4, 32, 64)}),
    "control_flow": Network(control_flow, {"N": (1, 16, 64)}),
}
