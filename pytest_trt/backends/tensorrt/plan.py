"""What the header of a plan tells, before any runtime reads it: a plan is code, and garbage may crash."""

from __future__ import annotations

import dataclasses
import struct
from pathlib import Path
from typing import Any

from pytest_trt.errors import BackendError

HEADER_BYTES = 64
_TAGS = {b"ftrt": "TensorRT", b"vtrt": "TensorRT-RTX"}
_PRODUCTS = {
    "tensorrt": "TensorRT", "tensorrt_lean": "TensorRT", "tensorrt_dispatch": "TensorRT",
    "tensorrt_rtx": "TensorRT-RTX",
}  # fmt: skip
_RTX_CAPABILITIES = (75, 80, 86, 89, 120, 121)
"""What each bit stands for, from the lowest, in the header of TensorRT-RTX 1.x: seen by building for each of them."""
_RTX_CAPABILITIES_AT = 32


@dataclasses.dataclass(frozen=True)
class Origin:
    """Which product and version built a plan, and the compute capabilities that it is for, where the header tells."""

    product: str
    version: str
    capabilities: tuple[int, ...] = ()

    def __str__(self) -> str:
        return f"{self.product} {self.version}"


def plan_origin(header: bytes) -> Origin | None:
    """What the first HEADER_BYTES of a plan say (a tag; the version in bytes 24 to 27; TensorRT-RTX repeats its tag and
    tells compute capabilities from byte 32 on); None for what is no plan."""
    if len(header) < 28 or header[:4] not in _TAGS:
        return None
    product, version = _TAGS[header[:4]], ".".join(map(str, struct.unpack("4B", header[24:28])))
    if product != "TensorRT-RTX" or len(header) < HEADER_BYTES or header[28:32] != header[:4]:
        return Origin(product, version)
    bits = struct.unpack_from("<I", header, _RTX_CAPABILITIES_AT)[0]
    known = tuple(number for bit, number in enumerate(_RTX_CAPABILITIES) if bits >> bit & 1)
    return Origin(product, version, known if bits < 1 << len(_RTX_CAPABILITIES) else ())


def read_origin(plan: Path) -> Origin:
    """Where a plan comes from. Raises BackendError for a file that is none."""
    with plan.open("rb") as file:
        header = file.read(HEADER_BYTES)
    origin = plan_origin(header)
    if origin is None:
        raise BackendError(f"{plan} is no TensorRT plan (it begins with {header[:4]!r}): build it again")
    return origin


def check_origin(trt: Any, plan: Path, capability: tuple[int, int], device: str, host_code: bool) -> Origin:
    """Where the plan comes from. Raises BackendError where this package, or this device, cannot run what comes from
    there: of another product; of another version and not allowed to bring its own runtime; for other devices."""
    origin, here = read_origin(plan), f"{trt.__name__} {trt.__version__}"
    if origin.product != _PRODUCTS[trt.__name__]:
        raise BackendError(f"{plan} was built by {origin}: {trt.__name__} cannot run it; choose another with "
                           "--trt-backend")  # fmt: skip
    if origin.capabilities and 10 * capability[0] + capability[1] not in origin.capabilities:
        built_for = ", ".join(f"{number // 10}.{number % 10}" for number in origin.capabilities)
        raise BackendError(
            f"{plan} was built for compute capability {built_for}, and {device} has {capability[0]}.{capability[1]}: "
            "build it for this device"
        )
    if not host_code and not _same_version(origin.version, trt.__version__):
        raise BackendError(
            f"{plan} was built by {origin}, and this is {here}: a plan runs where it was built, unless it was built "
            "version compatible; such a plan brings code of its own, which engine_host_code_allowed=True lets run"
        )
    return origin


def _same_version(built: str, here: str) -> bool:
    """A plan is of one major, minor and patch; packages do not always tell the build number behind them."""
    return built.split(".")[:3] == here.split(".")[:3]
