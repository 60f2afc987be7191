"""Configure the builder with the options of a spec.

An option that this version of TensorRT lacks or rejects is an error; it is never ignored.
"""

from __future__ import annotations

from typing import Any

from pytest_trt.engine.backends.base import BuildJob
from pytest_trt.engine.backends.tensorrt import versions
from pytest_trt.engine.backends.tensorrt.log import logger
from pytest_trt.engine.backends.tensorrt.precision import set_precision
from pytest_trt.engine.backends.tensorrt.profiles import add_profiles
from pytest_trt.errors import BuildError
from pytest_trt.spec.engine_spec import EngineSpec

_FLAGS = (
    "tf32", "sparsity", "refit", "version_compatible", "exclude_lean_runtime", "direct_io", "gpu_fallback",
    "strip_weights", "weight_streaming",
)  # fmt: skip
"""Fields of a spec that are one builder flag, in the order in which they are set: `exclude_lean_runtime` is accepted
only after `version_compatible`."""

_ATTRIBUTES = {
    "optimization_level": "builder_optimization_level",
    "avg_timing_iterations": "avg_timing_iterations",
    "max_aux_streams": "max_aux_streams",
    "max_num_tactics": "max_num_tactics",
    "l2_limit_for_tiling_bytes": "l2_limit_for_tiling",
    "build_route": "build_route",
}
"""Fields of a spec that are one attribute of the builder's configuration."""

_PROFILE_SHARING = "PROFILE_SHARING_0806"


def configure(trt: Any, builder: Any, network: Any, job: BuildJob, typed: bool) -> Any:
    """Return the builder's configuration for a network.

    Args:
        trt: The module of the package.
        builder: The builder.
        network: The parsed network.
        job: The build.
        typed: Whether the network is strongly typed.

    Raises:
        BuildError: This TensorRT lacks an option, or rejects its value.
    """
    spec, config = job.spec, builder.create_builder_config()
    logger(trt).clear()
    _set_targets(trt, config, spec)
    set_precision(trt, network, config, spec, typed)
    _set_flags(trt, config, spec)
    _set_device(trt, builder, config, spec)
    _set_pools(trt, config, spec)
    for option, attribute in _ATTRIBUTES.items():
        if (value := getattr(spec, option)) is not None:
            versions.require(trt, option)
            setattr(config, attribute, value)
            _check_accepted(trt, option, value, getattr(config, attribute))
    if spec.tiling_optimization_level is not None:
        versions.require(trt, "tiling_optimization_level")
        level = getattr(trt.TilingOptimizationLevel, spec.tiling_optimization_level.upper())
        config.tiling_optimization_level = level
    config.profiling_verbosity = getattr(trt.ProfilingVerbosity, spec.profiling_verbosity.upper())
    if spec.tactic_sources is not None:
        sources = [_find_member(trt, "TacticSource", "tactic_sources", name) for name in spec.tactic_sources]
        config.set_tactic_sources(sum(1 << int(source) for source in sources))
    _set_previews(trt, config, spec)
    add_profiles(builder, network, config, job)
    return config


def _check_accepted(trt: Any, option: str, requested: Any, actual: Any) -> None:
    """Raise BuildError if TensorRT did not accept a value: its setters report nothing, and keep the old value."""
    if actual != requested:
        raise BuildError(
            f"{option}={requested!r} was rejected by TensorRT (it stays {actual!r}): {logger(trt).reason()}"
        )


def _set_targets(trt: Any, config: Any, spec: EngineSpec) -> None:
    if not spec.compute_capabilities:
        return
    config.num_compute_capabilities = len(spec.compute_capabilities)
    for index, number in enumerate(spec.compute_capabilities):
        target = getattr(trt.ComputeCapability, f"SM{number}", None)
        if target is None:
            known = sorted(int(name[2:]) for name in vars(trt.ComputeCapability) if name.startswith("SM"))
            raise BuildError(
                f"{trt.__name__} {trt.__version__} cannot build for compute capability {number}: choose from "
                f"{', '.join(map(str, known))}"
            )
        config.set_compute_capability(target, index)


def _set_flags(trt: Any, config: Any, spec: EngineSpec) -> None:
    for what in _FLAGS:
        if getattr(spec, what):
            flag = versions.require(trt, what)
            config.set_flag(flag)
            _check_accepted(trt, what, True, config.get_flag(flag))
        elif versions.has(trt, what):
            config.clear_flag(versions.require(trt, what))
    if spec.strip_weights and not spec.refit:
        # Only weights that can be refitted are stripped. REFIT_IDENTICAL: they come back with the same values.
        config.set_flag(trt.BuilderFlag.REFIT_IDENTICAL)


def _set_device(trt: Any, builder: Any, config: Any, spec: EngineSpec) -> None:
    if spec.hardware_compatibility != "none":
        level = f"hardware_compatibility={spec.hardware_compatibility}"
        config.hardware_compatibility_level = versions.require(trt, level)
    if spec.dla_core is None:
        return
    versions.require(trt, "dla_core")
    cores = int(builder.num_DLA_cores)
    if spec.dla_core >= cores:
        available = f"{cores} DLA cores, counted from 0" if cores else "no DLA"
        raise BuildError(
            f"dla_core={spec.dla_core}: this device has {available}: build on a device that has one, or leave it out"
        )
    config.default_device_type = trt.DeviceType.DLA
    config.DLA_core = spec.dla_core


def _set_pools(trt: Any, config: Any, spec: EngineSpec) -> None:
    limits = {f"memory_pool_bytes={pool}": size for pool, size in spec.memory_pool_bytes.items()}
    if spec.workspace_mb is not None:
        limits["workspace_mb"] = spec.workspace_mb * 10**6
    for option, size in limits.items():
        pool = versions.require(trt, option)
        before = config.get_memory_pool_limit(pool)
        config.set_memory_pool_limit(pool, size)
        # A limit above the default may be cut down to what the device has, which is no error.
        if size < before or logger(trt).errors:
            _check_accepted(trt, option.replace("=", " "), size, config.get_memory_pool_limit(pool))


def _set_previews(trt: Any, config: Any, spec: EngineSpec) -> None:
    features = {name.upper(): on for name, on in spec.preview_features.items()}
    # Profile sharing allows several contexts on one profile; from TensorRT 10 on, it is always enabled.
    if versions.has(trt, f"preview_features={_PROFILE_SHARING}"):
        features = {_PROFILE_SHARING: True, **features}
    for name, on in features.items():
        feature = _find_member(trt, "PreviewFeature", "preview_features", name)
        config.set_preview_feature(feature, on)
        _check_accepted(trt, f"preview_features[{name!r}]", on, config.get_preview_feature(feature))


def _find_member(trt: Any, enumeration: str, option: str, name: str) -> Any:
    """Return a member of one of TensorRT's enumerations.

    Raises:
        BuildError: There is no such member; the error lists the members, and names the versions that have this one.
    """
    known = [member for member in vars(getattr(trt, enumeration)) if member.isupper()]
    if name.upper() not in known:
        support = versions.SUPPORT.get(f"{option}={name.upper()}")
        owners = f" ({support.describe()} has it)" if support is not None else ""
        missing = f"{option}: {name!r} is not in {trt.__name__} {trt.__version__}{owners}"
        raise BuildError(f"{missing}: choose from {', '.join(known)}")
    return getattr(getattr(trt, enumeration), name.upper())
