"""The options of a spec, told to the builder: one that this TensorRT lacks is an error, never ignored."""

from __future__ import annotations

from typing import Any

from pytest_trt.backends import tensorrt_versions as versions
from pytest_trt.backends.base import BuildJob
from pytest_trt.backends.tensorrt_precision import set_precision
from pytest_trt.backends.tensorrt_profiles import add_profiles
from pytest_trt.errors import BuildError
from pytest_trt.spec import EngineSpec


def configure(trt: Any, builder: Any, network: Any, job: BuildJob, typed: bool) -> Any:
    spec, config = job.spec, builder.create_builder_config()
    _set_targets(trt, config, spec)
    set_precision(trt, network, config, spec, typed)
    for what, on in (("tf32", spec.tf32), ("sparsity", spec.sparsity), ("refit", spec.refit),
                     ("version_compatible", spec.version_compatible)):  # fmt: skip
        if on:
            config.set_flag(versions.need(trt, what))
        elif versions.has(trt, what):
            config.clear_flag(versions.need(trt, what))
    if spec.hardware_compatibility != "none":
        level = f"hardware_compatibility={spec.hardware_compatibility}"
        config.hardware_compatibility_level = versions.need(trt, level)
    if spec.workspace_mb is not None:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, spec.workspace_mb * 10**6)
    for option, attribute in (("optimization_level", "builder_optimization_level"),
                              ("avg_timing_iterations", "avg_timing_iterations"),
                              ("max_aux_streams", "max_aux_streams")):  # fmt: skip
        if (value := getattr(spec, option)) is not None:
            versions.need(trt, option)
            setattr(config, attribute, value)
    config.profiling_verbosity = getattr(trt.ProfilingVerbosity, spec.profiling_verbosity.upper())
    if spec.tactic_sources is not None:
        config.set_tactic_sources(_tactic_sources(trt, spec.tactic_sources))
    if versions.has(trt, "profile_sharing"):  # several contexts on one profile; 10 and later always allow it
        config.set_preview_feature(versions.need(trt, "profile_sharing"), True)
    add_profiles(builder, network, config, job)
    return config


def _set_targets(trt: Any, config: Any, spec: EngineSpec) -> None:
    if not spec.compute_capabilities:
        return
    config.num_compute_capabilities = len(spec.compute_capabilities)
    for index, number in enumerate(spec.compute_capabilities):
        target = getattr(trt.ComputeCapability, f"SM{number}", None)
        if target is None:
            known = sorted(int(name[2:]) for name in vars(trt.ComputeCapability) if name.startswith("SM"))
            raise BuildError(
                f"compute capability {number} is none that {trt.__name__} {trt.__version__} builds for: choose from "
                f"{', '.join(map(str, known))}"
            )
        config.set_compute_capability(target, index)


def _tactic_sources(trt: Any, names: tuple[str, ...]) -> int:
    known = [name for name in vars(trt.TacticSource) if name.isupper()]
    for name in names:
        if name.upper() not in known:
            option = f"tactic_sources={name.upper()}"
            had = f" ({versions.SUPPORT[option].where()} had it)" if option in versions.SUPPORT else ""
            lacks = f"tactic source {name!r} is not in {trt.__name__} {trt.__version__}{had}"
            raise BuildError(f"{lacks}: choose from {', '.join(known)}")
    return sum(1 << int(getattr(trt.TacticSource, name.upper())) for name in names)
