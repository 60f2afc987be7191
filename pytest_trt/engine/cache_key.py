"""The digest under which the engine cache keeps a plan."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

from pytest_trt.core import codec
from pytest_trt.core.records import Environment
from pytest_trt.engine.cache.digest import file_sha256
from pytest_trt.engine.cache.entry import SCHEMA
from pytest_trt.engine.model.model import Model
from pytest_trt.spec.engine_spec import EngineSpec
from pytest_trt.spec.shape_ranges import ShapeRange


def engine_digest(
    spec: EngineSpec,
    model: Model,
    ranges: tuple[Mapping[str, ShapeRange], ...],
    environment: Environment,
    prepared_by: str,
) -> str:
    """What the plan is made from: change any of it, and another one is built. A plan that is compatible with more than
    one device is found again on each of them."""
    device: tuple[str | None, ...] = (environment.device, environment.mig_profile, environment.compute_capability)
    if spec.compute_capabilities or spec.hardware_compatibility == "ampere_plus":
        device = ()  # the build options name what it is for
    elif spec.hardware_compatibility == "same_compute_capability":
        device = (environment.compute_capability,)
    made_from = {
        "store": SCHEMA,
        "model": model.sha256,
        "options": spec.build_options(),
        "profiles": codec.encode(ranges),
        "backend": (environment.backend, environment.backend_version),
        "device": device,
        "prepared_by": prepared_by,
        "files": []
        if environment.kind == "cpu"
        else [*map(file_sha256, map(Path, spec.plugins)), _timing_cache_key(spec)],
    }
    return hashlib.sha256(json.dumps(made_from, sort_keys=True).encode()).hexdigest()


def _timing_cache_key(spec: EngineSpec) -> str:
    """What a timing cache that is only read decides; one that is written to changes with every build."""
    if isinstance(spec.timing_cache, str) and spec.timing_cache_mode != "update":
        return f"{spec.timing_cache_mode} {file_sha256(Path(spec.timing_cache))}"
    return "" if spec.timing_cache_mode == "update" else spec.timing_cache_mode
