"""Find out which packages an interpreter has, and whether there is a GPU."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

from pytest_trt.errors import BackendError

INTERPRETER_VARIABLES = ("PYTHONPATH", "PYTHONHOME", "PYTHONSAFEPATH", "VIRTUAL_ENV")
"""Environment variables that apply to this interpreter only, and would mislead another one."""


def is_installed(module: str, python: str = sys.executable) -> bool:
    """Return whether an interpreter has a package, without importing it.

    Args:
        module: The name of the package's module.
        python: The interpreter; by default this one.

    Raises:
        BackendError: The interpreter cannot be started.
    """
    if python == sys.executable:
        return importlib.util.find_spec(module) is not None
    code = f"import importlib.util as u, sys; sys.exit(u.find_spec({module!r}) is None)"
    environment = {name: value for name, value in os.environ.items() if name not in INTERPRETER_VARIABLES}
    try:
        process = subprocess.run([python, "-c", code], env=environment, cwd="/", stdin=subprocess.DEVNULL, check=False)
    except OSError as error:
        raise BackendError(f"the interpreter {python} cannot be started: {error}") from error
    return process.returncode == 0


def gpu_is_visible() -> bool:
    """Return whether environment variables and device files show a GPU that this process may use.

    No library is loaded, so the call is fast and cannot fail.
    """
    if os.environ.get("CUDA_VISIBLE_DEVICES", "all").strip() in ("", "-1", "none", "NoDevFiles"):
        return False
    return any(Path(node).exists() for node in ("/dev/nvidiactl", "/dev/nvidia0", "/dev/dxg"))
