"""Combine the markers and parameters of a test into one Declaration.

For each argument, the marker closest to the test wins. Budgets of all markers apply. An invalid marker raises a
DeclarationError that names the marker, the argument and the nearest valid name. This module does not import pytest.
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
from pytest_trt.spec.expectations import LIMITS, Accuracy, Budget, LayerLimits, Tolerance
from pytest_trt.spec.gates import OWN_SETTINGS, parse_gate
from pytest_trt.spec.generation import Generation
from pytest_trt.spec.options import MARKERS

_SPEC_FIELDS = tuple(f.name for f in dataclasses.fields(EngineSpec))
_PIPELINE_FIELDS = tuple(f.name for f in dataclasses.fields(PipelineOptions))
_AXES = tuple(name for name in (*_SPEC_FIELDS, *_PIPELINE_FIELDS) if name not in ("path", "onnx", "build"))


class Mark(Protocol):
    """The part of `pytest.Mark` that this module uses."""

    @property
    def name(self) -> str:
        """The name of the marker."""

    @property
    def args(self) -> tuple[Any, ...]:
        """The positional arguments."""

    @property
    def kwargs(self) -> Mapping[str, Any]:
        """The keyword arguments, in the order in which they are written."""


def matrix_axes(marks: Iterable[Mark]) -> dict[str, Sequence[Any]]:
    """Return the values of every axis, by name, in the order in which the markers list them.

    Args:
        marks: The `trt_matrix` markers of a test, closest first.

    Raises:
        DeclarationError: There is no axis, or an axis has no values.
    """
    axes: dict[str, Sequence[Any]] = {}
    for mark in marks:
        _check_positional(mark, 0)
        for name, values in mark.kwargs.items():
            if not isinstance(values, (list, tuple)) or not values:
                raise DeclarationError(f"trt_matrix: {name} is {values!r}: give a list with at least one value")
            axes.setdefault(name, values)
    if not axes:
        raise DeclarationError("trt_matrix: no axis is given: name one, such as batch=[1, 8]")
    return axes


def combinations(axes: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    """Return all combinations of the values of the axes. The last axis varies fastest."""
    return [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]


def declare(marks: Sequence[Mark], case: Mapping[str, Any], params: Mapping[str, Any]) -> Declaration:
    """Return the declaration of one test.

    Args:
        marks: All markers of the test, closest first.
        case: The combination of the matrix that the test runs, by the name of the axis.
        params: The parameters from pytest's own `parametrize`, by name.

    Raises:
        DeclarationError: A marker is invalid, or markers contradict each other.
    """
    by_name: dict[str, list[Mark]] = {name: [m for m in marks if m.name == name] for name in MARKERS}
    varied = {name: value for name, value in case.items() if name in _SPEC_FIELDS and name in _AXES}
    spec = EngineSpec(**{**_merge(by_name["trt_engine"], _SPEC_FIELDS, positional="path"), **varied})
    _check_builder_options(by_name["trt_engine"], spec)
    pipeline = PipelineOptions(**_merge(by_name["trt_pipeline"], _PIPELINE_FIELDS))
    declaration = Declaration(
        spec=spec,
        pipeline=pipeline,
        budgets=_make_budgets(by_name["trt_budget"]),
        accuracy=_make_accuracy(by_name["trt_accuracy"]),
        tolerance=_make_tolerance(by_name["trt_regression"]),
        generation=_make_generation(by_name["trt_generate"]),
        layers=_make_layer_limits(by_name["trt_layers"]),
        params={**{k: v for k, v in params.items() if isinstance(v, (str, int, float, bool))}, **case},
    )
    return with_case(declaration, case)


def with_case(declaration: Declaration, case: Mapping[str, Any]) -> Declaration:
    """Return the declaration for one combination of the matrix.

    An axis is `batch`, a field of EngineSpec or PipelineOptions, a write index, or a dimension of the model. If a field
    and a dimension have the same name, the axis is the field.

    Raises:
        DeclarationError: An axis is unknown, or a value is invalid.
    """
    fields: dict[str, dict[str, Any]] = {"spec": {}, "pipeline": {}}
    batch, dims = declaration.run.batch, dict(declaration.run.dims)
    for name, value in case.items():
        if name == "batch":
            batch = _check_size(name, value)
        elif name in _SPEC_FIELDS:
            if name not in _AXES:
                raise DeclarationError(f"trt_matrix: {name} cannot be an axis: write a test for each model")
            fields["spec"][name] = value
        elif name in _PIPELINE_FIELDS:
            fields["pipeline"][name] = value
        elif name in declaration.spec.write_index:
            size = _check_size(name, value)
            fields["spec"]["input_ranges"] = {**declaration.spec.input_ranges, name: (size, size)}
        else:
            _check_dimension(name, declaration.spec)
            dims[name] = _check_size(name, value)
    return dataclasses.replace(
        declaration,
        spec=dataclasses.replace(declaration.spec, **fields["spec"]),
        pipeline=dataclasses.replace(declaration.pipeline, **fields["pipeline"]),
        run=RunShape(batch=batch, dims=dims),
    )


def check_where(where: Any, params: Collection[str]) -> None:
    """Check that the `where` of a budget names only parameters of the test.

    Args:
        where: The argument `where`. Anything other than a mapping is ignored here.
        params: The names of the test's parameters.

    Raises:
        DeclarationError: A name is not a parameter, so that the budget could never apply.
    """
    for name in where if isinstance(where, Mapping) else ():
        if name not in params:
            known = f"it has {', '.join(sorted(params))}" if params else "it has no parameters, so remove where"
            hint = suggest(name, params, known)
            raise DeclarationError(f"trt_budget: where names {name!r}, which is not a parameter of the test: {hint}")


def suggest_marker(name: str) -> str | None:
    """Return the marker that is most similar to an unknown name starting with `trt_`. Return None if there is none."""
    if not name.startswith("trt_") or name in MARKERS:
        return None
    near = difflib.get_close_matches(name, MARKERS, 1)
    return near[0] if near else None


def _check_size(name: str, value: Any) -> int:
    try:
        return int(codec.check(int, value, f"trt_matrix: {name}"))
    except RecordError as error:
        raise DeclarationError(str(error)) from None


def _check_dimension(name: str, spec: EngineSpec) -> None:
    """Check that an axis that is not a field is a dimension, rather than a field with a spelling mistake."""
    near = difflib.get_close_matches(name, (*_AXES, "batch"), 1, 0.75)
    if near and name not in spec.dims:
        raise DeclarationError(
            f"trt_matrix: {name!r} is not a field: did you mean {near[0]!r}? (If the model has a dimension of this "
            f"name, add dims={{{name!r}: (min, opt, max)}} to trt_engine.)"
        )


def _merge(marks: Sequence[Mark], names: Sequence[str], positional: str = "") -> dict[str, Any]:
    """Return the arguments of all markers of one kind. For each argument, the closest marker wins.

    Args:
        marks: The markers, closest first.
        names: The names of the valid arguments.
        positional: The name of the argument that may be passed by position.
    """
    merged: dict[str, Any] = {}
    models = ("path", "onnx", "build")
    for mark in marks:
        _check_positional(mark, 1 if positional else 0)
        arguments = dict(mark.kwargs)
        if mark.args:
            if positional in arguments:
                raise DeclarationError(
                    f"{mark.name}: {positional} is passed by position and by keyword: keep one of them"
                )
            arguments[positional] = mark.args[0]
        _check_argument_names(mark.name, arguments, names)
        model_is_named = any(model in merged for model in models)
        for name, value in arguments.items():
            if not (name in models and model_is_named):  # A closer marker names another model.
                merged.setdefault(name, value)
    path = merged.get("path")
    if path is not None and not isinstance(path, str):
        if callable(path) and not hasattr(path, "__fspath__"):
            raise DeclarationError("trt_engine: the model is a function: pass it by keyword, as onnx=f or build=f")
        merged["path"] = str(path)
    return merged


def _check_builder_options(marks: Sequence[Mark], spec: EngineSpec) -> None:
    """Reject a single marker that requests both a backend without a builder and options of TensorRT's builder.

    If the options are in another marker, or the backend comes from the matrix, they may be for other cases of the
    test. Such a backend then ignores them.
    """
    for mark in marks:
        unsupported = [name for name in spec.tensorrt_only_options if name in mark.kwargs]
        backend = str(mark.kwargs.get("backend"))
        if unsupported and backend in BACKENDS and BACKENDS[backend].runs_model:
            raise DeclarationError(
                f"trt_engine: backend={backend!r} does not support {', '.join(unsupported)}: remove these options of "
                "TensorRT's builder, or choose another backend (see docs/reference/tensorrt-versions.md)"
            )


def _make_budgets(marks: Sequence[Mark]) -> tuple[Budget, ...]:
    budgets: list[Budget] = []
    for mark in marks:
        _check_positional(mark, 1)
        limits = dict(mark.kwargs)
        where = limits.pop("where", {})
        _check_argument_names("trt_budget", limits, (*LIMITS, "where"))
        budget = Budget(device=mark.args[0] if mark.args else "gpu", limits=limits, where=where)
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


def _make_accuracy(marks: Sequence[Mark]) -> Accuracy | None:
    if not marks:
        return None
    return Accuracy(**_merge(marks, tuple(f.name for f in dataclasses.fields(Accuracy))))


def _make_generation(marks: Sequence[Mark]) -> Generation | None:
    if not marks:
        return None
    return Generation(**_merge(marks, tuple(f.name for f in dataclasses.fields(Generation))))


def _make_layer_limits(marks: Sequence[Mark]) -> LayerLimits | None:
    if not marks:
        return None
    return LayerLimits(**_merge(marks, tuple(f.name for f in dataclasses.fields(LayerLimits))))


def _make_tolerance(marks: Sequence[Mark]) -> Tolerance:
    """Return the tolerance of all `trt_regression` markers.

    A figure in `OWN_SETTINGS` has two names, such as `max_slowdown` and `ms`. The closest marker wins, whichever name
    it uses.
    """
    names = tuple(f.name for f in dataclasses.fields(Tolerance) if f.name != "gates")
    arguments = _merge(marks, (*names, *FIGURES))
    for figure, own in OWN_SETTINGS.items():
        closest = next((mark for mark in marks if {figure, own} & set(mark.kwargs)), None)
        if closest is not None:
            arguments = {n: v for n, v in arguments.items() if n not in (figure, own) or n in closest.kwargs}
    requested = {name: arguments.pop(name) for name in FIGURES if name in arguments}
    gates = {name: parse_gate(name, value, f"trt_regression: {name}") for name, value in requested.items()}
    return Tolerance(**arguments, gates=gates)


def _check_positional(mark: Mark, allowed: int) -> None:
    if len(mark.args) > allowed:
        extra = mark.args[allowed]
        remedy = "pass only the first argument by position" if allowed else "pass all arguments by keyword"
        raise DeclarationError(f"{mark.name}: {extra!r} is an unexpected positional argument: {remedy}")


def _check_argument_names(marker: str, arguments: Iterable[str], names: Sequence[str]) -> None:
    for name in arguments:
        if name not in names:
            hint = suggest(name, names, f"it has {', '.join(names)}")
            raise DeclarationError(f"{marker}: unknown argument {name!r}: {hint}")
