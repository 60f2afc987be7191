"""The CUDA room without a GPU; on one, tests/gpu uses it."""

from __future__ import annotations

import subprocess
import sys

import pytest

from pytest_trt.engine.backends import cuda
from pytest_trt.errors import BackendError


def test_importing_it_imports_no_bindings() -> None:
    bindings = "any(name.split('.')[0] in ('cuda', 'numpy') for name in sys.modules)"
    code = f"import sys, pytest_trt.engine.backends.cuda; sys.exit({bindings})"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.skipif(cuda.reason_unusable() is None, reason="needs a machine without a GPU")
def test_without_a_driver_the_reason_and_the_remedy_are_said() -> None:
    reason = cuda.reason_unusable()
    assert reason is not None
    assert ": " in reason
    with pytest.raises(BackendError, match="driver"):
        cuda.device("0")
    with pytest.raises(BackendError, match="driver"):
        cuda.require_driver()
