"""Choose what is done to a model before it is built: nothing, a half precision, int8 with Q/DQ, or calibration."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from pytest_trt.engine.backends.base import CALIBRATION_CACHE
from pytest_trt.engine.backends.tensorrt.versions import SUPPORT
from pytest_trt.engine.cache.folder import cache_errors
from pytest_trt.engine.convert import calibration_data, half, int8, qdq
from pytest_trt.engine.convert.calibration_data import Calibration
from pytest_trt.engine.convert.conversion import Conversion, ConversionJob, Recipe
from pytest_trt.engine.model.files import RANDOM_CALIBRATION
from pytest_trt.engine.model.model import Model
from pytest_trt.errors import BuildError
from pytest_trt.spec.engine_spec import EngineSpec

_MODEL_NAME = "prepared.onnx"
_BATCHES_FOLDER = "calibration"


@dataclasses.dataclass(frozen=True)
class Preparation:
    """The work that precedes a build.

    Attributes:
        model: The model as the spec names it.
        fingerprint: The name, version and data of whoever converts or calibrates the model. It is part of the engine's
            digest, and empty if nothing is done.
        recipe: The conversion that the model needs. None if the model is built as it is.
        write_batches: Writes the inputs that the conversion calibrates on to a folder. None if it needs none.
        write_calibration: Writes what TensorRT calibrates on: batches to the first path, which is a folder, or a
            calibration cache to the second path. None if TensorRT does not calibrate.
        shares: The share of operators in each precision, for a model that comes with Q/DQ.
        notes: Notes on the spec. Notes on the conversion are part of its result.
    """

    model: Model
    fingerprint: str = ""
    recipe: Recipe | None = None
    write_batches: Callable[[Path], None] | None = None
    write_calibration: Callable[[Path, Path], None] | None = None
    shares: Mapping[str, float] = dataclasses.field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def write_model(
        self, folder: Path, convert: Callable[[ConversionJob], Conversion], timeout_s: float
    ) -> tuple[Path, Conversion]:
        """Return the path of the model to build, which is in `folder` if the model is converted.

        The user's function that yields calibration inputs runs in this process, because it cannot be sent to another.

        Args:
            folder: The folder that the engine is built in.
            convert: Runs the conversion in a process of its own.
            timeout_s: The spec's `build_timeout_s`.

        Raises:
            CacheError: The calibration inputs do not fit on the disk.
        """
        if self.recipe is None:
            return self.model.parser_path, Conversion(self.shares, "")
        started, batches = time.monotonic(), folder / _BATCHES_FOLDER
        if self.write_batches is not None:
            with cache_errors(folder):
                self.write_batches(batches)
        job = ConversionJob(
            recipe=self.recipe,
            model=str(self.model.path),
            output=str(folder / _MODEL_NAME),
            batches=str(batches) if self.write_batches is not None else "",
            timeout_s=timeout_s,
            preparation_s=time.monotonic() - started,
        )
        conversion = convert(job)
        shutil.rmtree(batches, ignore_errors=True)
        return Path(job.output), dataclasses.replace(conversion, shares=conversion.shares or self.shares)

    def write_calibration_data(self, folder: Path, cache: Path | None) -> Path | None:
        """Put what TensorRT calibrates on into `folder`.

        Args:
            folder: The folder that the engine is built in.
            cache: The calibration cache of an earlier build, which is copied instead of writing the batches again.

        Returns:
            The folder of the batches, or None if TensorRT does not calibrate.
        """
        if self.write_calibration is None:
            return None
        if cache is not None:
            shutil.copyfile(cache, folder / CALIBRATION_CACHE)
        else:
            self.write_calibration(folder / _BATCHES_FOLDER, folder / CALIBRATION_CACHE)
        return folder / _BATCHES_FOLDER

    def calibration_key(self, backend_version: str) -> str:
        """Return the key under which later builds find the calibration cache, or "" if TensorRT does not calibrate.

        The key covers the model, the calibrator, its batches and the TensorRT version. Builds with other options share
        the cache.
        """
        if self.write_calibration is None:
            return ""
        return hashlib.sha256(f"{self.model.sha256}\0{self.fingerprint}\0{backend_version}".encode()).hexdigest()

    @staticmethod
    def remove_temporary_files(folder: Path) -> None:
        """Remove the converted model and the batches, which only the build needs."""
        for file in folder.glob(f"{_MODEL_NAME}*"):
            file.unlink()
        shutil.rmtree(folder / _BATCHES_FOLDER, ignore_errors=True)


def prepare(
    spec: EngineSpec,
    model: Model,
    calibration: Calibration | Path | None,
    *,
    strongly_typed: bool,
    takes_int32_biases: bool,
) -> Preparation:
    """Return the work that the requested precision needs and that the backend does not do itself.

    Args:
        spec: The build options.
        model: The model to build.
        calibration: The function that yields calibration inputs, or the path of a calibration cache.
        strongly_typed: Whether the backend builds networks in the model's own types.
        takes_int32_biases: Whether the backend takes biases that a DequantizeLinear makes from int32.

    Raises:
        BuildError: The precision cannot be built from this model on this backend.
    """
    precision, name = spec.precision, model.path.name
    if precision == "best" and strongly_typed:
        raise BuildError(
            f"precision='best' leaves the choice to the builder, but this backend builds {name} in the model's own "
            "types: request fp32, fp16, bf16 or int8"
        )
    if precision == "fp8" and not model.has_qdq:
        raise BuildError(f"fp8 needs a model with Q/DQ, and {name} has none: quantise it with nvidia-modelopt")
    if precision == "int8" and spec.calibrator is not None:
        return _prepare_calibrator(spec, model, spec.calibrator, calibration, strongly_typed=strongly_typed)
    shares = qdq.read_quantised_shares(model) if precision == "int8" else {}
    if precision == "int8" and "int8" not in shares:
        _check_not_quantised(model, shares)
        data = _calibration_data(spec, model, calibration)
        fingerprint = int8.fingerprint(model, data)
        write = functools.partial(calibration_data.write_batches, model, data, one_shape=False)
        return Preparation(model, fingerprint, "int8", write)
    if precision in ("fp16", "bf16") and strongly_typed:
        return Preparation(model, half.fingerprint(), precision)
    unused = f"calibration is not used: {name} has Q/DQ, which defines where it is quantised"
    notes = (unused,) if shares and spec.calibration not in (None, RANDOM_CALIBRATION) else ()
    if takes_int32_biases or not qdq.has_int32_biases(model):
        return Preparation(model, shares=shares, notes=notes)
    return Preparation(model, "int32 biases folded", "int32 biases folded", shares=shares, notes=notes)


def _prepare_calibrator(
    spec: EngineSpec,
    model: Model,
    calibrator: str,
    calibration: Calibration | Path | None,
    *,
    strongly_typed: bool,
) -> Preparation:
    """Return the work that int8 by TensorRT's own calibrator needs."""
    name, option = model.path.name, f"calibrator={calibrator!r}"
    if strongly_typed:
        support = SUPPORT[f"calibrator={calibrator}"].describe()
        raise BuildError(
            f"{option} is TensorRT's own calibration, which {support} has: leave it out, and {name} is quantised with "
            "Q/DQ instead"
        )
    if model.has_qdq:
        raise BuildError(f"{option}: {name} has Q/DQ, which defines where it is quantised: leave the calibrator out")
    if isinstance(calibration, Path):
        if not calibration.is_file():
            remedy = _calibration_remedy(calibration)
            raise BuildError(f"calibration={str(calibration)!r} {remedy}, or a calibration cache")
        cache = calibration_data.read_cache(calibration, calibrator)
        fingerprint = f"TensorRT's {calibrator} calibrator, cache {hashlib.sha256(cache).hexdigest()}"
        return Preparation(model, fingerprint, write_calibration=lambda _batches, output: _write_bytes(output, cache))
    data = _calibration_data(spec, model, calibration)
    fingerprint = f"TensorRT's {calibrator} calibrator on {calibration_data.fingerprint(model, data)}"
    return Preparation(
        model,
        fingerprint,
        write_calibration=lambda batches, _cache: calibration_data.write_batches(model, data, batches, one_shape=True),
    )


def _write_bytes(output: Path, data: bytes) -> None:
    output.write_bytes(data)


def _check_not_quantised(model: Model, shares: Mapping[str, float]) -> None:
    """Raise BuildError if the model is quantised, but not with Q/DQ in int8."""
    requested = f"int8 was requested, but {model.path.name}"
    if "fp8" in shares:
        raise BuildError(f"{requested} has its Q/DQ in fp8: request precision='fp8'")
    if integer := sorted(model.ops & qdq.INTEGER_OPERATORS):
        raise BuildError(
            f"{requested} already computes in integers ({', '.join(integer)}): request fp32, which leaves it so; "
            "TensorRT takes only Q/DQ: for it, give the float model that this one was made from"
        )


def _calibration_data(spec: EngineSpec, model: Model, calibration: Calibration | Path | None) -> Calibration:
    """Return the function that yields calibration inputs.

    Raises:
        BuildError: There is none. int8 of a model that was not calibrated computes wrong results, so that the test has
            to request it explicitly with `calibration='random'`.
    """
    name = model.path.name
    if not model.inputs:
        raise BuildError(f"{name} has no inputs, so there is nothing to calibrate int8 on: leave int8 out")
    if calibration is None:
        has = "only Q/DQ of weights, so its operators compute in float" if model.has_qdq else "neither"
        raise BuildError(
            f"int8 needs a model with Q/DQ, or inputs to calibrate on, and {name} has {has}: give calibration= a "
            f"function that yields inputs, or {RANDOM_CALIBRATION!r}, with which the speed is right but the accuracy "
            "is not"
        )
    if isinstance(calibration, Path):
        raise BuildError(f"calibration={str(calibration)!r} {_calibration_remedy(calibration)}")
    return calibration_data.require_repeatable(model, calibration, spec.build_timeout_s)


def _calibration_remedy(path: Path) -> str:
    """Return why a text other than 'random' yields no inputs, and what to give instead."""
    if path.name.lower() == RANDOM_CALIBRATION:
        return f"is no file: write {RANDOM_CALIBRATION!r} to calibrate on generated inputs"
    if not path.is_file():
        return f"is no file: give a function that yields inputs, or {RANDOM_CALIBRATION!r}"
    if path.suffix in (".npz", ".npy"):
        return "is a file of arrays: give a function that reads it and yields dicts of arrays by input name"
    return (
        "is a calibration cache, which TensorRT's own calibrators read: add calibrator='entropy' or 'minmax', or give "
        "a function that yields inputs"
    )
