"""Convert a model to a half precision, for backends that build networks in the model's own types."""

from __future__ import annotations

import importlib
import re
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Set
from pathlib import Path
from typing import Any, Literal

from pytest_trt.engine.convert import casts, float32_borders, qdq
from pytest_trt.engine.convert.conversion import Conversion
from pytest_trt.engine.convert.converters import Converter, find_converters
from pytest_trt.engine.convert.float16_range import FLOAT16_MAX
from pytest_trt.engine.convert.keep_fp32 import Fp32Nodes, find_fp32_nodes
from pytest_trt.engine.onnx import opset, rewrite, traverse
from pytest_trt.engine.onnx.messages import capture_warnings, shorten
from pytest_trt.errors import BuildError

HalfPrecision = Literal["fp16", "bf16"]

RECIPE_VERSION = 11
"""Part of an engine's digest. Increase it whenever `convert` produces another model from the same input."""

HALF_QDQ_OPSET = 19
"""The first opset whose QuantizeLinear and DequantizeLinear take float16 and bfloat16 (ONNX's operator changelog)."""

_FLOAT16_RANGE = {"min_positive_val": 5.96e-08, "max_finite_val": FLOAT16_MAX}
"""The magnitudes below which a float16 converter rounds to 0 and beyond which it clips. By default onnxconverter-common
clips beyond 10000."""

_PRECISIONS = {"FLOAT": "fp32", "FLOAT16": "fp16", "BFLOAT16": "bf16", "DOUBLE": "fp64"}

_NOT_COMPUTING = frozenset(("Cast", "Constant", "Identity", "QuantizeLinear", "DequantizeLinear"))
"""Operators that compute nothing and therefore have no precision of their own."""


def fingerprint() -> str:
    """Return the name and version of the converter, and the version of what this module adds to it.

    Raises:
        BuildError: No converter is installed.
    """
    return f"{find_converters()[0].name}, recipe {RECIPE_VERSION}"


def convert(model: Path, precision: HalfPrecision, output: Path, *, keep_io: bool = True) -> Conversion:
    """Write the model to `output` with its float32 operators in `precision`.

    Operators that cannot run in `precision` stay float32. The weights of a model with external data go to
    `output`.data.

    Args:
        model: The model's file.
        precision: The half precision.
        output: The file to write.
        keep_io: Whether inputs and outputs keep their types.

    Raises:
        BuildError: No converter is installed, the conversion failed, the result is no valid model, or no operator of it
            has the precision. A model is never left as it was without an error or a note.
    """
    typed = rewrite.load_typed(model, output.parent)
    external_weights = any(map(traverse.is_external, traverse.tensors(typed)))
    before = float_shares(typed)
    if precision in before and "fp32" not in before:
        rewrite.save_model(rewrite.load_normalised(typed, model), output, external_weights=external_weights)
        return Conversion(before, "", (f"{model.name} is in {precision} already: it was not converted",))
    if "fp32" not in before:
        raise BuildError(f"{model.name} has no float32 operators: nothing in it can become {precision}")
    with capture_warnings() as notes:
        converter, converted, kept = _convert_with_best(model, typed, precision, keep_io, output.parent, notes)
    rewrite.sort_nodes(converted.graph, model.name)
    rewrite.save_model(converted, output, external_weights=external_weights)
    _check_valid(model, output, converter.name, precision)
    shares = float_shares(rewrite.load_typed(output, output.parent))
    if precision not in shares:
        reasons = "; ".join((*notes, *kept.reasons))
        raise BuildError(
            f"{precision} was requested, but no operator of {model.name} can have it ({reasons}): leave it out"
            if reasons
            else f"{precision} was requested, but {converter.name} left {model.name} without an operator in it: "
            "leave it out"
        )
    return Conversion(shares, converter.name, tuple(notes))


def float_shares(typed: Any) -> Mapping[str, float]:
    """Return the share (0 to 1) of a typed model's float operators in each precision, the largest first."""
    import onnx

    names = {number: _PRECISIONS[name] for name, number in onnx.TensorProto.DataType.items() if name in _PRECISIONS}
    counts: Counter[str] = Counter()
    for graph in traverse.graphs(typed):
        types = {value.name: value.type.tensor_type.elem_type for value in (*graph.value_info, *graph.output)}
        for node in graph.node:
            precisions = [names[types[name]] for name in node.output if types.get(name) in names]
            if precisions and node.op_type not in _NOT_COMPUTING:
                counts[precisions[0]] += 1
    return {name: count / counts.total() for name, count in counts.most_common()}


def _convert_with_best(
    model: Path, typed: Any, precision: HalfPrecision, keep_io: bool, scratch: Path, notes: list[str]
) -> tuple[Converter, Any, Fp32Nodes]:
    """Return the best converter that can convert a model, the converted model, and the nodes that stay float32.

    AutoCast runs the model on random inputs, in which each dimension that the model leaves open is 1. It raises an
    error where a model cannot run so, such as one that looks for the largest 3 of N numbers. The next converter takes
    such a model, and a note says why.

    Args:
        model: The model's file.
        typed: The model with the types of its tensors.
        precision: The half precision.
        keep_io: Whether inputs and outputs keep their types.
        scratch: A folder for temporary files.
        notes: The notes on the conversion, to which this function adds.

    Raises:
        BuildError: No converter is installed, or none can convert the model.
    """
    best, *others = find_converters()
    source = rewrite.load_normalised(typed, model)
    try:
        return best, *_convert_with(best, source, precision, keep_io, scratch, notes)
    except Exception as error:  # converters raise all kinds of exceptions
        message = f"{best.name} cannot convert {model.name} to {precision}: {shorten(error)}"
        if not (best.runs_model and others):
            raise BuildError(message) from error
    notes.append(f"{message}. {others[0].name} converted it")
    source = rewrite.load_normalised(typed, model)
    try:
        return others[0], *_convert_with(others[0], source, precision, keep_io, scratch, notes)
    except Exception as error:  # converters raise all kinds of exceptions
        raise BuildError(f"{message}; nor can {others[0].name}: {shorten(error)}") from error


def _convert_with(
    converter: Converter, source: Any, precision: HalfPrecision, keep_io: bool, scratch: Path, notes: list[str]
) -> tuple[Any, Fp32Nodes]:
    """Return a normalised model converted by `converter`, and the nodes that stay float32.

    Whichever package converts, the nodes that stay float32 are the same: none of them knows the whole numbers, shapes
    and positions that a half precision cannot hold.
    """
    module = importlib.import_module(converter.module)
    qdq.fold_int32_biases(source)
    outputs = rewrite.reduce_outputs(source.graph)
    source = source if converter.runs_model else upgrade_qdq(source)
    kept = find_fp32_nodes(source, precision)
    if converter.runs_model:
        converted = _autocast(module, source, precision, keep_io, kept, scratch)
        if precision not in float_shares(converted):
            raise BuildError(f"it left the model without an operator in {precision}")
    else:
        converted = _convert_to_half(module, source, precision, keep_io, kept)
        notes += kept.notes
    rewrite.restore_outputs(converted.graph, outputs)
    return converted, kept


def _autocast(module: Any, model: Any, precision: HalfPrecision, keep_io: bool, kept: Fp32Nodes, scratch: Path) -> Any:
    """Return `model` converted by modelopt's AutoCast, which runs it to find more operators that must stay float32."""
    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        source = Path(folder) / "plain.onnx"
        rewrite.save_model(model, source, external_weights=False)
        return module.convert_to_mixed_precision(
            str(source),
            low_precision_type=precision,
            keep_io_types=keep_io,
            nodes_to_exclude=[f"{re.escape(name)}$" for name in sorted(kept.nodes)],
        )


def upgrade_qdq(model: Any) -> Any:
    """Return `model` in an opset whose Q/DQ takes half precisions, if the model has Q/DQ."""
    quantised = any(node.op_type in ("QuantizeLinear", "DequantizeLinear") for node in traverse.nodes(model))
    return opset.upgrade(model, HALF_QDQ_OPSET) if quantised and 0 < opset.version_of(model) < HALF_QDQ_OPSET else model


def _convert_to_half(converter: Any, model: Any, precision: HalfPrecision, keep_io: bool, kept: Fp32Nodes) -> Any:
    """Return `model` converted by a float16 converter.

    For bfloat16, what became float16 is turned into bfloat16. Its weights come from the original model: bfloat16 has
    the range of float32, and a conversion to float16 clips them.

    Args:
        converter: The module with `convert_float_to_float16`.
        model: The model, which is changed.
        precision: The half precision.
        keep_io: Whether inputs and outputs keep their types.
        kept: The nodes that stay float32.
    """
    from onnx import TensorProto

    own_casts = casts.name_casts(model)
    casts.copy_shared_weights(model, kept.nodes)
    nodes = kept.nodes | casts.add_zero_to_inputs(model, kept.nodes)
    options = {"keep_io_types": keep_io, "disable_shape_infer": True, "node_block_list": list(nodes), **_FLOAT16_RANGE}
    if precision == "fp16":
        converted = converter.convert_float_to_float16(model, **options)
    else:
        own_float16 = {name for name, kind in traverse.tensor_types(model).items() if kind == "FLOAT16"}
        originals = {
            key: type(tensor).FromString(tensor.SerializeToString()) for key, tensor in _weights(model, own_float16)
        }
        converted = converter.convert_float_to_float16(model, **options)
        _float16_to_bfloat16(converted, originals, own_float16)
    half = TensorProto.FLOAT16 if precision == "fp16" else TensorProto.BFLOAT16
    float32_borders.widen(converted, kept.borders, half)
    casts.move_casts(converted, own_casts)
    casts.remove_redundant_casts(converted, own_casts)
    return converted


def _weights(model: Any, own_float16: Set[str]) -> Iterator[tuple[tuple[int, str], Any]]:
    """Yield initialisers and constants, by a key that a float16 converter does not change: it adds nodes at the end.

    The weights that compute the model's own float16 tensors are left out.
    """
    for number, graph in enumerate(traverse.graphs(model)):
        for tensor in graph.initializer:
            if tensor.name not in own_float16:
                yield (number, tensor.name), tensor
        for position, node in enumerate(graph.node):
            for attribute in node.attribute:
                if attribute.type == attribute.TENSOR and own_float16.isdisjoint(node.output):
                    yield (number, f"{position} {attribute.name}"), attribute.t


def _float16_to_bfloat16(model: Any, originals: Mapping[tuple[int, str], Any], own_float16: Set[str]) -> None:
    """Turn float16 into bfloat16, except the tensors that were float16 before the conversion.

    Args:
        model: The converted model.
        originals: The weights before the conversion, by the keys of `_weights`.
        own_float16: The names of the tensors that were float16 before the conversion.
    """
    import ml_dtypes
    from onnx import TensorProto, numpy_helper

    for key, tensor in _weights(model, own_float16):
        if tensor.data_type == TensorProto.FLOAT16:
            array = numpy_helper.to_array(originals.get(key, tensor)).astype(ml_dtypes.bfloat16)
            name = tensor.name
            tensor.Clear()
            tensor.name, tensor.data_type, tensor.raw_data = name, TensorProto.BFLOAT16, array.tobytes()
            tensor.dims.extend(array.shape)
    for graph in traverse.graphs(model):
        for value in (*graph.input, *graph.output, *graph.value_info):
            if value.type.tensor_type.elem_type == TensorProto.FLOAT16 and value.name not in own_float16:
                value.type.tensor_type.elem_type = TensorProto.BFLOAT16
        for node in graph.node:
            for attribute in node.attribute if own_float16.isdisjoint(node.output) else ():
                if attribute.name in ("to", "dtype") and attribute.i == TensorProto.FLOAT16:
                    attribute.i = TensorProto.BFLOAT16


def _check_valid(model: Path, output: Path, name: str, precision: HalfPrecision) -> None:
    """Raise BuildError if the converted model is not valid, but the original was.

    Whether an operator may be bfloat16 is left to the builder: ONNX's operators allow it from opset 13 to 22 on, and
    TensorRT takes it in every opset.

    Args:
        model: The original model's file.
        output: The converted model's file.
        name: The converter's name and version.
        precision: The half precision.
    """
    import onnx

    def fault(path: Path) -> str:
        try:
            onnx.checker.check_model(str(path), full_check=precision == "fp16")
        except Exception as error:  # noqa: BLE001 - checker and inference errors share no base but Exception
            return shorten(error)
        return ""

    if (found := fault(output)) and not fault(model):
        raise BuildError(
            f"{name} made no valid {precision} model from {model.name} ({found}): export the model in {precision}, or "
            "convert it with another tool, and name the result with precision='fp32'"
        )
