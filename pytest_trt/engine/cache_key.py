"""The digest under which the engine cache stores a plan."""

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
    profiles: tuple[Mapping[str, ShapeRange], ...],
    environment: Environment,
    fingerprint: str,
) -> str:
    """Return the SHA-256 of everything that a plan is made from: if any of it changes, another plan is built.

    A plan that is compatible with several devices has the same digest on each of them.

    Args:
        spec: The build options.
        model: The model to build.
        profiles: The optimisation profiles, as in ResolvedShapes.
        environment: The device and the software that the plan is for.
        fingerprint: What is done to the model before the build (Preparation.fingerprint).
    """
    device: tuple[str | None, ...] = (environment.device, environment.mig_profile, environment.compute_capability)
    if spec.compute_capabilities or spec.hardware_compatibility == "ampere_plus":
        device = ()  # the build options name the devices
    elif spec.hardware_compatibility == "same_compute_capability":
        device = (environment.compute_capability,)
    made_from = {
        "store": SCHEMA,
        "model": model.sha256,
        "options": spec.build_options(),
        "profiles": codec.encode(profiles),
        "backend": (environment.backend, environment.backend_version),
        "device": device,
        "prepared_by": fingerprint,
        "files": []
        if environment.kind == "cpu"
        else [*map(file_sha256, map(Path, spec.plugins)), _timing_cache_key(spec)],
    }
    return hashlib.sha256(json.dumps(made_from, sort_keys=True).encode()).hexdigest()


def prebuilt_digest(spec: EngineSpec, model: Model) -> str:
    """Return the digest of a prebuilt plan: its SHA-256, and that of the plugin libraries that it runs with, if any."""
    if not spec.plugins:
        return model.sha256
    libraries = [file_sha256(Path(plugin)) for plugin in spec.plugins]
    return hashlib.sha256(json.dumps([model.sha256, libraries]).encode()).hexdigest()


def _timing_cache_key(spec: EngineSpec) -> str:
    """Return the mode and the content of a timing cache that is only read.

    The content of a timing cache that is updated is not part of the digest: every build changes it.
    """
    if isinstance(spec.timing_cache, str) and spec.timing_cache_mode != "update":
        return f"{spec.timing_cache_mode} {file_sha256(Path(spec.timing_cache))}"
    return "" if spec.timing_cache_mode == "update" else spec.timing_cache_mode
