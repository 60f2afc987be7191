"""What the header of a plan tells, before any runtime reads it: a plan is code, and garbage may crash."""

from __future__ import annotations

import dataclasses
import struct
from collections.abc import Sequence
from pathlib import Path

from pytest_trt.core.backends import BACKENDS
from pytest_trt.errors import BackendError

HEADER_BYTES = 64
_TAGS = {b"ftrt": "TensorRT", b"vtrt": "TensorRT-RTX"}
_RTX_CAPABILITIES = (75, 80, 86, 89, 120, 121)
"""What each bit stands for, from the lowest, in the header of TensorRT-RTX 1.x: seen by building for each of them."""
_RTX_CAPABILITIES_AT = 32
_RTX_SIZE_AT = 16


@dataclasses.dataclass(frozen=True)
class PlanOrigin:
    """Which product and version built a plan; and where the header tells, the compute capabilities that it is for and
    its size."""

    product: str
    version: str
    capabilities: tuple[int, ...] = ()
    size_bytes: int = 0

    def __str__(self) -> str:
        return f"{self.product} {self.version}"


def parse_header(header: bytes) -> PlanOrigin | None:
    """What the first HEADER_BYTES of a plan say (a tag; the version in bytes 24 to 27; TensorRT-RTX repeats its tag,
    tells the plan's size from byte 16 on and compute capabilities from 32 on); None for what is no plan."""
    if len(header) < 28 or header[:4] not in _TAGS:
        return None
    product, version = _TAGS[header[:4]], ".".join(map(str, struct.unpack("4B", header[24:28])))
    if product != "TensorRT-RTX" or len(header) < HEADER_BYTES or header[28:32] != header[:4]:
        return PlanOrigin(product, version)
    bits = struct.unpack_from("<I", header, _RTX_CAPABILITIES_AT)[0]
    known = tuple(number for bit, number in enumerate(_RTX_CAPABILITIES) if bits >> bit & 1)
    size = struct.unpack_from("<Q", header, _RTX_SIZE_AT)[0]
    return PlanOrigin(product, version, known if bits < 1 << len(_RTX_CAPABILITIES) else (), size)


def read_origin(plan: Path) -> PlanOrigin:
    """Where a plan comes from. Raises BackendError for a file that is none, or that was cut short."""
    with plan.open("rb") as file:
        header = file.read(HEADER_BYTES)
    origin = parse_header(header)
    if origin is None:
        raise BackendError(f"{plan} is no TensorRT plan (it begins with {header[:4]!r}): build it again")
    if (size := plan.stat().st_size) < origin.size_bytes:
        raise BackendError(f"{plan} was cut short: it has {size} of {origin.size_bytes} bytes: build or copy it again")
    return origin


def check_origin(package: str, version: str, plan: Path, host_code: bool) -> PlanOrigin:
    """Where the plan comes from. Raises BackendError where that package in that version cannot run what comes from
    there: of another product; of another version and not allowed to bring its own runtime. Asks no device."""
    origin = read_origin(plan)
    if origin.product != BACKENDS[package].plan_product:
        raise BackendError(f"{plan} was built by {origin}: {package} cannot run it; choose another with --trt-backend")
    if not host_code and not _same_version(origin.version, version):
        raise BackendError(
            f"{plan} was built by {origin}, and this is {package} {version}: a plan runs where it was built, unless it "
            "was built version compatible; such a plan brings code of its own, which engine_host_code_allowed=True "
            "lets run"
        )
    return origin


def check_capabilities(origin: PlanOrigin, plan: Path, wanted: Sequence[int], by: str) -> None:
    """Raise BackendError where the plan is not for all of the compute capabilities that are `wanted` by what `by`
    says."""
    if origin.capabilities and not set(wanted) <= set(origin.capabilities):
        raise BackendError(
            f"{plan} was built for compute capability {_listed(origin.capabilities)}, and {by} {_listed(wanted)}: "
            "build it for that"
        )


def _listed(capabilities: Sequence[int]) -> str:
    return ", ".join(f"{number // 10}.{number % 10}" for number in capabilities)


def _same_version(built: str, here: str) -> bool:
    """A plan is of one major, minor and patch; packages do not always tell the build number behind them."""
    return built.split(".")[:3] == here.split(".")[:3]
