"""Describe what a test builds and runs, as text for reports and baselines.

A baseline stores the description too, so that a renamed test can be recognised.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pytest_trt.core import codec
from pytest_trt.core.callables import function_name
from pytest_trt.errors import DeclarationError
from pytest_trt.spec.declaration import Declaration, PipelineOptions, RunShape
from pytest_trt.spec.engine_spec import EngineSpec
from pytest_trt.spec.generation import Generation
from pytest_trt.spec.shape_ranges import Shape


def describe(declaration: Declaration, shapes: Mapping[str, Shape] | None = None) -> dict[str, str]:
    """Return the model, the precision, and every field that differs from its default, as text by name.

    Args:
        declaration: The declaration of the test.
        shapes: The shapes of the inputs that are run, by name, if they are known. They become the entry `inputs`.
    """
    spec = declaration.spec
    source = spec.onnx or spec.build
    model = Path(spec.path).name if spec.path else function_name(source)
    description = {"model": model, "precision": spec.precision}
    pairs: list[tuple[Any, Any]] = [
        (spec, EngineSpec()), (declaration.run, RunShape()), (declaration.pipeline, PipelineOptions())
    ]  # fmt: skip
    if declaration.generation is not None:
        pairs.append((declaration.generation, Generation(prompt=1, steps=1)))
    for record, default in pairs:
        for name in codec.field_types(record):
            value = getattr(record, name)
            if name not in ("path", "onnx", "build", "backend", "device") and value != getattr(default, name):
                description[name] = _text(value)
    if shapes:
        inputs = (f"{name} {'x'.join(map(str, shape))}" for name, shape in sorted(shapes.items()))
        description["inputs"] = ", ".join(inputs)
    return description


def _text(value: object) -> str:
    if isinstance(value, str):
        return value
    return function_name(value) if callable(value) else json.dumps(codec.encode(value), sort_keys=True)


def parse_pipeline(description: Mapping[str, str]) -> PipelineOptions | None:
    """Return the pipeline of a description. Return None if this version of pytest-trt does not support it."""
    fields = {name: description[name] for name in codec.field_types(PipelineOptions()) if name in description}
    try:
        return PipelineOptions(**{name: json.loads(text) for name, text in fields.items()})
    except (ValueError, RecursionError, DeclarationError):
        return None


def description_digest(description: Mapping[str, str]) -> str:
    """Return the SHA-256 of a description."""
    return hashlib.sha256(json.dumps(description, sort_keys=True).encode()).hexdigest()
