"""Parse an ONNX file into a TensorRT network, or explain which node the parser rejects."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

from pytest_trt.engine.backends.tensorrt.log import logger
from pytest_trt.engine.onnx import traverse
from pytest_trt.errors import BuildError

_NO_DRIVER = "cudaError 35: "

_NO_OPERATOR = "TensorRT has no such operator"

_EXPLANATIONS = {
    "Plugin not found": f"{_NO_OPERATOR}, and no plugin for it is loaded: name the plugin's library in plugins",
    "Non-zero zero point": (
        "TensorRT accepts Q/DQ only with zero points of 0: quantise symmetrically (onnxruntime.quantization: "
        "activation_type=QuantType.QInt8, extra_options={'ActivationSymmetric': True, 'WeightSymmetric': True})"
    ),
}
"""Explanations by a part of the parser's message."""


def parse(trt: Any, network: Any, model: Path, name: str) -> Any:
    """Parse an ONNX file into a network.

    Args:
        trt: The module of the package.
        network: The empty network.
        model: The ONNX file.
        name: The name of the model in errors.

    Returns:
        The parser, which owns the weights and must outlive the build.

    Raises:
        BuildError: The parser rejects the model, or renames one of its inputs.
    """
    parser = trt.OnnxParser(network, logger(trt))
    if not parser.parse_from_file(str(model)):
        errors = _describe_errors([parser.get_error(i) for i in range(parser.num_errors)], model)
        raise BuildError(f"TensorRT's parser rejects {name}: {errors or logger(trt).reason()}")
    if network.num_outputs == 0:
        raise BuildError(
            f"the network parsed from {name} has no outputs: is it a complete model? {logger(trt).reason()}"
        )
    inputs = list(map(network.get_input, range(network.num_inputs)))
    _name_dimensions_apart(inputs)
    for tensor in inputs:
        if tensor.name in {f"__{output.name}" for output in map(network.get_output, range(network.num_outputs))}:
            model_name = tensor.name.removeprefix("__")
            raise BuildError(
                f"{model_name!r} of {name} is both an input and an output, and TensorRT's parser renames such an input "
                f"to {tensor.name!r}: put an Identity before the output"
            )
    return parser


def _name_dimensions_apart(inputs: list[Any]) -> None:
    """Rename dimensions whose names carry no meaning, such as "?", because TensorRT gives equal names one size.

    The first such dimension keeps its name: TensorRT-RTX 1.7 requires that some input still has it.
    """
    same = [
        (tensor, axis)
        for tensor in inputs
        for axis in range(len(tensor.shape))
        if (name := tensor.get_dimension_name(axis)) and traverse.dim_name(name) is None
    ]
    for tensor, axis in same[1:]:
        tensor.set_dimension_name(axis, f"{tensor.name}[{axis}]")


def _describe_errors(errors: list[Any], model: Path) -> str:
    """Return the parser's errors as text; nodes of one operator with the same error are named once."""
    nodes: dict[tuple[str, str], list[str]] = {}
    for error in errors:
        name, operator = _find_node(error, model)
        message = _explain(_without_driver_error(str(error.desc())))
        nodes.setdefault((operator, message), []).append(name)
    lines = []
    for (operator, message), names in nodes.items():
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        lines.append(f"node {names[0]} ({operator}){more}: {message}" if operator else message)
    return "; ".join(lines)


def _without_driver_error(message: str) -> str:
    """Remove the line about a missing driver from a parser error.

    Without a driver, the CUDA runtime adds this line to every error. It is never the cause: a build that needs the
    driver checks for it earlier.
    """
    lines = message.strip().splitlines()
    return "\n".join([line for line in lines if _NO_DRIVER not in line] or lines)


def _explain(message: str) -> str:
    """Return a parser error with an explanation or a remedy, where one is known."""
    if message == "false":  # The text of an assertion that always fails.
        return _NO_OPERATOR
    return next((f"{message}: {text}" for part, text in _EXPLANATIONS.items() if part in message), message)


def _find_node(error: Any, model: Path) -> tuple[str, str]:
    """Return the name of the rejected node, or else its number, and its operator.

    TensorRT 8.6 reports only the number, so the rest is read from the model.
    """
    name, operator = (str(getattr(error, key, lambda: "")()) for key in ("node_name", "node_operator"))
    if not operator and error.node() >= 0:
        with contextlib.suppress(ImportError, OSError, IndexError):
            import onnx

            node = onnx.load(str(model), load_external_data=False).graph.node[error.node()]
            name, operator = node.name, node.op_type
    return name or str(error.node()), operator
