"""Load plugins: TensorRT's own, and those of the libraries that a spec names."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

from pytest_trt.engine.backends.tensorrt.log import logger
from pytest_trt.errors import BackendError


def load_plugins(trt: Any, owner: Any, libraries: tuple[str, ...]) -> None:
    """Register TensorRT's own plugins, and the plugins of the given libraries.

    Args:
        trt: The module of the package.
        owner: The Builder or Runtime that uses the plugins of `libraries`.
        libraries: The paths of the plugin libraries.

    Raises:
        BackendError: A library does not exist, does not load, or contains no plugin.
    """
    _register_own(trt)
    log = logger(trt)
    for library in libraries:
        log.clear()
        if not Path(library).is_file():
            raise BackendError(f"the plugin library {library} does not exist: name an existing file in plugins")
        if owner.get_plugin_registry().load_library(library) is None:
            raise BackendError(
                f"the plugin library {library} cannot be loaded by {trt.__name__} {trt.__version__}: {log.reason()}"
            )


@functools.cache
def _register_own(trt: Any) -> None:
    """Register TensorRT's own plugins once per process; a second call would log a warning.

    The lean and dispatch runtimes have none.
    """
    if hasattr(trt, "init_libnvinfer_plugins"):
        trt.init_libnvinfer_plugins(logger(trt), "")
