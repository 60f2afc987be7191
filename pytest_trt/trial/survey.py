"""Find the models of a folder, choose their shapes, and measure each as a test would.

    for path in find_models(folder, report_unreadable):
        candidate = read_candidate(path, wishes)
        measurement, why = measure_candidate(bench, node_id, candidate.declaration(name), folders)

No error of a model is raised: what could not be measured says why.
"""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pytest_trt.core.records import Estimate, Measurement
from pytest_trt.core.validation import suggest
from pytest_trt.engine.model.choose_sizes import choose_sizes
from pytest_trt.engine.model.input_dims import InputDims
from pytest_trt.engine.model.model import Model, describe_model
from pytest_trt.errors import DeclarationError, TrtError
from pytest_trt.spec.declaration import Declaration, RunShape
from pytest_trt.spec.engine_spec import EngineSpec
from pytest_trt.trial.bench import Bench
from pytest_trt.trial.trial import Trial

SUFFIX = ".onnx"

BUDGETED = ("ms", "memory_mb")
"""The figures that get a budget, if the device has them."""

_LEFT_OUT = frozenset(("node_modules", "site-packages", "__pycache__"))
_MARKS = ("pyvenv.cfg", "CACHEDIR.TAG")
"""The files that mark a folder as a virtual environment, or as a cache such as that of engines."""


def find_models(folder: Path, report: Callable[[str], None]) -> Iterator[Path]:
    """Yield the ONNX models in `folder` and the folders in it, in the order of their names.

    Hidden folders, virtual environments, caches and the folders of installed packages are left out.

    Args:
        folder: The folder.
        report: Called with a sentence about each folder that cannot be read.
    """

    def say(error: OSError) -> None:
        report(f"{error.filename} cannot be read ({error.strerror}): its models are left out")

    for parent, folders, files in os.walk(folder, onerror=say):
        if Path(parent) != folder and any(mark in files for mark in _MARKS):
            folders.clear()
            continue
        folders[:] = sorted(name for name in folders if not name.startswith(".") and name not in _LEFT_OUT)
        for name in sorted(files):
            path = Path(parent, name)
            if path.suffix.lower() == SUFFIX and not name.startswith(".") and path.is_file():
                yield path


@dataclasses.dataclass(frozen=True)
class Wishes:
    """What the user says about all models; each holds for the models that it fits.

    Attributes:
        fields: Fields of every EngineSpec, such as the precision.
        batch: The size of dynamic leading dimensions; None for 1.
        dims: Sizes or (min, opt, max) by the name of a dimension.
        shapes: Shapes or (min, opt, max) by the name of an input.
        input_ranges: Ranges of values by the name of an input.
    """

    fields: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    batch: int | None = None
    dims: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    shapes: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    input_ranges: Mapping[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Candidate:
    """A model, and what its test would declare.

    Attributes:
        path: The file.
        arguments: The arguments of `trt_engine` besides the path.
        remarks: A sentence about each size that was chosen.
        fits: The names of wishes that this model has: of dimensions and of inputs, and `batch`.
        names: All names of dimensions and inputs.
        why: Why the model cannot be read; empty if it can.
    """

    path: Path
    arguments: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    remarks: tuple[str, ...] = ()
    fits: frozenset[str] = frozenset()
    names: frozenset[str] = frozenset()
    why: str = ""

    def declaration(self, name: str) -> Declaration:
        """Return what a test of the model declares.

        Args:
            name: The path as the test names it.
        """
        return Declaration(spec=EngineSpec(path=name, **self.arguments))


def read_candidate(path: Path, wishes: Wishes) -> Candidate:
    """Return the model at `path` with a size for every dimension that can be guessed."""
    try:
        model = describe_model(path)
        dims_known, inputs_known = _names(model)
        dims, shapes, ranges = (
            {name: value for name, value in given.items() if name in known}
            for given, known in (
                (wishes.dims, dims_known), (wishes.shapes, inputs_known), (wishes.input_ranges, inputs_known)
            )
        )  # fmt: skip
        batch = 1 if wishes.batch is None else wishes.batch
        chosen = choose_sizes(model, EngineSpec(path=str(path), dims=dims, shapes=shapes), batch)
    except TrtError as error:
        return Candidate(path, why=str(error))
    arguments = {
        **wishes.fields, "dims": {**dims, **chosen.dims}, "shapes": {**shapes, **chosen.shapes}, "input_ranges": ranges,
    }  # fmt: skip
    return Candidate(
        path,
        {name: value for name, value in arguments.items() if value != {}},
        chosen.why,
        frozenset((*dims, *shapes, *ranges, *(["batch"] if chosen.batch else []))),
        dims_known | inputs_known,
    )


def _names(model: Model) -> tuple[frozenset[str], frozenset[str]]:
    """Return the names of the dimensions of a model's inputs, and those of the inputs."""
    inputs = InputDims(model, EngineSpec(path=str(model.path)), RunShape())
    dims = {dim for axes in inputs.by_input.values() for dim in axes or () if isinstance(dim, str)}
    parts = (expression.variables for expression in inputs.expressions.values())
    return frozenset(dims.union(*parts)), frozenset(inputs.by_input)


def check_wishes(wishes: Wishes, candidates: Sequence[Candidate]) -> None:
    """Check that each wish holds for a model, if any model can be read.

    Raises:
        DeclarationError: No model has the name, or a dimension for the batch.
    """
    readable = [candidate for candidate in candidates if not candidate.why]
    fits = frozenset[str]().union(*(candidate.fits for candidate in readable))
    names = frozenset[str]().union(*(candidate.names for candidate in readable))
    given = (("--dims", wishes.dims), ("--shapes", wishes.shapes), ("--input-range", wishes.input_ranges))
    for flag, name in ((flag, name) for flag, values in given for name in values):
        if readable and name not in fits:
            known = f"their dimensions and inputs are {', '.join(sorted(names))}" if names else "they have no names"
            raise DeclarationError(f"{flag} names {name!r}, which no model has: {suggest(name, names, known)}")
    if readable and wishes.batch is not None and "batch" not in fits:
        raise DeclarationError(f"--batch={wishes.batch} fills no dimension of any model: leave it out, or use --dims")


def measure_candidate(
    bench: Bench, node_id: str, declaration: Declaration, folders: Sequence[Path]
) -> tuple[Measurement | None, str]:
    """Build and measure a model as a test would.

    Returns:
        The measurement and an empty string; or None, and why there is none.
    """
    try:
        with Trial(bench, node_id, declaration, folders) as trial:
            measurement = trial.measure()
            verdicts = trial.result.verdicts if trial.result is not None else ()
    except TrtError as error:
        return None, str(error)
    faults = "; ".join(verdict.text for verdict in verdicts if verdict.status in ("invalid", "error"))
    return (None, faults) if faults else (measurement, "")


def budget_with_headroom(estimate: Estimate, headroom: float) -> float:
    """Return a limit that lies above the whole interval of a figure, by this share, rounded up to three digits."""
    limit = estimate.high * (1 + headroom)
    unit = 10.0 ** (math.floor(math.log10(limit)) - 2)
    return float(f"{math.ceil(round(limit / unit, 6)) * unit:.3g}")
