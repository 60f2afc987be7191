"""Find what a model's file or a plan's header contains, without building anything."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pytest_trt.core.model_facts import ModelFacts, PlanFacts, TensorFacts, WeightFacts
from pytest_trt.core.scratch import ScratchFolder
from pytest_trt.engine.backends.plan_header import HEADER_BYTES, parse_header, read_origin
from pytest_trt.engine.convert.float16_range import FLOAT16_MAX
from pytest_trt.engine.convert.precision_facts import describe_precision
from pytest_trt.engine.model.marker_line import marker_line
from pytest_trt.engine.model.model import Model, describe_model
from pytest_trt.engine.onnx import external_data, traverse
from pytest_trt.engine.onnx.messages import shorten
from pytest_trt.engine.onnx.signature import DTYPES
from pytest_trt.engine.tensors import Tensor
from pytest_trt.errors import ModelError
from pytest_trt.spec.engine_spec import EngineSpec, Precision


def is_plan(path: Path) -> bool:
    """Return whether a file begins as a plan does, or has a plan's name.

    Raises:
        ModelError: The file cannot be read.
    """
    try:
        with path.open("rb") as file:
            header = file.read(HEADER_BYTES)
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror or error}") from error
    return parse_header(header) is not None or EngineSpec(path=str(path)).is_prebuilt


def inspect_plan(path: Path) -> PlanFacts:
    """Return what the header of a plan contains. Raises BackendError if it is not a plan, or was cut short."""
    origin = read_origin(path)
    return PlanFacts(
        bytes=path.stat().st_size,
        product=origin.product,
        version=origin.version,
        capabilities=tuple(f"{number // 10}.{number % 10}" for number in origin.capabilities),
        marker=f"@pytest.mark.trt_engine({str(path)!r})",
    )


def inspect_model(path: Path, named: str, precision: Precision) -> ModelFacts:
    """Return what a model contains, and what a precision means for it.

    Args:
        path: The model's file.
        named: Its path, as the marker is to name it.
        precision: The precision.

    Raises:
        ModelError: The file is no valid model, or its external data is missing or incomplete.
    """
    import onnx

    described = describe_model(path)
    model = onnx.load(str(path), load_external_data=False)
    external_data.load_weights(model, path)
    marker, open_dims = marker_line(described, named)
    files = [path, *(external_data.find_weights(path, location) for location in described.external)]
    weights = tuple(_describe_weights(path, model))
    with ScratchFolder("inspection") as folder:
        meaning = describe_precision(path, precision, folder)
    return ModelFacts(
        bytes=sum(file.stat().st_size for file in files),
        external=described.external,
        opsets={entry.domain or "ai.onnx": entry.version for entry in model.opset_import},
        producer=f"{model.producer_name} {model.producer_version}".strip(),
        inputs=_describe_tensors(described, described.inputs),
        outputs=_describe_tensors(described, described.outputs),
        operators=dict(Counter(node.op_type for node in traverse.nodes(model)).most_common()),
        weights=weights,
        marker=marker,
        open_dims=open_dims,
        precision=meaning,
    )


def _describe_tensors(model: Model, tensors: tuple[Tensor, ...]) -> tuple[TensorFacts, ...]:
    return tuple(TensorFacts(name=t.name, dtype=t.dtype, dims=_dims(model, t.name)) for t in tensors)


def _dims(model: Model, name: str) -> tuple[str, ...] | None:
    dims = model.dims[name]
    return None if dims is None else tuple("?" if dim is None else str(dim) for dim in dims)


def _describe_weights(path: Path, model: Any) -> Iterator[WeightFacts]:
    """Yield the weights and constants of each type.

    Raises:
        ModelError: A weight does not have the values that its shape needs.
    """
    by_type: dict[int, list[Any]] = {}
    for tensor in traverse.tensors(model):
        by_type.setdefault(tensor.data_type, []).append(tensor)
    for kind, tensors in by_type.items():
        onnx_name = type(tensors[0]).DataType.Name(kind)
        yield _describe_type(path, DTYPES.get(onnx_name, onnx_name.lower()), tensors)


def _describe_type(path: Path, dtype: str, tensors: list[Any]) -> WeightFacts:
    """Return the facts about the weights of one type."""
    import numpy as np
    from onnx import numpy_helper

    values = size = 0
    lows, highs = list[float](), list[float]()
    not_finite, beyond = list[str](), list[str]()
    for tensor in tensors:
        try:
            array = numpy_helper.to_array(tensor)
        except Exception as error:  # onnx raises errors of many kinds for a tensor that contradicts itself
            raise ModelError(
                f"{path}: the weight {tensor.name!r} cannot be read: {shorten(error)}: export the model again"
            ) from error
        values, size = values + array.size, size + array.nbytes
        if array.dtype.kind in "OSUcb" or not array.size:
            continue
        numbers = array if array.dtype.kind in "fiu" else array.astype(np.float32)  # the types of ml_dtypes
        finite = np.isfinite(numbers)
        if not finite.all():
            not_finite.append(tensor.name or "a constant")
            numbers = numbers[finite]
        if numbers.size:
            low, high = float(numbers.min()), float(numbers.max())
            lows.append(low)
            highs.append(high)
            if array.dtype.kind == "f" and max(-low, high) > FLOAT16_MAX:
                beyond.append(tensor.name or "a constant")
    return WeightFacts(
        dtype=dtype,
        tensors=len(tensors),
        values=values,
        bytes=size,
        low=min(lows, default=None),
        high=max(highs, default=None),
        not_finite=tuple(not_finite),
        beyond_fp16=tuple(beyond),
    )
