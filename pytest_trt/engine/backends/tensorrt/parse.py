"""From an ONNX file to a TensorRT network, or to the node that the parser refuses."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

from pytest_trt.engine.backends.tensorrt.log import logger
from pytest_trt.engine.onnx import traverse
from pytest_trt.errors import BuildError


def parse(trt: Any, network: Any, model: Path, name: str) -> Any:
    """Fill the network from `model`, which a person knows by `name`. The parser owns the weights, and is returned so
    that it outlives the build."""
    parser = trt.OnnxParser(network, logger(trt))
    if not parser.parse_from_file(str(model)):
        said = _refused([parser.get_error(i) for i in range(parser.num_errors)], model)
        raise BuildError(f"TensorRT's parser refuses {name}: {said or logger(trt).reason()}")
    if network.num_outputs == 0:
        raise BuildError(f"{name}, parsed, has no outputs: is it a whole ONNX model? {logger(trt).reason()}")
    inputs = list(map(network.get_input, range(network.num_inputs)))
    _tell_apart(inputs)
    for tensor in inputs:
        if tensor.name in {f"__{output.name}" for output in map(network.get_output, range(network.num_outputs))}:
            given = tensor.name.removeprefix("__")
            raise BuildError(
                f"{given!r} of {name} is an input and an output at once, and TensorRT's parser renames such an input "
                f"to {tensor.name!r}: put an Identity before the output"
            )
    return parser


def _tell_apart(inputs: list[Any]) -> None:
    """Give dimensions that a model names alike without meaning a name a name each: TensorRT makes them one size. The
    first keeps the model's, which TensorRT-RTX (1.7) wants to find in some input."""
    same = [
        (tensor, axis)
        for tensor in inputs
        for axis in range(len(tensor.shape))
        if (name := tensor.get_dimension_name(axis)) and traverse.dim_name(name) is None
    ]
    for tensor, axis in same[1:]:
        tensor.set_dimension_name(axis, f"{tensor.name}[{axis}]")


_NO_OPERATOR = "TensorRT has no such operator"

_SYMMETRIC = (
    "TensorRT takes Q/DQ with zero points of 0 alone: quantise symmetrically (onnxruntime.quantization: "
    "activation_type=QuantType.QInt8, extra_options={'ActivationSymmetric': True, 'WeightSymmetric': True})"
)

_MEANT = {
    "Plugin not found": f"{_NO_OPERATOR}, nor a plugin for it: plugins= names libraries",
    "Non-zero zero point": _SYMMETRIC,
}
"""What is in the parser's words, and what it means, or what to do."""


def _refused(errors: list[Any], model: Path) -> str:
    """The parser's words, once for all nodes of an operator that they are said of."""
    nodes: dict[tuple[str, str], list[str]] = {}
    for error in errors:
        name, operator = _node(error, model)
        nodes.setdefault((operator, _meant(_told(str(error.desc())))), []).append(name)
    lines = []
    for (operator, words), names in nodes.items():
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        lines.append(f"node {names[0]} ({operator}){more}: {words}" if operator else words)
    return "; ".join(lines)


_NO_DRIVER = "cudaError 35: "


def _told(words: str) -> str:
    """The parser's words without what the CUDA runtime adds to any fault where there is no driver. A build that needs
    one has asked for it before."""
    lines = words.splitlines()
    return "\n".join([line for line in lines if _NO_DRIVER not in line] or lines)


def _meant(words: str) -> str:
    if words == "false":  # the assertion of a check that always fails
        return _NO_OPERATOR
    return next((f"{words}: {meaning}" for said, meaning in _MEANT.items() if said in words), words)


def _node(error: Any, model: Path) -> tuple[str, str]:
    """The node's name, else its number, and its operator, which 8.6 gives as a number only."""
    name, operator = (str(getattr(error, key, lambda: "")()) for key in ("node_name", "node_operator"))
    if not operator and error.node() >= 0:
        with contextlib.suppress(ImportError, OSError, IndexError):
            import onnx

            node = onnx.load(str(model), load_external_data=False).graph.node[error.node()]
            name, operator = node.name, node.op_type
    return name or str(error.node()), operator
