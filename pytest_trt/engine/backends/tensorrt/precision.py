"""Which precision is asked of the builder, and the proof of which it built."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any

from pytest_trt.core.records import Layer
from pytest_trt.engine.backends.base import UNREPORTED, BuildReport
from pytest_trt.engine.backends.tensorrt import versions
from pytest_trt.engine.backends.tensorrt.layers import precision_shares
from pytest_trt.errors import BuildError
from pytest_trt.spec.engine_spec import EngineSpec, LayerType

_PROVED = frozenset(("fp16", "bf16", "int8", "fp8"))
_NETWORK_TYPES = {"FLOAT": "fp32", "HALF": "fp16", "BF16": "bf16", "INT8": "int8", "FP8": "fp8"}


LEAST_CAPABILITY = {"bf16": (8, 0), "fp8": (8, 9)}
"""The first compute capability that computes in it (CUDA C++ Programming Guide, arithmetic by compute capability)."""


def check_device(precision: str, capabilities: Iterable[tuple[int, int]]) -> None:
    """Raise BuildError where a GPU that is built for lacks the precision: the builder would choose another."""
    least = LEAST_CAPABILITY.get(precision, (0, 0))
    for major, minor in capabilities:
        if (major, minor) < least:
            raise BuildError(
                f"precision={precision!r} needs a GPU of compute capability {least[0]}.{least[1]} or later, not "
                f"{major}.{minor}: ask for fp16"
            )


def set_precision(trt: Any, network: Any, config: Any, spec: EngineSpec, typed: bool) -> None:
    """Allow what the spec asks for; where networks are strongly typed, the model has been converted before."""
    if spec.precision == "int8" and spec.calibrator is None and not _quantised(trt, network):
        raise BuildError(
            "precision='int8' needs a model that says where it is quantised: give one with QuantizeLinear and "
            "DequantizeLinear (onnxruntime.quantization makes it), or inputs to calibrate on"
        )
    if typed or spec.precision == "fp32":
        return
    wanted = [spec.precision] if spec.precision != "best" else [p for p in _PROVED if versions.has(trt, p)]
    if spec.precision in ("int8", "fp8"):
        wanted.append("fp16")
    for precision in wanted:
        config.set_flag(versions.require(trt, precision))


def _quantised(trt: Any, network: Any) -> bool:
    return any(network.get_layer(i).type == trt.LayerType.DEQUANTIZE for i in range(network.num_layers))


def network_precision_shares(network: Any) -> dict[str, float]:
    """The share of layers in each precision, as the parsed, strongly typed network says: what is built keeps them."""
    found = []
    for i in range(network.num_layers):
        layer = network.get_layer(i)
        types = [layer.get_output(j).dtype for j in range(layer.num_outputs)]
        names = [str(dtype).rpartition(".")[2] for dtype in types]
        if layer.num_inputs and names and names[0] in _NETWORK_TYPES:  # a constant has no inputs and computes nothing
            found.append(Layer(layer.name, precision=_NETWORK_TYPES[names[0]]))
    return precision_shares(found)


def missing_precision(spec: EngineSpec, report: BuildReport) -> str:
    """That no layer has the precision which was asked for; empty where one has, or nothing can tell."""
    if spec.precision not in _PROVED or not report.proved_by or report.precisions.get(spec.precision):
        return ""
    if UNREPORTED in report.precisions:
        return ""
    built = ", ".join(f"{share:.0%} {name}" for name, share in report.precisions.items()) or "nothing that tells"
    asked = f"precision={spec.precision!r} was asked for and no layer has it (there is {built})"
    if report.proved_by == "model":
        return f"{asked}: convert the model"
    if spec.precision_constraints == "prefer":
        return f"{asked}: even preferred, nothing computes in it here: ask for another"
    faster = f"{asked}: the builder found another faster for each of them"
    if _own(spec):
        return f"{faster} that it may choose for: give layers this one in layer_precisions, too"
    forced = f", or force this with layer_precisions={{'*': {spec.precision!r}}}" if _settable(spec) else ""
    return f"{faster}: ask for that{forced}"


def with_precision_preferred(spec: EngineSpec, report: BuildReport) -> EngineSpec | None:
    """The spec that has the builder prefer what was asked for wherever the spec does not say otherwise; a layer that
    cannot compute in it gets another. None where that cannot be said: where types are the model's, where Q/DQ says what
    is quantised, where nothing may be timed, and where the spec's own constraints are to be obeyed."""
    asked = _settable(spec)
    if asked is None or report.proved_by != "inspector" or spec.timing_cache_mode == "error_on_miss":
        return None
    if _own(spec) and spec.precision_constraints == "obey":
        return None
    every: dict[str, LayerType] = {"*": asked, **spec.layer_precisions}
    return dataclasses.replace(spec, layer_precisions=every, precision_constraints="prefer")


def _own(spec: EngineSpec) -> bool:
    return bool(spec.layer_precisions or spec.layer_output_types)


def _settable(spec: EngineSpec) -> LayerType | None:
    """What was asked for, if a layer may be given it: not what Q/DQ gives."""
    asked = spec.precision
    if asked == "fp16" or asked == "bf16" or (asked == "int8" and spec.calibrator is not None):
        return asked
    return None


def unreported_precision_notes(spec: EngineSpec, report: BuildReport) -> tuple[str, ...]:
    """A note where the builder does not tell whether anything has the precision that was asked for."""
    if spec.precision not in _PROVED or report.precisions.get(spec.precision) or UNREPORTED not in report.precisions:
        return ()
    count = sum(layer.precision == UNREPORTED for layer in report.layers)
    parts = "a whole part" if count == 1 else f"{count} whole parts, one each,"
    return (f"whether it computes in {spec.precision} is not told: a layer holds {parts} of the network",)
