"""Quantise a model to int8 with explicit Q/DQ, calibrated on ONNX Runtime.

It needs no GPU, and every TensorRT version builds the result.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_trt.engine.convert import calibration_data, int8_compat, qdq
from pytest_trt.engine.convert.calibration_data import Calibration
from pytest_trt.engine.convert.conversion import Conversion
from pytest_trt.engine.convert.exact_numbers import find_exact_numbers
from pytest_trt.engine.convert.qdq import QUANTISED_OPERATORS
from pytest_trt.engine.model.model import Model
from pytest_trt.engine.onnx import opset, rewrite
from pytest_trt.engine.onnx.messages import capture_warnings, readable_message, shorten
from pytest_trt.errors import BuildError, TrtError

if TYPE_CHECKING:
    from pytest_trt.engine.tensors import Arrays

RECIPE_VERSION = 8
"""Part of an engine's digest. Increase it whenever `quantise` produces another model from the same input."""

PER_CHANNEL_OPSET = 13
"""The first opset whose QuantizeLinear has an axis (ONNX's operator changelog)."""

_EXCHANGED = frozenset(("bool", "float16", "float32", "float64", *(f"{sign}int{bits}" for sign in ("", "u")
                                                                     for bits in (8, 16, 32, 64))))  # fmt: skip
"""The types of inputs and outputs that ONNX Runtime's Python bindings accept and return as arrays."""

_NO_RANGE = "the model computes NaN or infinities from a calibration input, or contains one"


def fingerprint(model: Model, calibration: Calibration) -> str:
    """Return the version of the quantiser, and the SHA-256 of the calibration inputs.

    Raises:
        BuildError: onnxruntime is not installed, or the inputs are not valid, as for `quantise`.
    """
    _check_types(model)
    data = calibration_data.fingerprint(model, calibration)
    return f"{_quantiser_version()}, recipe {RECIPE_VERSION}, calibrated on {data}"


def quantise(model: Model, calibration: Calibration, output: Path) -> Conversion:
    """Write `model` to `output` with Q/DQ before the QUANTISED_OPERATORS that have constant weights.

    The model keeps its float32 inputs and outputs. The results of quantised operators are not quantised until another
    such operator reads them, so that TensorRT can fuse the operators between them (Developer Guide, "Q/DQ
    Layer-Placement Recommendations"). Activations are int8 per tensor, with the range between their smallest and
    largest value. Weights are int8 per channel. Both are symmetric, as TensorRT requires. Operators that compute with
    positions, counts or other whole numbers beyond 256 are not quantised.

    Args:
        model: The model to quantise.
        calibration: The function that yields calibration inputs.
        output: The file to write.

    Raises:
        BuildError: A batch does not fit the model, the function fails or yields nothing, no operator can be quantised,
            an input or output has a type that ONNX Runtime cannot exchange, or a package that onnxruntime's quantiser
            imports is not installed.
    """
    _check_types(model)
    name = _quantiser_version()
    with (
        tempfile.TemporaryDirectory(dir=output.parent) as folder,
        capture_warnings() as notes,
        _silence_onnxruntime(),
    ):
        try:
            notes += _write_quantised(model, calibration_data.checked_batches(model, calibration), output, Path(folder))
        except TrtError:
            raise
        except ModuleNotFoundError as error:  # the quantiser imports packages that not every onnxruntime requires
            absent = (error.name or str(error)).partition(".")[0]
            raise BuildError(f"{name} cannot quantise without the package {absent}: pip install {absent}") from error
        except Exception as error:  # the quantiser raises all kinds of exceptions
            message = shorten(readable_message(error))
            reason = f" ({_NO_RANGE})" if "scale issue" in message or "NaN" in message else ""
            raise BuildError(f"{name} cannot quantise {model.path.name}: {message}{reason}") from error
    typed = rewrite.load_typed(output, output.parent)
    shares = qdq.quantised_shares(typed)
    if not shares.get("int8"):
        raise BuildError(
            f"int8 was requested, but {model.path.name} has none of {', '.join(QUANTISED_OPERATORS)} that can be "
            f"quantised{int8_compat.explain_unquantised(typed)}"
        )
    return Conversion(shares, name, tuple(notes))


def _check_types(model: Model) -> None:
    """Raise BuildError if ONNX Runtime cannot run the calibration, because of the type of an input or output."""
    for role, tensors in (("input", model.inputs), ("output", model.outputs)):
        for tensor in tensors:
            if tensor.dtype not in _EXCHANGED:
                raise BuildError(
                    f"int8: the {role} {tensor.name!r} of {model.path.name} is {tensor.dtype}, which NumPy arrays "
                    "cannot hold, so ONNX Runtime cannot run the calibration: export the model with float32 inputs and "
                    "outputs, or with Q/DQ"
                )


def _write_quantised(model: Model, batches: Iterator[Arrays], output: Path, folder: Path) -> list[str]:
    """Write the quantised model to `output`, and return notes on what is quantised in another way than usual.

    Args:
        model: The model to quantise.
        batches: The calibration inputs.
        output: The file to write.
        folder: A folder for temporary files.
    """
    import onnx
    from onnxruntime import quantization
    from onnxruntime.quantization.shape_inference import quant_pre_process

    source = rewrite.load_normalised(rewrite.load_typed(model.path, folder), model.path)
    source, per_channel, notes = _upgrade_opset(source, model.opset)
    outputs = rewrite.reduce_outputs(source.graph)
    int8_compat.check_weights_finite(source)
    int8_compat.add_kernel_shapes(source)
    prepared, folded = folder / "prepared.onnx", folder / "folded.onnx"
    rewrite.save_model(source, prepared, external_weights=False)
    large = prepared.with_name(f"{prepared.name}.data").exists()
    quant_pre_process(  # folds batch normalisation into the weights that are quantised
        str(prepared), str(folded), skip_symbolic_shape=True, save_as_external_data=large, all_tensors_to_one_file=large
    )
    source = onnx.load(str(folded))
    exact = find_exact_numbers(source, "bf16")  # bfloat16 holds the whole numbers of 8 bits
    selected = int8_compat.prepare_nodes(source, exact.nodes)
    if first := next(iter(selected.grouped), None):
        others = f" and {len(selected.grouped) - 1} more are" if len(selected.grouped) > 1 else " is"
        notes.append(f"{first}{others} not in int8: the size of a group of channels must be a multiple of 4")
    rewrite.save_model(source, prepared, external_weights=large)
    quantization.quantize_static(
        str(prepared),
        str(output),
        _Reader(batches),
        quant_format=quantization.QuantFormat.QDQ,
        op_types_to_quantize=list(QUANTISED_OPERATORS),
        nodes_to_exclude=list(selected.excluded),
        per_channel=per_channel,
        activation_type=quantization.QuantType.QInt8,
        weight_type=quantization.QuantType.QInt8,
        calibrate_method=quantization.CalibrationMethod.MinMax,
        use_external_data_format=large,
        extra_options={
            "ActivationSymmetric": True,
            "WeightSymmetric": True,
            "AddQDQPairToWeight": True,  # TensorRT's parser folds float weights, and takes no int32 biases
            "QuantizeBias": False,
            "QDQDisableWeightAdjustForInt32Bias": True,  # biases stay float32, so no scale has to be widened for them
            "TensorQuantOverrides": {name: [{"symmetric": True}] for name in selected.one_scale},
            "OpTypesToExcludeOutputQuantization": list(QUANTISED_OPERATORS),
        },
    )
    quantised = onnx.load(str(output), load_external_data=False)
    int8_compat.restore_unquantised_outputs(quantised)
    rewrite.restore_outputs(quantised.graph, outputs)
    onnx.save(quantised, str(output))
    return notes


def _upgrade_opset(source: Any, version: int) -> tuple[Any, bool, list[str]]:
    """Return the model in an opset that has scales per channel, whether it could be converted, and a note if not."""
    if version >= PER_CHANNEL_OPSET:
        return source, True, []
    try:
        return opset.upgrade(source, PER_CHANNEL_OPSET), True, []
    except Exception as error:  # noqa: BLE001 - the converter raises all kinds of exceptions
        note = f"weights are quantised per tensor, as opset {version} cannot be upgraded: {shorten(error)}"
        return source, False, [note]


@contextlib.contextmanager
def _silence_onnxruntime() -> Iterator[None]:
    """Keep ONNX Runtime from printing warnings in every calibration run, such as what it folds.

    Afterwards its default severity holds: it does not report the severity that was set before.
    """
    import onnxruntime

    errors, warnings = 3, 2
    onnxruntime.set_default_logger_severity(errors)
    try:
        yield
    finally:
        onnxruntime.set_default_logger_severity(warnings)


def _quantiser_version() -> str:
    """Return the name and version of the quantiser.

    Raises:
        BuildError: It is not installed.
    """
    for package in ("onnxruntime", "onnxruntime-gpu"):  # They contain the same quantiser.
        try:
            return f"onnxruntime {importlib.metadata.version(package)}"
        except importlib.metadata.PackageNotFoundError:
            continue
    raise BuildError(
        "int8 needs a model with Q/DQ, or ONNX Runtime to quantise this one: pip install 'pytest-trt[cpu]'"
    )


class _Reader:
    """The calibration inputs, in the form that the quantiser reads."""

    def __init__(self, batches: Iterator[Arrays]) -> None:
        self._batches = batches

    def get_next(self) -> dict[str, Any] | None:
        batch = next(self._batches, None)
        return None if batch is None else dict(batch)
