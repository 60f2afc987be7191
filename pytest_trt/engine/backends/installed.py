"""Find out which packages an interpreter has, and whether there is a GPU."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

from pytest_trt.errors import BackendError


def installed(module: str, python: str = sys.executable) -> bool:
    """Whether an interpreter has a package, without importing it. Raises BackendError for one that does not run."""
    if python == sys.executable:
        return importlib.util.find_spec(module) is not None
    code = f"import importlib.util as u, sys; sys.exit(u.find_spec({module!r}) is None)"
    environment = {name: value for name, value in os.environ.items() if name not in OF_ONE_INTERPRETER}
    try:
        done = subprocess.run([python, "-c", code], env=environment, cwd="/", stdin=subprocess.DEVNULL, check=False)
    except OSError as error:
        raise BackendError(f"the interpreter {python} cannot be started: {error}") from error
    return done.returncode == 0


def gpu_is_here() -> bool:
    """Whether the driver shows a GPU that this process may use. Asks no library: it costs and breaks nothing."""
    if os.environ.get("CUDA_VISIBLE_DEVICES", "all").strip() in ("", "-1", "none", "NoDevFiles"):
        return False
    return any(Path(node).exists() for node in ("/dev/nvidiactl", "/dev/nvidia0", "/dev/dxg"))


OF_ONE_INTERPRETER = ("PYTHONPATH", "PYTHONHOME", "PYTHONSAFEPATH", "VIRTUAL_ENV")
"""What the environment says for this interpreter alone."""
