"""Set the precisions and output types of layers, and the types and formats of a network's inputs and outputs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pytest_trt.core.node_patterns import matches
from pytest_trt.engine.backends.tensorrt import versions
from pytest_trt.errors import BuildError
from pytest_trt.spec.engine_spec import EngineSpec

DATA_TYPES = {
    "fp32": "FLOAT", "fp16": "HALF", "bf16": "BF16", "fp8": "FP8", "int8": "INT8", "uint8": "UINT8", "int32": "INT32",
    "int64": "INT64", "bool": "BOOL",
}  # fmt: skip
"""TensorRT's names of the data types, by the names in a spec."""

_NUMBER_TYPES = frozenset(("FLOAT", "HALF", "BF16", "FP8", "INT8"))

_MAX_SHOWN = 8
"""The most layers that an error lists."""


def constrain_layers(trt: Any, network: Any, config: Any, spec: EngineSpec) -> None:
    """Set the precisions and output types of layers that the spec declares, and whether they are obeyed or preferred.

    A pattern matches only layers that compute numbers; the exact name of a layer matches any layer. A later entry
    overrides an earlier one.

    Raises:
        BuildError: No layer matches a name, a layer has another number of outputs, or this TensorRT lacks the option.
    """
    if not spec.layer_precisions and not spec.layer_output_types:
        return
    for name, kind in spec.layer_precisions.items():
        versions.require(trt, "layer_precisions")
        for layer in _find_layers(network, "layer_precisions", name):
            layer.precision = _data_type(trt, kind)
    for name, kinds in spec.layer_output_types.items():
        versions.require(trt, "layer_output_types")
        for layer in _find_layers(network, "layer_output_types", name):
            if len(kinds) not in (1, layer.num_outputs):
                raise BuildError(
                    f"layer_output_types[{name!r}] has {len(kinds)} types, but {layer.name} has {layer.num_outputs} "
                    "outputs: give one type for each output, or one for all"
                )
            for index in range(layer.num_outputs):
                layer.set_output_type(index, _data_type(trt, kinds[index if len(kinds) > 1 else 0]))
    config.set_flag(versions.require(trt, f"precision_constraints={spec.precision_constraints}"))


def set_io(trt: Any, network: Any, spec: EngineSpec, typed: bool) -> None:
    """Set the types and formats of inputs and outputs that the spec declares.

    Args:
        trt: The module of the package.
        network: The parsed network.
        spec: The engine to build.
        typed: Whether the network is strongly typed, so that its types come from the model.

    Raises:
        BuildError: A name is neither an input nor an output, the network is strongly typed and the spec sets a type, or
            this TensorRT lacks the option.
    """
    tensors = {tensor.name: tensor for tensor in _io(network)}
    for option in ("io_dtypes", "io_formats"):
        for name in getattr(spec, option):
            versions.require(trt, option)
            if name not in tensors:
                raise BuildError(
                    f"{option}: the network has no input or output {name!r}: choose from {', '.join(tensors)}"
                )
    if spec.io_dtypes and typed:
        raise BuildError("io_dtypes: a strongly typed network takes its types from the model: convert the model")
    for name, kind in spec.io_dtypes.items():
        tensors[name].dtype = _data_type(trt, kind)
    for name, layout in spec.io_formats.items():
        tensors[name].allowed_formats = 1 << int(getattr(trt.TensorFormat, layout.upper()))


def _io(network: Any) -> Iterator[Any]:
    yield from map(network.get_input, range(network.num_inputs))
    yield from map(network.get_output, range(network.num_outputs))


def _data_type(trt: Any, kind: str) -> Any:
    data_type = getattr(trt.DataType, DATA_TYPES[kind], None)
    if data_type is None:
        raise BuildError(f"{trt.__name__} {trt.__version__} has no data type {kind}: choose another")
    return data_type


def _find_layers(network: Any, option: str, pattern: str) -> list[Any]:
    """Return the layer whose name is `pattern`, or else the layers that match it. Raises BuildError for none."""
    layers = list(map(network.get_layer, range(network.num_layers)))
    found = [layer for layer in layers if layer.name == pattern]
    found = found or [layer for layer in layers if matches(pattern, layer.name) and _computes_numbers(layer)]
    if not found:
        names = [layer.name for layer in layers if _computes_numbers(layer)]
        more = f" and {len(names) - _MAX_SHOWN} more" if len(names) > _MAX_SHOWN else ""
        listed = ", ".join(names[:_MAX_SHOWN])
        raise BuildError(f"{option}: no layer that computes numbers matches {pattern!r}: choose from {listed}{more}")
    return found


def _computes_numbers(layer: Any) -> bool:
    """Return whether a layer computes numbers, as opposed to shapes, indices or truth values."""
    if not layer.num_outputs:
        return False
    first = layer.get_output(0)
    return not first.is_shape_tensor and str(first.dtype).rpartition(".")[2] in _NUMBER_TYPES
