"""Models converted to a half precision, for backends whose networks are strongly typed: what the model says is what
runs."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import importlib.metadata
import importlib.util
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Set
from pathlib import Path
from typing import Any, Literal

from pytest_trt.engine.convert import casts, qdq
from pytest_trt.engine.convert.float16_range import FLOAT16_MAX
from pytest_trt.engine.convert.keep_fp32 import find_fp32_nodes as exempted
from pytest_trt.engine.onnx import opset, rewrite, traverse
from pytest_trt.engine.onnx.messages import capture_warnings, shorten
from pytest_trt.errors import BuildError

HalfPrecision = Literal["fp16", "bf16"]

_CONVERTERS = (
    ("nvidia-modelopt", ("modelopt", "onnx_graphsurgeon"), "modelopt.onnx.autocast"),
    ("onnxruntime", ("onnxruntime",), "onnxruntime.transformers.float16"),
    ("onnxruntime-gpu", ("onnxruntime",), "onnxruntime.transformers.float16"),
    ("onnxconverter-common", ("onnxconverter_common",), "onnxconverter_common.float16"),
)
"""The distribution, the modules that it must have brought, and the room that converts; the best first."""

_PRECISIONS = {"FLOAT": "fp32", "FLOAT16": "fp16", "BFLOAT16": "bf16", "DOUBLE": "fp64"}

_NOT_COMPUTING = frozenset(("Cast", "Constant", "Identity", "QuantizeLinear", "DequantizeLinear"))
"""Operators that compute nothing: they have no precision of their own."""

HALF_QDQ_OPSET = 19
"""The first opset whose QuantizeLinear and DequantizeLinear take float16 and bfloat16 (ONNX's operator changelog)."""


_FLOAT16_RANGE = {"min_positive_val": 5.96e-08, "max_finite_val": FLOAT16_MAX}
"""What a float16 converter rounds to 0 and clips beyond; onnxconverter-common would clip beyond 10000."""

RECIPE_VERSION = 7
"""Part of what an engine is known by in the cache: one more whenever `convert` makes something else of a model."""


@dataclasses.dataclass(frozen=True)
class Conversion:
    """What a conversion made. `shares` maps a precision to the share of the model's float operators whose results have
    it; `converter` names the converter and its version, and is empty where nothing was to be converted."""

    shares: Mapping[str, float]
    converter: str
    notes: tuple[str, ...] = ()


def find_converter() -> tuple[str, str]:
    """The converter to half precisions that is installed, as name and version, and the room that has it. Raises
    BuildError, with the remedy, where none is."""
    for distribution, modules, room in _CONVERTERS:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            version = importlib.metadata.version(distribution)
            if all(importlib.util.find_spec(module) for module in modules):
                return f"{distribution} {version}", room
    raise BuildError(
        "this backend runs the types that the model has, and nothing is installed that converts a model: "
        "pip install 'nvidia-modelopt[onnx]', onnxruntime, or onnxconverter-common"
    )


def fingerprint() -> str:
    """What a converted model is made by. Raises BuildError as `find_converter` does."""
    return f"{find_converter()[0]}, recipe {RECIPE_VERSION}"


def convert(model: Path, precision: HalfPrecision, output: Path, *, keep_io: bool = True) -> Conversion:
    """Write the model to `output` with its float32 operators in `precision`; inputs and outputs keep their types
    unless `keep_io` is False. Weights that lay in other files go to `output`.data.

    Operators that cannot run in it stay float32. Raises BuildError where the result is no valid model, and where
    nothing in it has the precision: nothing is ever quietly left as it was.
    """
    light = rewrite.load_typed(model, output.parent)
    beside = any(map(traverse.is_external, traverse.tensors(light)))
    before = float_shares(light)
    if precision in before and "fp32" not in before:
        rewrite.save_model(rewrite.load_normalised(light, model), output, beside=beside)
        return Conversion(before, "", (f"{model.name} is in {precision} already: it was not converted",))
    if "fp32" not in before:
        raise BuildError(f"{model.name} has no float32 operators: nothing in it can become {precision}")
    name, room = find_converter()
    whole, reasons = rewrite.load_normalised(light, model), list[str]()
    with capture_warnings() as notes:
        try:
            converts = importlib.import_module(room)
            qdq.fold_int32_biases(whole)
            outputs = rewrite.reduce_outputs(whole.graph)
            if name.startswith("nvidia-modelopt"):
                after = _autocast(converts, whole, precision, keep_io, output.parent)
            else:
                whole = _upgrade_qdq(whole)
                exempt = exempted(whole, precision)
                notes += exempt.notes
                reasons = exempt.reasons
                after = _convert_to_half(converts, whole, precision, keep_io, exempt.nodes)
            rewrite.restore_outputs(after.graph, outputs)
        except Exception as error:  # converters raise what they will
            raise BuildError(f"{name} cannot convert {model.name} to {precision}: {shorten(error)}") from error
    rewrite.sort_nodes(after.graph, model.name)
    rewrite.save_model(after, output, beside=beside)
    _check_valid(model, output, name, precision)
    got = float_shares(rewrite.load_typed(output, output.parent))
    if precision not in got:
        why = "; ".join((*notes, *reasons))
        raise BuildError(
            f"{precision} was asked for, and no operator of {model.name} can have it ({why}): leave it out"
            if why
            else f"{precision} was asked for, and {name} left {model.name} without an operator in it: leave it out"
        )
    return Conversion(got, name, tuple(notes))


def float_shares(light: Any) -> Mapping[str, float]:
    """The share of a typed model's float operators in each precision, the largest first."""
    import onnx

    names = {number: _PRECISIONS[name] for name, number in onnx.TensorProto.DataType.items() if name in _PRECISIONS}
    counts: Counter[str] = Counter()
    for graph in traverse.graphs(light):
        types = {value.name: value.type.tensor_type.elem_type for value in (*graph.value_info, *graph.output)}
        for node in graph.node:
            kinds = [names[types[out]] for out in node.output if types.get(out) in names]
            if kinds and node.op_type not in _NOT_COMPUTING:
                counts[kinds[0]] += 1
    return {name: count / counts.total() for name, count in counts.most_common()}


def _autocast(room: Any, whole: Any, precision: HalfPrecision, keep_io: bool, scratch: Path) -> Any:
    """`whole` through AutoCast, which runs the model to find the operators that have to stay float32."""
    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        plain = Path(folder) / "plain.onnx"
        rewrite.save_model(whole, plain, beside=False)
        return room.convert_to_mixed_precision(str(plain), low_precision_type=precision, keep_io_types=keep_io)


def _upgrade_qdq(whole: Any) -> Any:
    """`whole` in an opset whose Q/DQ, if it has any, takes half precisions."""
    quantised = any(node.op_type in ("QuantizeLinear", "DequantizeLinear") for node in traverse.nodes(whole))
    return opset.upgrade(whole, HALF_QDQ_OPSET) if quantised and 0 < opset.version_of(whole) < HALF_QDQ_OPSET else whole


def _convert_to_half(room: Any, whole: Any, precision: HalfPrecision, keep_io: bool, exempt: set[str]) -> Any:
    """`whole` through a float16 converter; for bfloat16, what that made float16 is made bfloat16, its weights taken
    from the original: bfloat16 has float32's range, and float16's would have clipped them."""
    given = casts.name_casts(whole)
    casts.copy_shared_weights(whole, exempt)
    exempt |= casts.add_zero_to_inputs(whole, exempt)
    options = {"keep_io_types": keep_io, "disable_shape_infer": True, "node_block_list": list(exempt), **_FLOAT16_RANGE}
    if precision == "fp16":
        made = room.convert_float_to_float16(whole, **options)
    else:
        own = {name for name, kind in traverse.tensor_types(whole).items() if kind == "FLOAT16"}
        originals = {key: type(tensor).FromString(tensor.SerializeToString()) for key, tensor in _weights(whole, own)}
        made = _to_bfloat16(room.convert_float_to_float16(whole, **options), originals, own)
    casts.move_casts(made, given)
    casts.remove_redundant_casts(made, given)
    return made


def _weights(model: Any, own: Set[str]) -> Iterator[tuple[tuple[int, str], Any]]:
    """Initialisers and constants, by a key that a float16 converter leaves as it is: it adds nodes at the end. Without
    those that make the model's `own` float16."""
    for number, graph in enumerate(traverse.graphs(model)):
        for tensor in graph.initializer:
            if tensor.name not in own:
                yield (number, tensor.name), tensor
        for place, node in enumerate(graph.node):
            for attribute in node.attribute:
                if attribute.type == attribute.TENSOR and own.isdisjoint(node.output):
                    yield (number, f"{place} {attribute.name}"), attribute.t


def _to_bfloat16(model: Any, originals: Mapping[tuple[int, str], Any], own: Set[str]) -> Any:
    """`model` with float16 made bfloat16, all but what was its `own` before the conversion."""
    import ml_dtypes
    from onnx import TensorProto, numpy_helper

    for key, tensor in _weights(model, own):
        if tensor.data_type == TensorProto.FLOAT16:
            array = numpy_helper.to_array(originals.get(key, tensor)).astype(ml_dtypes.bfloat16)
            name = tensor.name
            tensor.Clear()
            tensor.name, tensor.data_type, tensor.raw_data = name, TensorProto.BFLOAT16, array.tobytes()
            tensor.dims.extend(array.shape)
    for graph in traverse.graphs(model):
        for value in (*graph.input, *graph.output, *graph.value_info):
            if value.type.tensor_type.elem_type == TensorProto.FLOAT16 and value.name not in own:
                value.type.tensor_type.elem_type = TensorProto.BFLOAT16
        for attribute in (given for node in graph.node if own.isdisjoint(node.output) for given in node.attribute):
            if attribute.name in ("to", "dtype") and attribute.i == TensorProto.FLOAT16:
                attribute.i = TensorProto.BFLOAT16
    return model


def _check_valid(model: Path, output: Path, name: str, precision: HalfPrecision) -> None:
    """Raise BuildError where the converted model is not valid, and the model was. The types that bfloat16 may have
    are left to the builder: standard operators took it in with opset 13 to 22, and TensorRT takes it in any."""
    import onnx

    def fault(path: Path) -> str:
        try:
            onnx.checker.check_model(str(path), full_check=precision == "fp16")
        except Exception as error:  # noqa: BLE001 - checker and inference errors share no base but Exception
            return shorten(error)
        return ""

    if (found := fault(output)) and not fault(model):
        raise BuildError(
            f"{name} made no valid {precision} model of {model.name} ({found}): export it in {precision}, or convert "
            "it otherwise, and name the result with precision='fp32'"
        )
