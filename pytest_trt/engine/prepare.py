"""What happens to a model before it is built: nothing, a half precision, or int8 with Q/DQ."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

from pytest_trt.engine import precision, quantise
from pytest_trt.engine.model import Model
from pytest_trt.engine.precision import Conversion
from pytest_trt.engine.quantise import Calibration
from pytest_trt.errors import BuildError
from pytest_trt.spec import EngineSpec

_NAME = "prepared.onnx"


@dataclasses.dataclass(frozen=True)
class Preparation:
    """What is to be done. `by` names who does it, with version and data: the engine's digest covers it."""

    model: Model
    by: str = ""
    convert: Callable[[Path], Conversion] | None = None

    def source(self, folder: Path) -> tuple[Path, Conversion]:
        """The model to build, made in `folder` if it is another than the one that was given."""
        if self.convert is None:
            return self.model.path, Conversion({}, "")
        return folder / _NAME, self.convert(folder / _NAME)

    @staticmethod
    def clear(folder: Path) -> None:
        """Remove what `source` made: only the plan is kept."""
        for file in folder.glob(f"{_NAME}*"):
            file.unlink()


def prepare(spec: EngineSpec, model: Model, strongly_typed: bool, calibration: Calibration) -> Preparation:
    """What `spec` asks for and the backend does not do itself. Raises BuildError where nobody can."""
    wanted, name = spec.precision, model.path.name
    if wanted == "best" and strongly_typed:
        raise BuildError(
            f"precision='best' leaves the choice to the builder, and this backend builds {name} in the types that it "
            "has: ask for fp32, fp16, bf16 or int8"
        )
    if wanted == "fp8" and not model.has_qdq:
        raise BuildError(f"fp8 needs a model with Q/DQ, and {name} has none: quantise it with nvidia-modelopt")
    if wanted == "int8" and not model.has_qdq:
        by = quantise.fingerprint(model, calibration)
        return Preparation(model, by, lambda output: quantise.quantise(model, calibration, output))
    if wanted in ("fp16", "bf16") and strongly_typed:
        return Preparation(
            model, precision.converter()[0], lambda output: precision.convert(model.path, wanted, output)
        )
    return Preparation(model)
