"""int8: a model with explicit Q/DQ, calibrated on ONNX Runtime: it needs no GPU and serves every TensorRT."""

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
from pytest_trt.engine.convert.qdq import QUANTISED_OPERATORS
from pytest_trt.engine.model.model import Model
from pytest_trt.engine.onnx import opset, rewrite
from pytest_trt.engine.onnx.messages import capture_warnings, readable_message, shorten
from pytest_trt.errors import BuildError, TrtError

if TYPE_CHECKING:
    from pytest_trt.engine.tensors import Arrays

PER_CHANNEL_OPSET = 13
"""The first opset whose QuantizeLinear has an axis (ONNX's operator changelog)."""


_NO_RANGE = "the model computes NaN or infinities from an input that it is calibrated on, or holds one"

RECIPE_VERSION = 6
"""Part of what an engine is known by in the cache: one more whenever `quantise` makes something else of a model."""


def fingerprint(model: Model, calibration: Calibration) -> str:
    """What an int8 engine is made from besides its model: who quantises, and the SHA-256 of what it is calibrated on.

    Raises BuildError where onnxruntime is absent, and what `quantise` raises for the inputs.
    """
    data = calibration_data.fingerprint(model, calibration)
    return f"{_quantiser_version()}, recipe {RECIPE_VERSION}, calibrated on {data}"


def quantise(model: Model, calibration: Calibration, output: Path) -> Conversion:
    """Write `model` to `output` with Q/DQ before the OPERATORS that have constant weights; the model keeps its float32
    inputs and outputs. What these operators put out is not quantised until another of them reads it, so that TensorRT
    can fuse what lies between (Developer Guide, "Q/DQ Layer-Placement Recommendations"). Activations are int8 per
    tensor, by the least and greatest value seen; weights int8 per channel; both symmetric, as TensorRT demands.

    Raises BuildError where a batch does not fit the model, where the function fails or yields nothing, where nothing in
    the model can be quantised, and where a package is absent that onnxruntime's quantiser imports.
    """
    name = _quantiser_version()
    with (
        tempfile.TemporaryDirectory(dir=output.parent) as folder,
        capture_warnings() as notes,
        _silence_onnxruntime(),
    ):
        try:
            notes += _quantise_model(model, calibration_data.checked_batches(model, calibration), output, Path(folder))
        except TrtError:
            raise
        except ModuleNotFoundError as error:  # onnxruntime imports here what not every version of it requires
            absent = (error.name or str(error)).partition(".")[0]
            raise BuildError(f"{name} cannot quantise without the package {absent}: pip install {absent}") from error
        except Exception as error:  # the quantiser raises what it will
            said = shorten(readable_message(error))
            why = f" ({_NO_RANGE})" if "scale issue" in said or "NaN" in said else ""
            raise BuildError(f"{name} cannot quantise {model.path.name}: {said}{why}") from error
    light = rewrite.load_typed(output, output.parent)
    shares = qdq.quantised_shares(light)
    if not shares.get("int8"):
        raise BuildError(
            f"int8 was asked for, and {model.path.name} has none of {', '.join(QUANTISED_OPERATORS)} with weights to "
            f"quantise{int8_compat.explain_unquantised(light, QUANTISED_OPERATORS)}"
        )
    return Conversion(shares, name, tuple(notes))


def _quantise_model(model: Model, batches: Iterator[Arrays], output: Path, folder: Path) -> list[str]:
    """Quantise; notes are what had to be done otherwise than usual."""
    import onnx
    from onnxruntime import quantization
    from onnxruntime.quantization.shape_inference import quant_pre_process

    notes = []
    whole = rewrite.load_normalised(rewrite.load_typed(model.path, folder), model.path)
    per_channel = model.opset >= PER_CHANNEL_OPSET
    if not per_channel:
        try:
            whole = opset.upgrade(whole, PER_CHANNEL_OPSET)
            per_channel = True
        except Exception as error:  # noqa: BLE001 - the converter raises what it will
            why = shorten(error)
            notes.append(f"weights are quantised per tensor, as opset {model.opset} cannot be raised: {why}")
    outputs = rewrite.reduce_outputs(whole.graph)
    int8_compat.check_weights_finite(whole, QUANTISED_OPERATORS)
    int8_compat.add_kernel_shapes(whole)
    given, folded = folder / "given.onnx", folder / "folded.onnx"
    rewrite.save_model(whole, given, beside=False)
    large = given.with_name(f"{given.name}.data").exists()
    quant_pre_process(  # folds batch normalisation into the weights that are quantised
        str(given), str(folded), skip_symbolic_shape=True, save_as_external_data=large, all_tensors_to_one_file=large
    )
    whole = onnx.load(str(folded))
    chosen = int8_compat.prepare_nodes(whole, QUANTISED_OPERATORS)
    if first := next(iter(chosen.grouped), None):
        others = f" and {len(chosen.grouped) - 1} more are" if len(chosen.grouped) > 1 else " is"
        notes.append(f"{first}{others} not in int8, which takes groups of a multiple of 4 channels")
    rewrite.save_model(whole, given, beside=large)
    quantization.quantize_static(
        str(given),
        str(output),
        _Reader(batches),
        quant_format=quantization.QuantFormat.QDQ,
        op_types_to_quantize=list(QUANTISED_OPERATORS),
        nodes_to_exclude=list(chosen.excluded),
        per_channel=per_channel,
        activation_type=quantization.QuantType.QInt8,
        weight_type=quantization.QuantType.QInt8,
        calibrate_method=quantization.CalibrationMethod.MinMax,
        use_external_data_format=large,
        extra_options={
            "ActivationSymmetric": True,
            "WeightSymmetric": True,
            "AddQDQPairToWeight": True,  # TensorRT's parser folds float weights, and has no int32 biases
            "QuantizeBias": False,
            "QDQDisableWeightAdjustForInt32Bias": True,  # biases stay float32: nothing has to make room for them
            "TensorQuantOverrides": {name: [{"symmetric": True}] for name in chosen.one_scale},
            "OpTypesToExcludeOutputQuantization": list(QUANTISED_OPERATORS),
        },
    )
    light = onnx.load(str(output), load_external_data=False)
    int8_compat.restore_unquantised_outputs(light)
    rewrite.restore_outputs(light.graph, outputs)
    onnx.save(light, str(output))
    return notes


@contextlib.contextmanager
def _silence_onnxruntime() -> Iterator[None]:
    """Keep ONNX Runtime from printing what it warns of at every calibration run, such as what it folds. Afterwards its
    own default holds: it does not tell what held before."""
    import onnxruntime

    errors, warnings = 3, 2
    onnxruntime.set_default_logger_severity(errors)
    try:
        yield
    finally:
        onnxruntime.set_default_logger_severity(warnings)


def _quantiser_version() -> str:
    try:
        return f"onnxruntime {importlib.metadata.version('onnxruntime')}"
    except importlib.metadata.PackageNotFoundError:
        raise BuildError(
            "int8 needs a model with Q/DQ, or ONNX Runtime to quantise this one: pip install 'pytest-trt[cpu]'"
        ) from None


class _Reader:
    """Batches as the quantiser asks for them."""

    def __init__(self, batches: Iterator[Arrays]) -> None:
        self._batches = batches

    def get_next(self) -> dict[str, Any] | None:
        batch = next(self._batches, None)
        return None if batch is None else dict(batch)
