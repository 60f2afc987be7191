"""Every difference between TensorRT 8.6, 10, 11, TensorRT-RTX and the lean runtime, as a capability.

What a package can do is asked of the package (does it have the name?); SUPPORT says which versions have it, for
messages and for the table of the documentation. Nothing else in this project looks at a version number.
"""

from __future__ import annotations

import dataclasses
import importlib
import re
import struct
from collections.abc import Mapping
from typing import Any

from pytest_trt.errors import BackendError, BuildError
from pytest_trt.spec import Shape

PACKAGES: Mapping[str, str] = {
    "tensorrt": "pip install 'pytest-trt[tensorrt]'",
    "tensorrt_rtx": "pip install 'pytest-trt[rtx]'",
    "tensorrt_lean": "pip install tensorrt-lean (it runs plans built with version_compatible=True)",
}

Version = tuple[int, int]


@dataclasses.dataclass(frozen=True)
class Support:
    """Which versions have something: from `since` to below `before`, in TensorRT-RTX or not. `name` is what the package
    has where it can."""

    name: str
    since: Version = (8, 6)
    before: Version | None = None
    rtx: bool = True

    def at(self, backend: str, version: Version) -> bool:
        if backend == "tensorrt_rtx":
            return self.rtx
        return self.since <= version and (self.before is None or version < self.before)

    def where(self) -> str:
        """The versions in words."""
        since, before = (".".join(map(str, v)) for v in (self.since, self.before or (0, 0)))
        span = f"TensorRT {since} and later" if self.before is None else f"TensorRT from {since} to before {before}"
        return " and ".join([*([] if self.since >= NEVER else [span]), *(["TensorRT-RTX"] if self.rtx else [])])


NEVER: Version = (99, 0)
_CONFIG, _FLAG = "IBuilderConfig", "BuilderFlag"
SUPPORT: Mapping[str, Support] = {
    "fp16": Support(f"{_FLAG}.FP16", before=(11, 0), rtx=False),
    "bf16": Support(f"{_FLAG}.BF16", since=(9, 1), before=(11, 0), rtx=False),
    "int8": Support(f"{_FLAG}.INT8", before=(11, 0), rtx=False),
    "fp8": Support(f"{_FLAG}.FP8", before=(11, 0), rtx=False),
    "calibrator=entropy": Support("IInt8EntropyCalibrator2", before=(11, 0), rtx=False),
    "calibrator=minmax": Support("IInt8MinMaxCalibrator", before=(11, 0), rtx=False),
    "tf32": Support(f"{_FLAG}.TF32"),
    "strongly_typed": Support("NetworkDefinitionCreationFlag.STRONGLY_TYPED", since=(9, 1)),
    "optimization_level": Support(f"{_CONFIG}.builder_optimization_level"),
    "workspace_mb": Support("MemoryPoolType.WORKSPACE"),
    "avg_timing_iterations": Support(f"{_CONFIG}.avg_timing_iterations"),
    "max_aux_streams": Support(f"{_CONFIG}.max_aux_streams"),
    "sparsity": Support(f"{_FLAG}.SPARSE_WEIGHTS"),
    "version_compatible": Support(f"{_FLAG}.VERSION_COMPATIBLE"),
    "hardware_compatibility=ampere_plus": Support("HardwareCompatibilityLevel.AMPERE_PLUS"),
    "hardware_compatibility=same_compute_capability": Support(
        "HardwareCompatibilityLevel.SAME_COMPUTE_CAPABILITY", since=(10, 9)
    ),
    "compute_capabilities": Support(f"{_CONFIG}.set_compute_capability", since=NEVER),
    "refit": Support(f"{_FLAG}.REFIT"),
    "tactic_sources=CUBLAS": Support("TacticSource.CUBLAS", before=(11, 0), rtx=False),
    "tactic_sources=CUDNN": Support("TacticSource.CUDNN", before=(11, 0), rtx=False),
    "progress": Support("IProgressMonitor", since=(9, 1)),
    "profile_sharing": Support("PreviewFeature.PROFILE_SHARING_0806", before=(11, 0), rtx=False),
    "weights_size": Support("ICudaEngine.get_engine_stat", since=(10, 14)),
}
"""What not every version has, or what an option of a spec needs."""

_TAGS = {b"ftrt": "TensorRT", b"vtrt": "TensorRT-RTX"}
_DTYPES = {
    "FLOAT": "float32", "HALF": "float16", "BF16": "bfloat16", "INT8": "int8", "INT32": "int32", "INT64": "int64",
    "UINT8": "uint8", "BOOL": "bool", "FP8": "float8_e4m3fn", "INT4": "int4", "FP4": "float4_e2m1fn",
    "E8M0": "float8_e8m0fnu",
}  # fmt: skip


def package(name: str) -> Any:
    """The package of that backend. Raises BackendError, with what to install, where it cannot be imported."""
    try:
        return importlib.import_module(name)
    except (ImportError, OSError) as error:  # OSError: a shared library that does not load
        raise BackendError(f"{name} cannot be imported ({error}): {PACKAGES[name]}") from error


def has(trt: Any, what: str) -> bool:
    """Whether this package has what SUPPORT knows as `what`."""
    found = trt
    for part in SUPPORT[what].name.split("."):
        found = getattr(found, part, None)
        if found is None:
            return False
    return True


def need(trt: Any, what: str) -> Any:
    """What SUPPORT knows as `what`, from this package. Raises BuildError, naming the versions that have it."""
    if not has(trt, what):
        message = f"{what.replace('=', ' ')} is not in {trt.__name__} {trt.__version__}: {SUPPORT[what].where()} has it"
        raise BuildError(message)
    found = trt
    for part in SUPPORT[what].name.split("."):
        found = getattr(found, part)
    return found


def parsed(version: str) -> Version:
    """Major and minor of a version's text."""
    found = re.match(r"(\d+)\.(\d+)", version)
    if found is None:
        raise BackendError(f"{version!r} is no version of TensorRT: it should begin with two numbers")
    return int(found.group(1)), int(found.group(2))


def strongly_typed(name: str, version: str) -> bool:
    """Whether networks have the model's own types whatever is asked for, so that another precision needs another
    model: TensorRT-RTX always, TensorRT from 11 on."""
    return name == "tensorrt_rtx" or (name == "tensorrt" and parsed(version) >= (11, 0))


def network_flags(trt: Any, typed: bool) -> int:
    """The flags of a network: 8.6 must be told that the batch is explicit, 10 that types are."""
    flags = trt.NetworkDefinitionCreationFlag
    wanted = ["EXPLICIT_BATCH"] if parsed(trt.__version__) < (10, 0) and trt.__name__ == "tensorrt" else []
    wanted += ["STRONGLY_TYPED"] if typed else []
    return sum(1 << int(getattr(flags, name)) for name in wanted if hasattr(flags, name))


def dtype(value: Any) -> str:
    """numpy's (or ml_dtypes') name of a TensorRT data type."""
    name = str(value).rpartition(".")[2]
    if name not in _DTYPES:
        raise BackendError(f"an input or output is of TensorRT's type {name}, which no array has")
    return _DTYPES[name]


def shape(dims: Any) -> Shape:
    """A tensor's shape. Raises BackendError where 8.6 has none: for an engine that was built without a profile, though
    a shape in it depends on the data."""
    try:
        return tuple(dims)
    except ValueError as error:
        message = "the plan tells no shapes: it has no optimisation profile, though a shape in it depends on the data"
        raise BackendError(f"{message}: build it with a profile") from error


def device_memory_bytes(engine: Any) -> int:
    """What a context for any profile needs on the device."""
    return int(engine.device_memory_size_v2 if hasattr(engine, "device_memory_size_v2") else engine.device_memory_size)


def plan_origin(header: bytes) -> tuple[str, str] | None:
    """Which product and version built a plan, from its first 28 bytes (a tag, and the version in bytes 24 to 27); None
    for what is no plan."""
    if len(header) < 28 or header[:4] not in _TAGS:
        return None
    return _TAGS[header[:4]], ".".join(map(str, struct.unpack("4B", header[24:28])))


def option_table() -> str:
    """Which TensorRT has which option of a spec, as a Markdown table for the documentation."""
    columns: tuple[tuple[str, str, Version], ...] = (
        ("8.6", "tensorrt", (8, 6)), ("10.0", "tensorrt", (10, 0)), ("10.16", "tensorrt", (10, 16)),
        ("11", "tensorrt", (11, 0)), ("RTX", "tensorrt_rtx", (1, 0)),
    )  # fmt: skip
    lines = [f"| | {' | '.join(title for title, _, _ in columns)} |", f"|---|{'---|' * len(columns)}"]
    for what, support in SUPPORT.items():
        marks = ("yes" if support.at(backend, version) else "" for _, backend, version in columns)
        lines.append(f"| `{what}` | {' | '.join(marks)} |")
    return "\n".join(lines) + "\n"
