"""`pytest-trt init FOLDER`: write performance tests for the models of a project, with budgets from a measurement."""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import os
from collections.abc import Sequence
from pathlib import Path, PurePath
from typing import Any

from pytest_trt.cli.arguments import (
    add_precision_argument,
    add_run_arguments,
    add_time_arguments,
    parse_precision,
    run_options,
    time_options,
)
from pytest_trt.cli.exit_status import FAILED
from pytest_trt.cli.input_arguments import add_input_arguments, input_fields, run_shape
from pytest_trt.cli.project import Project
from pytest_trt.cli.terminal import show, show_progress
from pytest_trt.core.records import Environment, Measurement
from pytest_trt.core.validation import parse_share
from pytest_trt.engine.model.files import find_file
from pytest_trt.errors import DeclarationError, ModelError
from pytest_trt.report import test_file, workflow
from pytest_trt.report.numbers import format_figure, format_with_unit
from pytest_trt.spec.declaration import Declaration
from pytest_trt.spec.engine_spec import EngineSpec
from pytest_trt.spec.hosts import NO_HOSTS
from pytest_trt.trial import survey
from pytest_trt.trial.bench import Bench

_DESCRIPTION = """Find the .onnx models in FOLDER and the folders in it, measure each, and write a test for each with
budgets above its figures. Write pytest's settings too if the project has none. No file is overwritten."""
_EPILOG = """Exit status: 0 if every model has a test, 1 if a model could not be measured, 2 for a usage error."""
_TEST_FILE = "tests/test_trt_models.py"
_WORKFLOW = Path(".github/workflows/performance.yml")
_BASELINE_DIR = "baselines"
_SETTINGS = f"""# The folder of this file is pytest's rootdir: the ids of tests are relative to it.
[pytest]
trt_baseline_dir = {_BASELINE_DIR}
"""
_REMEDY = "if a size is wrong, give --dims=NAME=SIZE or --shapes=INPUT=1x3x48"
_MOST_HEADROOM = 100.0
"""The largest headroom, as a share: with more, a budget says nothing."""


def add_command(subparsers: Any) -> None:
    """Add the command's parser to `subparsers`."""
    parser = subparsers.add_parser(
        "init", help="write tests with budgets for the models of a project", description=_DESCRIPTION, epilog=_EPILOG
    )
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="the folder of the project")
    parser.add_argument(
        "--headroom", default="20%", metavar="P", help="how far above the measured figures budgets are (default: 20%%)"
    )
    parser.add_argument(
        "--test-file",
        default=_TEST_FILE,
        metavar="PATH",
        help=f"the file to write the tests to, relative to FOLDER (default: {_TEST_FILE})",
    )
    parser.add_argument(
        "--workflow", action="store_true", help=f"also write {_WORKFLOW}, which checks pull requests on GitHub"
    )
    add_precision_argument(parser, "fp32")
    parser.add_argument("--backend", metavar="NAME", help="the backend (default: the ini setting, or auto)")
    add_time_arguments(parser)
    add_run_arguments(parser, rootdir=False)
    add_input_arguments(parser)
    parser.set_defaults(run=_run)


@dataclasses.dataclass(frozen=True)
class _Place:
    """Where the test file is written, and where its paths are looked for.

    Attributes:
        file: The test file.
        root: What will be pytest's rootdir.
    """

    file: Path
    root: Path

    @property
    def folders(self) -> list[Path]:
        return [self.file.parent, self.root]

    @property
    def name(self) -> str:
        """The file as it begins the ids of its tests."""
        return os.path.relpath(self.file, self.root)

    def name_of(self, model: Path) -> str:
        """Return the path of a model as a test names it: from the root, unless another file would be found first."""
        for name in (os.path.relpath(model, self.root), os.path.relpath(model, self.file.parent)):
            try:
                if find_file("model", name, self.folders).samefile(model):
                    return name
            except (ModelError, OSError):  # the test file's folder need not exist yet
                continue
        return str(model)


def _run(args: argparse.Namespace) -> int:
    headroom = parse_share(args.headroom, "--headroom", below=_MOST_HEADROOM) or 0.0
    wishes = _wishes(args)
    folder: Path = args.folder.absolute()
    if not folder.is_dir():
        what = "is no folder" if folder.exists() else "does not exist"
        raise DeclarationError(f"{args.folder} {what}: name the folder of the project")
    project = Project(folder)
    settings = project.settings({"backend": ("--backend", args.backend), **run_options(args), **time_options(args)})
    place = _Place(_new_test_file(folder, args.test_file), project.folder if project.has_file else folder)
    models = list(survey.find_models(folder, lambda text: show(text, error=True)))
    if not models:
        raise DeclarationError(
            f"{args.folder} has no .onnx model (hidden folders, virtual environments, caches and node_modules are left "
            "out): export one into it, or name another folder"
        )
    candidates = [survey.read_candidate(model, wishes) for model in models]
    survey.check_wishes(wishes, candidates)
    with Bench(settings, show_progress) as bench:
        declared = EngineSpec(path="model.onnx", **wishes.fields)
        environment = bench.environment_of(Declaration(spec=declared))
        tests, left_out = _measure_all(bench, place, folder, candidates, environment, headroom)
    if not tests:
        show("no model could be measured, so nothing was written", error=True)
        return FAILED
    _write_all(args, project, place, environment, test_file.render(tests, _file_remarks(left_out, headroom)))
    show(f"next: pytest {place.file.relative_to(folder) if place.file.is_relative_to(folder) else place.file}")
    return FAILED if left_out else 0


def _wishes(args: argparse.Namespace) -> survey.Wishes:
    inputs, run = input_fields(args), run_shape(args)
    precision = parse_precision(args.precision)
    fields = {
        **({"precision": precision} if precision != "fp32" else {}),
        **({"backend": args.backend} if args.backend is not None else {}),
    }
    dims = {**inputs["dims"], **run.dims}
    return survey.Wishes(fields, run.batch, dims, inputs["shapes"], inputs["input_ranges"])


def _new_test_file(folder: Path, name: str) -> Path:
    """Return the path of the test file to write.

    Raises:
        DeclarationError: It exists, or is no Python file.
    """
    path = Path(os.path.normpath(folder / name))
    if path.suffix != ".py":
        raise DeclarationError(f"--test-file is {name!r}: name a Python file, such as {_TEST_FILE}")
    if os.path.lexists(path):
        raise DeclarationError(f"{path} exists, and is not overwritten: remove it, or name another with --test-file")
    return path


def _measure_all(
    bench: Bench,
    place: _Place,
    folder: Path,
    candidates: Sequence[survey.Candidate],
    environment: Environment,
    headroom: float,
) -> tuple[list[test_file.NewTest], list[str]]:
    """Measure each model and report it. Return the tests, and a sentence about each model that has none."""
    tests, left_out = [], []
    shown = [PurePath(os.path.relpath(candidate.path, folder)) for candidate in candidates]
    for candidate, path, function in zip(candidates, shown, test_file.function_names(shown), strict=True):
        name = place.name_of(candidate.path)
        measurement, why = None, candidate.why
        if not why:
            declaration = candidate.declaration(name)
            measurement, why = survey.measure_candidate(bench, f"{place.name}::{function}", declaration, place.folders)
        if measurement is None:
            lines = [*why.split("\n"), *candidate.remarks, *([_REMEDY] if candidate.remarks else [])]
            show(f"{path}: not measured:", *(f"  {line}" for line in lines))
            left_out.append(f"{path} has no test: it could not be measured.")
            continue
        limits = {
            figure: survey.budget_with_headroom(measurement.figures[figure], headroom)
            for figure in survey.BUDGETED
            if figure in measurement.figures and measurement.figures[figure].high > 0
        }
        tests.append(_new_test(function, name, candidate, measurement, limits))
        budgets = ", ".join(
            f"{format_with_unit(f, measurement.figures[f].value)} (budget {limits[f]:g})" for f in limits
        )
        show(f"{path}: {budgets}", *(f"  {remark}" for remark in candidate.remarks))
    return tests, left_out


def _new_test(
    function: str, name: str, candidate: survey.Candidate, measurement: Measurement, limits: dict[str, float]
) -> test_file.NewTest:
    environment = measurement.environment
    figures = ", ".join(f"{figure}={format_figure(figure, measurement.figures[figure].value)}" for figure in limits)
    when = datetime.date.today().isoformat()
    return test_file.NewTest(
        function=function,
        model=name,
        arguments=candidate.arguments,
        device=" ".join(filter(None, (environment.device, environment.mig_profile))),
        limits=limits,
        remarks=(*candidate.remarks, f"measured on {when}: {figures}"),
    )


def _file_remarks(left_out: Sequence[str], headroom: float) -> list[str]:
    return [f"Each budget was written {100 * headroom:g} % above the interval of the measured figure.", *left_out]


def _write_all(
    args: argparse.Namespace, project: Project, place: _Place, environment: Environment, source: str
) -> None:
    """Write the files, and say of each that it was written, or why not."""
    _write(place.file, source)
    baseline_dir = _BASELINE_DIR
    if project.has_file:
        show(f"no settings were written: {project.folder} has those of pytest")
        baseline_dir = str(project.settings({}).baseline_dir)
    else:
        hosts = "".join(f"\n    {host}" for host in args.host or () if host != NO_HOSTS)
        _write(place.root / "pytest.ini", _SETTINGS + (f"trt_hosts ={hosts}\n" if hosts else ""))
    if args.workflow:
        path = args.folder.absolute() / _WORKFLOW
        device = environment.device if environment.kind == "gpu" else None
        text, notes = workflow.render(device, baseline_dir)
        if _write(path, text):
            show(*(f"  {note}" for note in notes))


def _write(path: Path, text: str) -> bool:
    """Write a new file and say so; say that it exists if it does. Return whether it was written.

    Raises:
        DeclarationError: It cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        show(f"{path} exists, and was left as it is")
        return False
    except OSError as error:
        raise DeclarationError(f"{path} cannot be written: {error.strerror or error}") from error
    show(f"wrote {path}")
    return True
