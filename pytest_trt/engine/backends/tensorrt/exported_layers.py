"""Read the layers and times that trtexec exports: the JSON of --exportLayerInfo and of --exportProfile.

The files may come from anywhere, so their size, form and numbers are checked.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pytest_trt.core import json_text
from pytest_trt.core.engine_map import Operation
from pytest_trt.core.json_text import JsonLimits
from pytest_trt.core.records import Layer, LayerProfile
from pytest_trt.core.scalars import InvalidValue, check_depth, check_float, check_int, short_repr
from pytest_trt.engine.backends.tensorrt.layers import parse_layers
from pytest_trt.errors import RecordError

LIMITS = JsonLimits(text_bytes=64 << 20, memory_bytes=512 << 20)
MOST_LAYERS = 100_000

_BYTES = (
    (r"int64", 8.0), (r"u?int32", 4.0), (r"bool|uint8", 1.0), (r"fp4|int4", 0.5), (r"fp8|int8", 1.0),
    (r"bf16|bfloat16|fp16|half|float16", 2.0), (r"fp32|float", 4.0),
)  # fmt: skip
"""The bytes of a number by the pattern of its type's name. The first that is found decides."""


@dataclasses.dataclass(frozen=True)
class LayerSizes:
    """The sizes of what a layer reads, writes and holds, in MB; None for what is not reported."""

    read_mb: float | None = None
    written_mb: float | None = None
    weights_mb: float | None = None


def read_exported(path: Path) -> LayerProfile:
    """Return the layers in a file of --exportLayerInfo, or the layers and times in one of --exportProfile.

    Raises:
        RecordError: The file has another form, or cannot be read. The message names the file.
    """
    found = _read(path)
    if isinstance(found, dict) and "results" in found:
        raise RecordError(f"{path} is the JSON of a run: name one of its tests, and the run with --from")
    if isinstance(found, list):
        runs, times = _times(path, found)
        return LayerProfile(tuple(Layer(name, ms) for name, ms in times), runs)
    if not isinstance(found, dict) or not isinstance(found.get("Layers"), list):
        raise RecordError(f"{path} is no file of trtexec's --exportLayerInfo or --exportProfile: it has no Layers")
    if len(found["Layers"]) > MOST_LAYERS:
        raise RecordError(f"{path} has {len(found['Layers'])} layers: the limit is {MOST_LAYERS}")
    for number, item in enumerate(found["Layers"]):
        _check_layer(f"{path}: Layers[{number}]", item)
    bindings = found.get("Bindings")
    names = tuple(filter(lambda name: isinstance(name, str), bindings)) if isinstance(bindings, list) else ()
    return LayerProfile(parse_layers(found), 0, names, found)


def with_times(profile: LayerProfile, path: Path) -> tuple[LayerProfile, int]:
    """Return the layers with the times in a file of --exportProfile, and how many times belong to none of them.

    Layers that only the file has come last. Layers of one name get their times in order.

    Raises:
        RecordError: The file has another form, or cannot be read.
    """
    found = _read(path)
    if not isinstance(found, list):
        raise RecordError(f"{path} is no file of trtexec's --exportProfile: it must be a list")
    runs, times = _times(path, found)
    by_name: dict[str, list[float]] = {}
    for name, ms in reversed(times):
        by_name.setdefault(name, []).append(ms)
    layers = [
        dataclasses.replace(layer, ms=by_name[layer.name].pop()) if by_name.get(layer.name) else layer
        for layer in profile.layers
    ]
    others = [Layer(name, ms) for name, rest in by_name.items() for ms in reversed(rest)]
    return dataclasses.replace(profile, layers=(*layers, *others), runs=runs), len(others)


def layer_sizes(inspected: Mapping[str, Any]) -> dict[str, LayerSizes]:
    """Return the sizes of each layer in the inspector's report by the name of the layer.

    A tensor whose dimensions or type are unknown counts for nothing.
    """
    return {str(item.get("Name", "")): _sizes(item) for item in inspected.get("Layers", ()) if isinstance(item, dict)}


def operations(inspected: Mapping[str, Any]) -> Iterator[Operation]:
    """Yield what each layer in the inspector's report reads and writes."""
    for item in inspected.get("Layers", ()):
        if isinstance(item, dict):
            read, written = (
                tuple(str(tensor["Name"]) for tensor in item.get(key) or () if "Name" in tensor)
                for key in ("Inputs", "Outputs")
            )
            yield Operation(str(item.get("Name", "")), read, written)


def _read(path: Path) -> Any:
    try:
        with path.open("rb") as file:
            raw = file.read(LIMITS.text_bytes + 1)
        return json_text.parse(raw, LIMITS, lenient=True)
    except OSError as error:
        raise RecordError(f"{path} cannot be read: {error.strerror or error}") from error
    except RecordError as error:
        raise RecordError(f"{path} {error}: export it again with trtexec") from error


def _check_layer(where: str, item: Any) -> None:
    """Check the parts of a layer that are read."""
    if isinstance(item, str):
        return
    if not isinstance(item, dict):
        raise RecordError(f"{where} is {short_repr(item)}: it must be a name or an object")
    for key in ("Inputs", "Outputs"):
        tensors = item.get(key) or []
        if not isinstance(tensors, list) or not all(isinstance(tensor, dict) for tensor in tensors):
            raise RecordError(f"{where}.{key} is {short_repr(tensors)}: it must be a list of objects")
    try:
        check_depth(item)
    except InvalidValue as error:
        raise RecordError(f"{where}{error.message}") from None


def _times(path: Path, rows: Sequence[Any]) -> tuple[int, list[tuple[str, float]]]:
    """Return the number of runs, and the name and the time of each layer in ms: the median where there is one."""
    runs, times = 0, []
    for number, row in enumerate(rows):
        where = f"{path}[{number}]"
        if not isinstance(row, dict):
            raise RecordError(f"{where} is {short_repr(row)}: it must be an object")
        try:
            if "name" not in row:
                runs = check_int(row.get("count", 0))
                continue
            key = next((key for key in ("medianMs", "averageMs") if key in row), "averageMs")
            ms = check_float(row.get(key))
        except InvalidValue as error:
            raise RecordError(f"{where}{error.message}") from None
        if ms < 0:
            raise RecordError(f"{where} has a time of {ms:g} ms: a time is at least 0")
        times.append((str(row["name"]), ms))
    if not times:
        raise RecordError(f"{path} has no times of layers: export it with trtexec --exportProfile")
    if len(times) > MOST_LAYERS:
        raise RecordError(f"{path} has {len(times)} layers: the limit is {MOST_LAYERS}")
    return runs, times


def _sizes(item: Mapping[str, Any]) -> LayerSizes:
    read, written = (_total(map(_tensor_bytes, item.get(key) or ())) for key in ("Inputs", "Outputs"))
    return LayerSizes(read, written, _total(_weight_bytes(item)))


def _total(sizes: Iterator[float | None]) -> float | None:
    known = [size for size in sizes if size is not None]
    return sum(known) / 1e6 if known else None


def _tensor_bytes(tensor: Mapping[str, Any]) -> float | None:
    dims = tensor.get("Dimensions")
    kind = " ".join(str(tensor.get(key, "")) for key in ("Format/Datatype", "Datatype", "DataType"))
    if not isinstance(dims, list) or not all(isinstance(dim, int) and 0 <= dim < 2**31 for dim in dims):
        return None
    return _bytes(math.prod(dims), kind)


def _weight_bytes(item: Mapping[str, Any]) -> Iterator[float | None]:
    for key, weights in item.items():  # a fused layer has ConvWeights and ConvBias
        if key.endswith(("Weights", "Bias")) and isinstance(weights, dict) and isinstance(weights.get("Count"), int):
            yield _bytes(weights["Count"], str(weights.get("Type", "")))


def _bytes(count: int, kind: str) -> float | None:
    size = next((size for pattern, size in _BYTES if re.search(pattern, kind, re.IGNORECASE)), None)
    return None if size is None or not 0 <= count < 2**53 else count * size
