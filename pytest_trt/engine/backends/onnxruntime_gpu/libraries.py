"""Find the libraries that an execution provider is linked to, and load those that Python packages contain.

ONNX Runtime looks for CUDA's libraries where the dynamic linker does, and for those of packages beside itself only.
"""

from __future__ import annotations

import ctypes
import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path

_PACKAGES = {"nvidia": "*/lib", "tensorrt_libs": "."}
"""The Python packages with libraries of NVIDIA, and the folders with the libraries in each."""

_OPENED_LATER = ("libnvrtc.so.*", "libcufft.so.*", "libcudnn.so.*")
"""Libraries that the CUDA provider is not linked to: it opens them when an operator needs them."""


def load_dependencies(provider: Path) -> str:
    """Load what the library of a provider is linked to, as far as the dynamic linker or a package has it.

    Call this only after ONNX Runtime has tried to load the provider: the library reads the address of its host when
    it is loaded.

    Args:
        provider: The library of the provider.

    Returns:
        The dynamic linker's message about a library that is missing; empty if none is.
    """
    tried = set[str]()
    while True:
        try:
            ctypes.CDLL(str(provider))
            break
        except OSError as error:
            message = str(error)
        name = missing_library(message)
        found = next(packaged_libraries(name), None) if name else None
        if found is None or name in tried:
            return message
        tried.add(name)
        try:
            ctypes.CDLL(str(found), mode=ctypes.RTLD_GLOBAL)
        except OSError as error:
            return str(error)
    for pattern in _OPENED_LATER:
        for path in packaged_libraries(pattern):
            try:
                ctypes.CDLL(str(path), mode=ctypes.RTLD_GLOBAL)
            except OSError:  # An operator that needs it reports it.
                continue
    return ""


def missing_library(message: str) -> str:
    """Return the name of the missing library in a message of the dynamic linker or of ONNX Runtime; empty if none is.

    Such a message is `libcublasLt.so.13: cannot open shared object file: No such file or directory`.
    """
    found = re.search(r"([\w.+-]+\.so[\w.]*): cannot open shared object file", message)
    return found[1] if found else ""


def packaged_libraries(pattern: str) -> Iterator[Path]:
    """Yield the libraries of that name in NVIDIA's Python packages; `*` in the name matches any text."""
    for package, folder in _PACKAGES.items():
        spec = importlib.util.find_spec(package)
        for location in (spec.submodule_search_locations or ()) if spec else ():
            yield from sorted(Path(location).glob(f"{folder}/{pattern}"))
