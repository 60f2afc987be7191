"""Plugins: TensorRT's own, and those of libraries that a spec names."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

from pytest_trt.engine.backends.tensorrt.log import logger
from pytest_trt.errors import BackendError


def load_plugins(trt: Any, owner: Any, libraries: tuple[str, ...]) -> None:
    """Register TensorRT's own plugins where it has any, and those of `libraries` with `owner`, a Builder or a Runtime.

    Raises BackendError, with the loader's own words, for a library that does not load or that brings no plugin.
    """
    _register_own(trt)
    log = logger(trt)
    for library in libraries:
        log.clear()
        if not Path(library).is_file():
            raise BackendError(f"the plugin library {library} is not there: name an existing file in plugins")
        if owner.get_plugin_registry().load_library(library) is None:
            raise BackendError(
                f"the plugin library {library} cannot be loaded by {trt.__name__} {trt.__version__}: {log.reason()}"
            )


@functools.cache
def _register_own(trt: Any) -> None:
    """Once a process: TensorRT would complain of a second time. The lean runtime has none."""
    if hasattr(trt, "init_libnvinfer_plugins"):
        trt.init_libnvinfer_plugins(logger(trt), "")
