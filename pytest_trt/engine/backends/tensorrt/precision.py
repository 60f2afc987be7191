"""Set the precision for the builder, and check which precision it built."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any

from pytest_trt.core.precision import UNREPORTED
from pytest_trt.core.records import Layer
from pytest_trt.engine.backends.base import BuildReport
from pytest_trt.engine.backends.tensorrt import versions
from pytest_trt.engine.backends.tensorrt.layers import precision_shares
from pytest_trt.errors import BuildError
from pytest_trt.spec.engine_spec import EngineSpec, LayerType

_PROVED = frozenset(("fp16", "bf16", "int8", "fp8"))
"""The precisions that at least one layer must have if the spec requests them."""

_NETWORK_TYPES = {"FLOAT": "fp32", "HALF": "fp16", "BF16": "bf16", "INT8": "int8", "FP8": "fp8"}

MIN_CAPABILITY = {"bf16": (8, 0), "fp8": (8, 9)}
"""The first compute capability that computes in a precision (CUDA C++ Programming Guide, arithmetic by compute
capability)."""


def check_device(precision: str, capabilities: Iterable[tuple[int, int]]) -> None:
    """Raise BuildError if a target GPU lacks the precision, since the builder would silently choose another one.

    Args:
        precision: The requested precision.
        capabilities: The compute capabilities (major, minor) to build for.
    """
    required = MIN_CAPABILITY.get(precision, (0, 0))
    for major, minor in capabilities:
        if (major, minor) < required:
            raise BuildError(
                f"precision={precision!r} needs a GPU of compute capability {required[0]}.{required[1]} or later, not "
                f"{major}.{minor}: use fp16 instead"
            )


def set_precision(trt: Any, network: Any, config: Any, spec: EngineSpec, typed: bool) -> None:
    """Allow the builder to use the requested precision.

    A strongly typed network needs no flag: its model was converted beforehand.

    Args:
        trt: The module of the package.
        network: The parsed network.
        config: The builder's configuration.
        spec: The engine to build.
        typed: Whether the network is strongly typed.

    Raises:
        BuildError: int8 is requested for a model without Q/DQ and without calibration, or this TensorRT lacks the
            precision.
    """
    if spec.precision == "int8" and spec.calibrator is None and not _quantised(trt, network):
        raise BuildError(
            "precision='int8' needs a quantised model: give one with QuantizeLinear and DequantizeLinear "
            "(onnxruntime.quantization makes it), or inputs to calibrate on in calibration"
        )
    if typed or spec.precision == "fp32":
        return
    precisions = [spec.precision] if spec.precision != "best" else [p for p in _PROVED if versions.has(trt, p)]
    if spec.precision in ("int8", "fp8"):
        precisions.append("fp16")
    for precision in precisions:
        config.set_flag(versions.require(trt, precision))


def _quantised(trt: Any, network: Any) -> bool:
    return any(network.get_layer(i).type == trt.LayerType.DEQUANTIZE for i in range(network.num_layers))


def network_precision_shares(network: Any) -> dict[str, float]:
    """Return the share of layers in each precision of a strongly typed network; the built engine keeps its types."""
    layers = []
    for i in range(network.num_layers):
        layer = network.get_layer(i)
        types = [layer.get_output(j).dtype for j in range(layer.num_outputs)]
        names = [str(dtype).rpartition(".")[2] for dtype in types]
        if layer.num_inputs and names and names[0] in _NETWORK_TYPES:  # A constant has no inputs, and computes nothing.
            layers.append(Layer(layer.name, precision=_NETWORK_TYPES[names[0]]))
    return precision_shares(layers)


def missing_precision(spec: EngineSpec, report: BuildReport) -> str:
    """Return an error message if no layer has the requested precision; empty if one has, or if that is not known."""
    if spec.precision not in _PROVED or not report.proved_by or report.precisions.get(spec.precision):
        return ""
    if UNREPORTED in report.precisions:
        return ""
    built = ", ".join(f"{share:.0%} {name}" for name, share in report.precisions.items()) or "unknown precisions"
    missing = f"precision={spec.precision!r} was requested, but no layer has it (there is {built})"
    if report.proved_by == "model":
        return f"{missing}: convert the model"
    if spec.precision_constraints == "prefer":
        return f"{missing}: no layer can compute in it, even if it is preferred: request another precision"
    faster = f"{missing}: another precision was faster in every layer"
    if _has_layer_constraints(spec):
        return f"{faster} that the spec leaves open: set {spec.precision!r} for layers in layer_precisions, too"
    forced = (
        f", or force {spec.precision} with layer_precisions={{'*': {spec.precision!r}}}" if _layer_type(spec) else ""
    )
    return f"{faster}: request it{forced}"


def with_precision_preferred(spec: EngineSpec, report: BuildReport) -> EngineSpec | None:
    """Return the spec with the requested precision preferred in every layer for which it does not say otherwise.

    A layer that cannot compute in the precision gets another one.

    Returns:
        The new spec. None if the precision cannot be preferred: types come from the model, Q/DQ decides what is
        quantised, nothing may be timed, or the spec's own constraints must be obeyed.
    """
    layer_type = _layer_type(spec)
    if layer_type is None or report.proved_by != "inspector" or spec.timing_cache_mode == "error_on_miss":
        return None
    if _has_layer_constraints(spec) and spec.precision_constraints == "obey":
        return None
    layer_precisions: dict[str, LayerType] = {"*": layer_type, **spec.layer_precisions}
    return dataclasses.replace(spec, layer_precisions=layer_precisions, precision_constraints="prefer")


def _has_layer_constraints(spec: EngineSpec) -> bool:
    return bool(spec.layer_precisions or spec.layer_output_types)


def _layer_type(spec: EngineSpec) -> LayerType | None:
    """Return the requested precision if it can be set for a layer; None if Q/DQ sets it."""
    precision = spec.precision
    if precision == "fp16" or precision == "bf16" or (precision == "int8" and spec.calibrator is not None):
        return precision
    return None


def unreported_precision_notes(spec: EngineSpec, report: BuildReport) -> tuple[str, ...]:
    """Return a note if it is unknown whether any layer has the requested precision, because layers were fused."""
    if spec.precision not in _PROVED or report.precisions.get(spec.precision) or UNREPORTED not in report.precisions:
        return ()
    count = sum(layer.precision == UNREPORTED for layer in report.layers)
    fused = (
        "a fused layer holds a whole part of the network and does not report its precision"
        if count == 1
        else f"{count} fused layers hold whole parts of the network and do not report their precision"
    )
    return (f"whether the engine computes in {spec.precision} is unknown: {fused}",)
