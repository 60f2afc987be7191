"""What is built and run, as text: for reports, for baselines, and to know a test by when its name has changed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

from pytest_trt.core import codec
from pytest_trt.core.callables import function_name
from pytest_trt.errors import DeclarationError
from pytest_trt.spec.declaration import Declaration, PipelineOptions, RunShape
from pytest_trt.spec.engine_spec import EngineSpec
from pytest_trt.spec.shape_ranges import Shape


def describe(declaration: Declaration, shapes: Mapping[str, Shape] | None = None) -> dict[str, str]:
    """The model's name, the precision, and whatever differs from its default, by name; `inputs` are the `shapes` that
    are run, where they are known."""
    spec = declaration.spec
    source = spec.onnx or spec.build
    model = Path(spec.path).name if spec.path else function_name(source)
    said = {"model": model, "precision": spec.precision}
    pairs = ((spec, EngineSpec()), (declaration.run, RunShape()), (declaration.pipeline, PipelineOptions()))
    for record, default in pairs:
        for name in codec.field_types(record):
            value = getattr(record, name)
            if name not in ("path", "onnx", "build", "backend") and value != getattr(default, name):
                said[name] = _text(value)
    if shapes:
        said["inputs"] = ", ".join(f"{name} {'x'.join(map(str, shape))}" for name, shape in sorted(shapes.items()))
    return said


def _text(value: object) -> str:
    if isinstance(value, str):
        return value
    return function_name(value) if callable(value) else json.dumps(codec.encode(value), sort_keys=True)


def parse_pipeline(said: Mapping[str, str]) -> PipelineOptions | None:
    """The pipeline that a description tells of; None where it is one that there is not here."""
    given = {name: said[name] for name in codec.field_types(PipelineOptions()) if name in said}
    try:
        return PipelineOptions(**{name: json.loads(text) for name, text in given.items()})
    except (ValueError, DeclarationError):
        return None


def description_digest(said: Mapping[str, str]) -> str:
    """The SHA-256 of a description."""
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()
