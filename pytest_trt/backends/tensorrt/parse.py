"""From an ONNX file to a TensorRT network, or to the node that the parser refuses."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

from pytest_trt.backends import onnx_parts
from pytest_trt.backends.tensorrt.log import logger
from pytest_trt.errors import BuildError


def parse(trt: Any, network: Any, model: Path, name: str) -> Any:
    """Fill the network from `model`, which a person knows by `name`. The parser owns the weights, and is returned so
    that it outlives the build."""
    parser = trt.OnnxParser(network, logger(trt))
    if not parser.parse_from_file(str(model)):
        said = [_parser_error(parser.get_error(i), model) for i in range(parser.num_errors)]
        raise BuildError(f"TensorRT's parser refuses {name}: {'; '.join(said) or logger(trt).why()}")
    if network.num_outputs == 0:
        raise BuildError(f"{name}, parsed, has no outputs: is it a whole ONNX model? {logger(trt).why()}")
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
        if (name := tensor.get_dimension_name(axis)) and onnx_parts.dim_name(name) is None
    ]
    for tensor, axis in same[1:]:
        tensor.set_dimension_name(axis, f"{tensor.name}[{axis}]")


def _parser_error(error: Any, model: Path) -> str:
    """The parser's words with the node and its operator, which 8.6 gives as a number only."""
    name, operator = (str(getattr(error, key, lambda: "")()) for key in ("node_name", "node_operator"))
    if not operator and error.node() >= 0:
        with contextlib.suppress(ImportError, OSError, IndexError):
            import onnx

            node = onnx.load(str(model), load_external_data=False).graph.node[error.node()]
            name, operator = node.name, node.op_type
    where = f"node {name or error.node()} ({operator}): " if operator else ""
    return where + str(error.desc())
