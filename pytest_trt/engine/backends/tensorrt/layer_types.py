"""Which layers compute in which precision, and what types they and the network's inputs and outputs have."""

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
"""TensorRT's names of the types that a spec names."""
_REAL = frozenset(("FLOAT", "HALF", "BF16", "FP8", "INT8"))
_SHOWN = 8


def constrain_layers(trt: Any, network: Any, config: Any, spec: EngineSpec) -> None:
    """Give layers the precisions and output types that the spec says, and have the builder obey or prefer them.

    Of what a pattern names, only layers that compute on numbers are meant; a layer's whole name means it in any case. A
    later entry overrides an earlier one. Raises BuildError for a name that no layer has.
    """
    if not spec.layer_precisions and not spec.layer_output_types:
        return
    for name, kind in spec.layer_precisions.items():
        versions.require(trt, "layer_precisions")
        for layer in _named(network, "layer_precisions", name):
            layer.precision = _type(trt, kind)
    for name, kinds in spec.layer_output_types.items():
        versions.require(trt, "layer_output_types")
        for layer in _named(network, "layer_output_types", name):
            if len(kinds) not in (1, layer.num_outputs):
                raise BuildError(
                    f"layer_output_types[{name!r}] gives {len(kinds)} types, and {layer.name} has {layer.num_outputs} "
                    "outputs: give one for each, or one for all"
                )
            for index in range(layer.num_outputs):
                layer.set_output_type(index, _type(trt, kinds[index if len(kinds) > 1 else 0]))
    config.set_flag(versions.require(trt, f"precision_constraints={spec.precision_constraints}"))


def set_io(trt: Any, network: Any, spec: EngineSpec, typed: bool) -> None:
    """Give inputs and outputs the types and formats that the spec says. Raises BuildError for a name that none has, and
    where the network's types are the model's."""
    tensors = {tensor.name: tensor for tensor in _io(network)}
    for option in ("io_dtypes", "io_formats"):
        for name in getattr(spec, option):
            versions.require(trt, option)
            if name not in tensors:
                raise BuildError(f"{option} names {name!r}: the network's inputs and outputs are {', '.join(tensors)}")
    if spec.io_dtypes and typed:
        raise BuildError("io_dtypes: a strongly typed network takes its types from the model: convert the model")
    for name, kind in spec.io_dtypes.items():
        tensors[name].dtype = _type(trt, kind)
    for name, layout in spec.io_formats.items():
        tensors[name].allowed_formats = 1 << int(getattr(trt.TensorFormat, layout.upper()))


def _io(network: Any) -> Iterator[Any]:
    yield from map(network.get_input, range(network.num_inputs))
    yield from map(network.get_output, range(network.num_outputs))


def _type(trt: Any, kind: str) -> Any:
    found = getattr(trt.DataType, DATA_TYPES[kind], None)
    if found is None:
        raise BuildError(f"{trt.__name__} {trt.__version__} has no type {kind}: choose another")
    return found


def _named(network: Any, option: str, pattern: str) -> list[Any]:
    layers = list(map(network.get_layer, range(network.num_layers)))
    found = [layer for layer in layers if layer.name == pattern]
    found = found or [layer for layer in layers if matches(pattern, layer.name) and _computes(layer)]
    if not found:
        names = [layer.name for layer in layers if _computes(layer)]
        more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
        raise BuildError(
            f"{option}: no layer that computes on numbers is {pattern!r}: there are {', '.join(names[:_SHOWN])}{more}"
        )
    return found


def _computes(layer: Any) -> bool:
    """Whether it gives numbers: not a shape, not an index, not whether something holds."""
    if not layer.num_outputs:
        return False
    first = layer.get_output(0)
    return not first.is_shape_tensor and str(first.dtype).rpartition(".")[2] in _REAL
