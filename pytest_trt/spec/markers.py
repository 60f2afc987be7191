"""A test's markers and parameters, put together into one Declaration. Knows pytest's Mark by its form alone.

The marker closest to the test wins, argument by argument; budgets add up. What cannot be meant is a DeclarationError
that names the marker, the argument and the nearest valid name.
"""

from __future__ import annotations

import dataclasses
import difflib
import itertools
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Protocol

from pytest_trt.core import codec
from pytest_trt.core.backends import BACKENDS
from pytest_trt.core.figures import FIGURES
from pytest_trt.core.validation import suggest
from pytest_trt.errors import DeclarationError, RecordError
from pytest_trt.spec.declaration import Declaration, PipelineOptions, RunShape
from pytest_trt.spec.engine_spec import EngineSpec
from pytest_trt.spec.expectations import Accuracy, Budget, Tolerance
from pytest_trt.spec.options import MARKERS

BUDGETS = tuple(name for name, figure in FIGURES.items() if figure.budget)

_SPEC = tuple(f.name for f in dataclasses.fields(EngineSpec))
_PIPELINE = tuple(f.name for f in dataclasses.fields(PipelineOptions))
_AXES = tuple(name for name in (*_SPEC, *_PIPELINE) if name not in ("path", "onnx", "build"))


class Mark(Protocol):
    """What is used of pytest.Mark."""

    @property
    def name(self) -> str: ...
    @property
    def args(self) -> tuple[Any, ...]: ...
    @property
    def kwargs(self) -> Mapping[str, Any]: ...


def matrix_axes(marks: Iterable[Mark]) -> dict[str, Sequence[Any]]:
    """The axes of `trt_matrix` markers, closest first, by name. The order is that in which they stand."""
    found: dict[str, Sequence[Any]] = {}
    for mark in marks:
        _no_positional(mark, 0)
        for name, values in mark.kwargs.items():
            if not isinstance(values, (list, tuple)) or not values:
                raise DeclarationError(f"trt_matrix: {name} is {values!r}: give a list with at least one value")
            found.setdefault(name, values)
    if not found:
        raise DeclarationError("trt_matrix: no axis is given: name one, such as batch=[1, 8]")
    return found


def combinations(found: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    """The product of the axes, the last axis varying fastest."""
    return [dict(zip(found, values, strict=True)) for values in itertools.product(*found.values())]


def case_id(case: Mapping[str, Any]) -> str:
    """A combination as part of a test's id: a precision bare, a batch as bN, else field=value."""
    return "-".join(_axis_id(name, value) for name, value in case.items())


def _axis_id(name: str, value: Any) -> str:
    if name == "precision":
        return str(value)
    return f"b{value}" if name == "batch" else f"{name}={value}"


def declare(marks: Sequence[Mark], case: Mapping[str, Any], params: Mapping[str, Any]) -> Declaration:
    """One test's declaration. `marks` are all of the test's, closest first; `case` is its combination of the matrix and
    `params` the parameters that pytest's own parametrize gave it."""
    named: dict[str, list[Mark]] = {name: [m for m in marks if m.name == name] for name in MARKERS}
    varied = {name: value for name, value in case.items() if name in _SPEC and name in _AXES}
    spec = EngineSpec(**{**_merged(named["trt_engine"], _SPEC, positional="path"), **varied})
    _refuse_without_builder(named["trt_engine"], spec)
    pipeline = PipelineOptions(**_merged(named["trt_pipeline"], _PIPELINE))
    declaration = Declaration(
        spec=spec,
        pipeline=pipeline,
        budgets=_budgets(named["trt_budget"]),
        accuracy=_accuracy(named["trt_accuracy"]),
        tolerance=Tolerance(**_merged(named["trt_regression"], tuple(f.name for f in dataclasses.fields(Tolerance)))),
        params={**{k: v for k, v in params.items() if isinstance(v, (str, int, float, bool))}, **case},
    )
    return with_case(declaration, case)


def with_case(declaration: Declaration, case: Mapping[str, Any]) -> Declaration:
    """The declaration with one combination of the matrix put in: a field's name wins over a dimension's."""
    fields: dict[str, dict[str, Any]] = {"spec": {}, "pipeline": {}}
    batch, dims = declaration.run.batch, dict(declaration.run.dims)
    for name, value in case.items():
        if name == "batch":
            batch = _size(name, value)
        elif name in _SPEC:
            if name not in _AXES:
                raise DeclarationError(f"trt_matrix: {name} cannot be an axis: write a test for each model")
            fields["spec"][name] = value
        elif name in _PIPELINE:
            fields["pipeline"][name] = value
        else:
            _refuse_misspelt(name, declaration.spec)
            dims[name] = _size(name, value)
    return dataclasses.replace(
        declaration,
        spec=dataclasses.replace(declaration.spec, **fields["spec"]),
        pipeline=dataclasses.replace(declaration.pipeline, **fields["pipeline"]),
        run=RunShape(batch=batch, dims=dims),
    )


def _size(name: str, value: Any) -> int:
    try:
        return int(codec.check(int, value, f"trt_matrix: {name}"))
    except RecordError as error:
        raise DeclarationError(str(error)) from None


def _refuse_misspelt(name: str, spec: EngineSpec) -> None:
    """A name that is no field is a dimension's, unless it looks like a field's and no marker knows that dimension."""
    near = difflib.get_close_matches(name, (*_AXES, "batch"), 1, 0.75)
    if near and name not in spec.dims:
        raise DeclarationError(
            f"trt_matrix: {name!r} is no field: did you mean {near[0]!r}? (a dimension of that name needs "
            f"dims={{{name!r}: (min, opt, max)}} in trt_engine)"
        )


def _merged(marks: Sequence[Mark], names: Sequence[str], positional: str = "") -> dict[str, Any]:
    """The arguments of all markers of one name, the closest winning."""
    merged: dict[str, Any] = {}
    models = ("path", "onnx", "build")
    for mark in marks:
        _no_positional(mark, 1 if positional else 0)
        given = dict(mark.kwargs)
        if mark.args:
            if positional in given:
                raise DeclarationError(f"{mark.name}: {positional} is given twice: by position and by keyword")
            given[positional] = mark.args[0]
        _refuse_unknown(mark.name, given, names)
        named_already = [m for m in models if m in merged]
        for name, value in given.items():
            if not (name in models and named_already):  # a closer marker names another model
                merged.setdefault(name, value)
    path = merged.get("path")
    if path is not None and not isinstance(path, str):
        if callable(path) and not hasattr(path, "__fspath__"):
            raise DeclarationError("trt_engine: the model is a function: hand it over by keyword, onnx=f or build=f")
        merged["path"] = str(path)
    return merged


def _refuse_without_builder(marks: Sequence[Mark], spec: EngineSpec) -> None:
    """One marker that names ONNX Runtime and asks a builder for something contradicts itself. Options that came with
    another marker, or a backend with the matrix, may be for the other runs: ONNX Runtime builds without them."""
    for mark in marks:
        meant = [name for name in spec.tensorrt_only_options if name in mark.kwargs]
        backend = str(mark.kwargs.get("backend"))
        if meant and backend in BACKENDS and BACKENDS[backend].runs_model:
            raise DeclarationError(
                f"trt_engine: backend={backend!r} has no {' and no '.join(meant)}: TensorRT's builder has; drop one "
                "or the other (docs/reference/tensorrt-versions.md: who has what)"
            )


def _budgets(marks: Sequence[Mark]) -> tuple[Budget, ...]:
    budgets: list[Budget] = []
    for mark in marks:
        _no_positional(mark, 1)
        given = dict(mark.kwargs)
        where = given.pop("where", {})
        _refuse_unknown("trt_budget", given, (*BUDGETS, "where"))
        budget = Budget(device=mark.args[0] if mark.args else "gpu", limits=given, where=where)
        for other in budgets:
            same = set(budget.limits) & set(other.limits)
            if same and (other.device, dict(other.where)) == (budget.device, dict(budget.where)):
                name = min(same)
                raise DeclarationError(
                    f"trt_budget: two limits for {name} on {budget.device!r} with the same where: "
                    f"{other.limits[name]:g} and {budget.limits[name]:g}: keep one of them"
                )
        budgets.append(budget)
    return tuple(budgets)


def check_where(where: Any, params: Collection[str]) -> None:
    """Raises DeclarationError for a budget whose `where` names what is none of the test's `params`: it never holds."""
    for name in where if isinstance(where, Mapping) else ():
        if name not in params:
            known = f"it has {', '.join(sorted(params))}" if params else "it has none, so drop where"
            hint = suggest(name, params, known)
            raise DeclarationError(f"trt_budget: where names {name!r}, which is no parameter of the test: {hint}")


def _accuracy(marks: Sequence[Mark]) -> Accuracy | None:
    if not marks:
        return None
    return Accuracy(**_merged(marks, tuple(f.name for f in dataclasses.fields(Accuracy))))


def _no_positional(mark: Mark, allowed: int) -> None:
    if len(mark.args) > allowed:
        extra = mark.args[allowed]
        known = "its arguments go by keyword" if not allowed else "only the first goes by position"
        raise DeclarationError(f"{mark.name}: {extra!r} is one argument too many by position: {known}")


def _refuse_unknown(marker: str, given: Iterable[str], names: Sequence[str]) -> None:
    for name in given:
        if name not in names:
            hint = suggest(name, names, f"it has {', '.join(names)}")
            raise DeclarationError(f"{marker}: unknown argument {name!r}: {hint}")


def suggest_marker(name: str) -> str | None:
    """The marker that was probably meant by a name that starts with `trt_` and is none of ours."""
    if not name.startswith("trt_") or name in MARKERS:
        return None
    near = difflib.get_close_matches(name, MARKERS, 1)
    return near[0] if near else None
