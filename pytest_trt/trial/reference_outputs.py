"""Provide the outputs that a test's outputs are compared with: those of ONNX Runtime, a file, or a function."""

from __future__ import annotations

import dataclasses
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_trt.core.backends import REFERENCE
from pytest_trt.core.callables import call_user_function
from pytest_trt.engine.arrays import refuse_nan
from pytest_trt.errors import InputError, ModelError
from pytest_trt.measure.engine_probe import EngineProbe, GenerationInputs, Subject
from pytest_trt.pipeline.generation import Generated
from pytest_trt.spec.declaration import PipelineOptions
from pytest_trt.spec.engine_spec import EngineSpec

if TYPE_CHECKING:
    from pytest_trt.engine.model.model import Model
    from pytest_trt.engine.tensors import Arrays
    from pytest_trt.trial.bench import Bench


_ALWAYS_UNPACKED_BYTES = 256_000_000
"""What a file of arrays may unpack to, however small it is."""

_LARGEST_RATIO = 100
"""How many times its size a larger file of arrays may unpack to. Arrays of real outputs compress by less than 10."""


def accuracy_inputs(source: Any, folders: Sequence[Path]) -> Arrays | None:
    """Return the inputs that `trt_accuracy(inputs=...)` names: those of an .npz file, or of a function.

    Args:
        source: The path or the function; None to generate inputs.
        folders: Where a path is looked for.

    Raises:
        InputError: They are not arrays by name, or hold NaN.
    """
    if source is None:
        return None
    value = (
        call_user_function("trt_accuracy", "inputs", InputError, source) if callable(source) else _npz(source, folders)
    )
    inputs = _by_name(value, "inputs")
    if not inputs:
        raise InputError("trt_accuracy: inputs holds no array: name one for each input of the model")
    refuse_nan(inputs)
    return inputs


def reference_outputs(
    reference: Any,
    inputs: Arrays,
    model: Model,
    shapes: Mapping[str, tuple[int, ...]],
    folders: Sequence[Path],
    bench: Bench,
) -> Arrays:
    """Return the outputs to compare with, by name.

    ONNX Runtime runs the unchanged model in fp32 on the CPU, in a probe.

    Args:
        reference: `onnxruntime`, the path of an .npz file, or a function of the inputs.
        inputs: Arrays by input name.
        model: The model.
        shapes: The shapes that are run, by input.
        folders: Where a path is looked for.
        bench: The resources of the run.

    Raises:
        ModelError: There is no model that ONNX Runtime could run.
        InputError: The file or the function does not provide arrays by name.
    """
    if callable(reference):
        return _by_name(
            call_user_function("trt_accuracy", "reference", InputError, reference, dict(inputs)), "the reference"
        )
    if reference != REFERENCE:
        otherwise = ", or give the reference 'onnxruntime', 'baseline' or a function"
        return _by_name(_npz(reference, folders, otherwise), "the reference")
    if model.kind != "onnx":
        raise ModelError(
            "trt_accuracy: ONNX Runtime cannot run a plan: give the expected outputs as an .npz file or a function"
        )
    inputs = _widen_integers(inputs, model)
    subject = Subject(model.path, "0", EngineSpec(), shapes, PipelineOptions(), inputs)
    with EngineProbe(bench.here.server(REFERENCE), subject) as probe:
        return probe.infer(inputs)


def reference_generation(
    inputs: GenerationInputs, spec: EngineSpec, model: Model, shapes: Mapping[str, tuple[int, ...]], bench: Bench
) -> Generated:
    """Return what ONNX Runtime generates with the unchanged models in fp32 on the CPU, with its logits.

    Args:
        inputs: What is generated.
        spec: The spec of the decoder; its state and its inputs apply.
        model: The decoder.
        shapes: The shapes of one step, by input.
        bench: The resources of the run.
    """
    plain = EngineSpec(state=spec.state, write_index=spec.write_index, seed=spec.seed, input_ranges=spec.input_ranges)
    job = dataclasses.replace(inputs.job, prefill=inputs.prefill_model, prefill_spec=EngineSpec())
    subject = Subject(model.path, "0", plain, shapes, PipelineOptions())
    with EngineProbe(bench.here.server(REFERENCE), subject) as probe:
        return probe.generate(dataclasses.replace(inputs, job=job), keep_logits=True)


def _widen_integers(inputs: Arrays, model: Model) -> Arrays:
    """Return the inputs with integers as wide as the model's: TensorRT before 10 has 32-bit integers only."""
    kinds = {tensor.name: tensor.dtype for tensor in model.inputs}
    return {
        name: array.astype(kinds[name]) if array.dtype.name == "int32" and kinds.get(name) == "int64" else array
        for name, array in inputs.items()
    }


def _npz(path: str, folders: Sequence[Path], otherwise: str = "") -> dict[str, Any]:
    import numpy as np

    found = next((folder / path for folder in folders if (folder / path).is_file()), None)
    if found is None:
        searched = ", ".join(dict.fromkeys(map(str, folders)))
        raise InputError(f"trt_accuracy: there is no file {path} in {searched}: write it with numpy.savez{otherwise}")
    try:
        _check_unpacked_size(found)
        with found.open("rb") as data:  # numpy does not close a file that it cannot read
            file = np.load(data, allow_pickle=False)
            if not isinstance(file, np.ndarray):
                return {name: file[name] for name in file.files}
            fault: object = "it holds one array without a name"
    except InputError:
        raise
    except Exception as error:  # noqa: BLE001 - numpy, zipfile and zlib raise many kinds of errors
        fault = error
    raise InputError(f"trt_accuracy: {found} is no .npz file of arrays ({fault}): write it with numpy.savez")


def _check_unpacked_size(path: Path) -> None:
    """Raise InputError if a zip file unpacks to far more than it has bytes: a few of them could fill the memory."""
    if not zipfile.is_zipfile(path):
        return
    with zipfile.ZipFile(path) as archive:
        unpacked = sum(member.file_size for member in archive.infolist())
    if unpacked > _ALWAYS_UNPACKED_BYTES and unpacked > _LARGEST_RATIO * path.stat().st_size:
        raise InputError(
            f"trt_accuracy: {path} unpacks to {unpacked} bytes, more than {_LARGEST_RATIO} times its size: write it "
            "with numpy.savez, which does not compress"
        )


def _by_name(value: Any, what: str) -> Arrays:
    """Return `value` if it maps names to arrays of real numbers."""
    import numpy as np

    if not isinstance(value, Mapping):
        message = f"{what} must be a mapping of names to numpy arrays, not {type(value).__name__}"
        raise InputError(f"trt_accuracy: {message}")
    for name, array in value.items():
        if not isinstance(array, np.ndarray):
            raise InputError(
                f"trt_accuracy: {what} has a {type(array).__name__} for {name!r}: give a numpy array (numpy.asarray)"
            )
        if array.dtype.hasobject or array.dtype.kind in "SUmMc":
            raise InputError(f"trt_accuracy: {what} has an array of {array.dtype.name} for {name!r}: give real numbers")
    return dict(value)
