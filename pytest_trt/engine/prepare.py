"""What happens to a model before it is built: nothing, a half precision, int8 with Q/DQ, or TensorRT's calibration."""

from __future__ import annotations

import dataclasses
import hashlib
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

from pytest_trt.engine.backends.base import CALIBRATION_CACHE
from pytest_trt.engine.backends.tensorrt.versions import SUPPORT
from pytest_trt.engine.convert import calibration_data, half, int8, qdq
from pytest_trt.engine.convert.calibration_data import Calibration
from pytest_trt.engine.convert.half import Conversion
from pytest_trt.engine.model.files import RANDOM_CALIBRATION
from pytest_trt.engine.model.model import Model
from pytest_trt.errors import BuildError
from pytest_trt.spec.engine_spec import EngineSpec

_NAME = "prepared.onnx"
_BATCHES = "calibration"


@dataclasses.dataclass(frozen=True)
class Preparation:
    """What is to be done. `fingerprint` names who does it, with version and data: the engine's digest covers it.
    `calibrates` writes what TensorRT calibrates on: batches to the first path, or a calibration cache to the second. `shares` are of
    a model that says them itself, and `notes` of the spec, not of what is built."""

    model: Model
    fingerprint: str = ""
    convert: Callable[[Path], Conversion] | None = None
    calibrates: Callable[[Path, Path], None] | None = None
    shares: Mapping[str, float] = dataclasses.field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def source(self, folder: Path) -> tuple[Path, Conversion]:
        """The model to build, made in `folder` if it is another than the one that was given."""
        if self.convert is None:
            return self.model.path, Conversion(self.shares, "")
        return folder / _NAME, self.convert(folder / _NAME)

    def calibration(self, folder: Path, kept: Path | None) -> Path | None:
        """Put in `folder` what TensorRT calibrates on: the cache that an earlier build `kept`, or what there is.
        Returns where the batches are, if this is calibrated by TensorRT at all."""
        if self.calibrates is None:
            return None
        if kept is not None:
            shutil.copyfile(kept, folder / CALIBRATION_CACHE)
        else:
            self.calibrates(folder / _BATCHES, folder / CALIBRATION_CACHE)
        return folder / _BATCHES

    def calibration_key(self, backend_version: str) -> str:
        """What a calibration cache is of: the model, the calibrator, what it saw and the TensorRT that ran it; whatever
        else is built differently. Empty where TensorRT calibrates nothing."""
        if self.calibrates is None:
            return ""
        return hashlib.sha256(f"{self.model.sha256}\0{self.fingerprint}\0{backend_version}".encode()).hexdigest()

    @staticmethod
    def clear(folder: Path) -> None:
        """Remove what was made for the build alone: the plan is kept, and its calibration cache."""
        for file in folder.glob(f"{_NAME}*"):
            file.unlink()
        shutil.rmtree(folder / _BATCHES, ignore_errors=True)


def prepare(
    spec: EngineSpec, model: Model, strongly_typed: bool, host: bool, calibration: Calibration | Path | None
) -> Preparation:
    """What `spec` asks for and the backend does not do itself; on a `host` that is ONNX Runtime. `calibration` gives
    the inputs, or is a calibration cache. Raises BuildError where nobody can."""
    wanted, name = spec.precision, model.path.name
    if wanted == "best" and strongly_typed:
        raise BuildError(
            f"precision='best' leaves the choice to the builder, and this backend builds {name} in the types that it "
            "has: ask for fp32, fp16, bf16 or int8"
        )
    if wanted == "fp8" and not model.has_qdq:
        raise BuildError(f"fp8 needs a model with Q/DQ, and {name} has none: quantise it with nvidia-modelopt")
    if wanted == "int8" and spec.calibrator is not None:
        return _prepare_calibrator(spec, model, spec.calibrator, strongly_typed, calibration)
    shares = qdq.read_quantised_shares(model) if wanted == "int8" else {}
    if wanted == "int8" and "int8" not in shares:
        _check_not_quantised(model, shares)
        data = _calibration_data(spec, model, calibration)
        by = int8.fingerprint(model, data)
        return Preparation(model, by, lambda output: int8.quantise(model, data, output))
    if wanted in ("fp16", "bf16") and strongly_typed:
        return Preparation(model, half.fingerprint(), lambda output: half.convert(model.path, wanted, output))
    unused = f"calibration is not used: {name} has Q/DQ, which says where it is quantised"
    notes = (unused,) if shares and spec.calibration not in (None, RANDOM_CALIBRATION) else ()
    if host or not qdq.has_int32_biases(model):
        return Preparation(model, shares=shares, notes=notes)

    def without_biases(output: Path) -> Conversion:
        qdq.write_without_int32_biases(model, output)
        return Conversion(shares, "")

    return Preparation(model, "int32 biases folded", without_biases, notes=notes)


def _check_not_quantised(model: Model, shares: Mapping[str, float]) -> None:
    """Raise BuildError for a model that is quantised otherwise than by Q/DQ in int8."""
    asked = f"int8 was asked for, and {model.path.name}"
    if "fp8" in shares:
        raise BuildError(f"{asked} has its Q/DQ in fp8: ask for precision='fp8'")
    if integer := sorted(model.ops & qdq.INTEGER_OPERATORS):
        raise BuildError(
            f"{asked} computes in integers as it is ({', '.join(integer)}): ask for fp32, which leaves it so; for "
            "TensorRT, which takes Q/DQ alone, give the model that it was made of"
        )


def _calibration_data(spec: EngineSpec, model: Model, calibration: Calibration | Path | None) -> Calibration:
    """The inputs to calibrate on. Raises BuildError where there are none: int8 of a model that nobody calibrated is
    wrong in a way that only `calibration='random'` says is meant."""
    name = model.path.name
    if not model.inputs:
        raise BuildError(f"{name} takes no inputs, so that there is nothing to calibrate int8 on: leave int8 out")
    if calibration is None:
        has = "Q/DQ of weights alone, which are computed with in float" if model.has_qdq else "neither"
        raise BuildError(
            f"int8 needs a model with Q/DQ, or inputs to calibrate on, and {name} has {has}: give calibration= a "
            "function that yields inputs, or 'random', which is right for the speed and not for the accuracy"
        )
    if isinstance(calibration, Path):
        raise BuildError(f"calibration={str(calibration)!r} {_calibration_remedy(calibration)}")
    return calibration_data.require_repeatable(model, calibration, spec.build_timeout_s)


def _calibration_remedy(path: Path) -> str:
    """Why a text that is not 'random' gives no inputs, and what would."""
    if path.name.lower() == RANDOM_CALIBRATION:
        return f"is no file: write it {RANDOM_CALIBRATION!r}, to have inputs drawn"
    if not path.is_file():
        return f"is no file: give a function that yields inputs, or {RANDOM_CALIBRATION!r}"
    if path.suffix in (".npz", ".npy"):
        return "is a file of arrays: give a function that reads it and yields dicts of arrays by input name"
    return (
        "is a calibration cache, which TensorRT's own calibrators read: give calibrator='entropy' or 'minmax' with it, "
        "or a function that yields inputs"
    )


def _prepare_calibrator(
    spec: EngineSpec, model: Model, calibrator: str, strongly_typed: bool, calibration: Calibration | Path | None
) -> Preparation:
    """int8 by TensorRT's own calibrators, where there are any."""
    name, asked = model.path.name, f"calibrator={calibrator!r}"
    if strongly_typed:
        raise BuildError(
            f"{asked} is TensorRT's own calibration, which {SUPPORT[f'calibrator={calibrator}'].describe()} has: leave "
            f"it out, and {name} gets Q/DQ"
        )
    if model.has_qdq:
        raise BuildError(f"{asked}: {name} has Q/DQ, which says where it is quantised: leave the calibrator out")
    if isinstance(calibration, Path):
        if not calibration.is_file():
            raise BuildError(
                f"calibration={str(calibration)!r} {_calibration_remedy(calibration)}, or a calibration cache"
            )
        cache = calibration_data.read_cache(calibration, calibrator)
        by = f"TensorRT's {calibrator} calibrator, cache {hashlib.sha256(cache).hexdigest()}"

        def copy(batches: Path, output: Path) -> None:
            output.write_bytes(cache)

        return Preparation(model, by, calibrates=copy)
    data = _calibration_data(spec, model, calibration)

    def write(batches: Path, output: Path) -> None:
        calibration_data.write_batches(model, data, batches)

    by = f"TensorRT's {calibrator} calibrator on {calibration_data.fingerprint(model, data)}"
    return Preparation(model, by, calibrates=write)
