"""Find out which packages an interpreter has, and whether there is a GPU."""

from __future__ import annotations

import inspect
import os
import subprocess
import sys
from pathlib import Path

from pytest_trt.core.backends import BACKENDS
from pytest_trt.errors import BackendError

INTERPRETER_VARIABLES = ("PYTHONPATH", "PYTHONHOME", "PYTHONSAFEPATH", "VIRTUAL_ENV")
"""Environment variables that apply to this interpreter only, and would mislead another one."""


def is_installed(name: str, python: str = sys.executable) -> bool:
    """Return whether an interpreter has the package of a backend, without importing it.

    Args:
        name: The name of the backend, or of any module.
        python: The interpreter; by default this one.

    Raises:
        BackendError: The interpreter cannot be started.
    """
    info = BACKENDS.get(name)
    module, library = (info.package or name, info.library) if info else (name, "")
    if python == sys.executable:
        return _has_module(module, library)
    code = f"import sys\n{inspect.getsource(_has_module)}\nsys.exit(not _has_module({module!r}, {library!r}))"
    environment = {name: value for name, value in os.environ.items() if name not in INTERPRETER_VARIABLES}
    try:
        process = subprocess.run([python, "-c", code], env=environment, cwd="/", stdin=subprocess.DEVNULL, check=False)
    except OSError as error:
        raise BackendError(f"the interpreter {python} cannot be started: {error}") from error
    return process.returncode == 0


def _has_module(module: str, library: str) -> bool:
    """Return whether this interpreter has a module, and a file in its folder. It needs nothing but this function."""
    import importlib.util
    from pathlib import Path

    spec = importlib.util.find_spec(module)
    folders = (spec.submodule_search_locations or ()) if spec else ()
    return spec is not None and (not library or any(Path(folder, library).exists() for folder in folders))


def gpu_is_visible() -> bool:
    """Return whether environment variables and device files show a GPU that this process may use.

    No library is loaded, so the call is fast and cannot fail.
    """
    if os.environ.get("CUDA_VISIBLE_DEVICES", "all").strip() in ("", "-1", "none", "NoDevFiles"):
        return False
    return any(Path(node).exists() for node in ("/dev/nvidiactl", "/dev/nvidia0", "/dev/dxg"))
