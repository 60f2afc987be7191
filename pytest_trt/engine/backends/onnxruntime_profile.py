"""Read the layers from a profile of ONNX Runtime."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from typing import Any

from pytest_trt.core.records import Layer

DTYPES: Mapping[str, str] = {
    "float": "float32", "double": "float64", "float16": "float16", "bfloat16": "bfloat16", "bool": "bool",
    **{f"{sign}int{bits}": f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)},
}  # fmt: skip
"""NumPy's names of data types, by ONNX Runtime's names."""


def parse_profile(events: list[dict[str, Any]], *, with_provider: bool = False) -> tuple[Layer, ...]:
    """Return the layers of a profile in the order in which they first ran; the first run of each is not counted.

    Args:
        events: The events that ONNX Runtime's profiler wrote.
        with_provider: Whether the tactic of a layer is the execution provider that runs it.
    """
    times: dict[str, list[float]] = {}
    arguments: dict[str, dict[str, Any]] = {}
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
            name = event["name"].removesuffix("_kernel_time")
            times.setdefault(name, []).append(event["dur"] / 1000)
            arguments[name] = event.get("args", {})
    return tuple(
        Layer(
            name=name,
            ms=statistics.median(values[1:] or values),
            kind=str(arguments[name].get("op_name", "")),
            tactic=str(arguments[name].get("provider", "")) if with_provider else "",
            precision=_output_precision(arguments[name]),
            nodes=(name,),
        )
        for name, values in times.items()
    )


def _output_precision(arguments: dict[str, Any]) -> str:
    """Return the data type of a kernel's first output; empty if the event does not contain it."""
    shapes = arguments.get("output_type_shape") or []
    return DTYPES.get(next(iter(shapes[0]), ""), "") if shapes else ""
