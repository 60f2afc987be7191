"""Read the header of a plan before any runtime does.

A plan is code, and a runtime may crash on a file that is not one.
"""

from __future__ import annotations

import dataclasses
import struct
from collections.abc import Sequence
from pathlib import Path

from pytest_trt.core.backends import BACKENDS
from pytest_trt.errors import BackendError

HEADER_BYTES = 64
"""The bytes of a plan that `parse_header` reads."""

_TAGS = {b"ftrt": "TensorRT", b"vtrt": "TensorRT-RTX"}

_RTX_CAPABILITIES = (75, 80, 86, 89, 120, 121)
"""The compute capability of each bit, from the lowest, in the header of TensorRT-RTX 1.x: found by building for each of
them."""

_RTX_CAPABILITIES_OFFSET = 32
_SIZE_OFFSET = 16


@dataclasses.dataclass(frozen=True)
class PlanOrigin:
    """A frozen record of the origin of a plan.

    Attributes:
        product: The product that built the plan: `TensorRT` or `TensorRT-RTX`.
        version: The version that built the plan, such as "8.6.0.12".
        capabilities: The compute capabilities that the plan was built for, such as 89; empty if the header has none.
        size_bytes: The size of the whole plan.
    """

    product: str
    version: str
    capabilities: tuple[int, ...] = ()
    size_bytes: int = 0

    def __str__(self) -> str:
        return f"{self.product} {self.version}"


def parse_header(header: bytes) -> PlanOrigin | None:
    """Parse the header of a plan.

    The header begins with a tag, and has the size of the plan (8 bytes from byte 16) and the version in bytes 24 to 27.
    TensorRT-RTX repeats the tag in bytes 28 to 31; its header also has the compute capabilities (4 bytes from byte 32).

    The size was compared with that of plain, version-compatible and refittable plans of TensorRT 8.6.0, and of plans of
    TensorRT-RTX 1.7. TensorRT's runtime requires that they are equal: its error for a plan that was cut is
    "Serialization assertion plan->header.size == blobSize failed".

    Args:
        header: The first HEADER_BYTES of the file.

    Returns:
        The origin of the plan; None if the file is not a plan.
    """
    if len(header) < 28 or header[:4] not in _TAGS:
        return None
    product, version = _TAGS[header[:4]], ".".join(map(str, struct.unpack("4B", header[24:28])))
    size = struct.unpack_from("<Q", header, _SIZE_OFFSET)[0]
    if product != "TensorRT-RTX" or len(header) < HEADER_BYTES or header[28:32] != header[:4]:
        return PlanOrigin(product, version, size_bytes=size)
    bits = struct.unpack_from("<I", header, _RTX_CAPABILITIES_OFFSET)[0]
    capabilities = tuple(number for bit, number in enumerate(_RTX_CAPABILITIES) if bits >> bit & 1)
    if bits >= 1 << len(_RTX_CAPABILITIES):  # A bit of a later version, whose meaning is unknown.
        capabilities = ()
    return PlanOrigin(product, version, capabilities, size)


def read_origin(plan: Path) -> PlanOrigin:
    """Return the origin of a plan. Raises BackendError if the file is not a plan, or was cut short."""
    with plan.open("rb") as file:
        header = file.read(HEADER_BYTES)
    origin = parse_header(header)
    if origin is None and header[4:5] == b"{":  # as Ultralytics exports engines: a size, JSON of that size, the plan
        begin = 4 + int.from_bytes(header[:4], "little")
        raise BackendError(
            f"{plan} is not a TensorRT plan: it begins with JSON metadata, as exporters write it; save the bytes from "
            f"{begin} on, which are the plan, in a file of their own"
        )
    if origin is None:
        raise BackendError(f"{plan} is not a TensorRT plan (it begins with {header[:4]!r}): build it again")
    if (size := plan.stat().st_size) < origin.size_bytes:
        raise BackendError(f"{plan} was cut short: it has {size} of {origin.size_bytes} bytes: build or copy it again")
    return origin


def check_origin(package: str, version: str, plan: Path, host_code: bool) -> PlanOrigin:
    """Return the origin of a plan, and check that a package can run it. No device is needed.

    Args:
        package: The name of the package, which is also the backend's.
        version: The version of the package.
        plan: The file.
        host_code: Whether a version-compatible plan may run the code that it contains.

    Raises:
        BackendError: The file is not a plan, was built by another product, or was built by another version and must not
            run its own code.
    """
    origin = read_origin(plan)
    if origin.product != BACKENDS[package].plan_product:
        raise BackendError(
            f"{plan} was built by {origin}: {package} cannot run it; choose another backend with --trt-backend"
        )
    if not host_code and not _same_version(origin.version, version):
        raise BackendError(
            f"{plan} was built by {origin}, but this is {package} {version}: a plan runs only on the version that "
            "built it, unless it was built version compatible; such a plan contains code of its own: allow it to run "
            "with engine_host_code_allowed=True"
        )
    return origin


def check_capabilities(origin: PlanOrigin, plan: Path, required: Sequence[int], reason: str) -> None:
    """Raise BackendError if a plan was not built for all required compute capabilities.

    Args:
        origin: The origin of the plan.
        plan: The file.
        required: The required compute capabilities, such as 89.
        reason: What requires them, as a clause that they complete, such as "NVIDIA L4 has".
    """
    if origin.capabilities and not set(required) <= set(origin.capabilities):
        built, needed = _format_capabilities(origin.capabilities), _format_capabilities(required)
        raise BackendError(f"{plan} was built for compute capability {built}, but {reason} {needed}: build it for that")


def _format_capabilities(capabilities: Sequence[int]) -> str:
    return ", ".join(f"{number // 10}.{number % 10}" for number in capabilities)


def _same_version(built: str, here: str) -> bool:
    """Return whether major, minor and patch are equal; not every package reports the build number after them."""
    return built.split(".")[:3] == here.split(".")[:3]
