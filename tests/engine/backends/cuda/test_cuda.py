"""Test the CUDA modules without a GPU. On a GPU, tests/gpu uses them."""

from __future__ import annotations

import subprocess
import sys

import pytest

from pytest_trt.engine.backends import cuda
from pytest_trt.errors import BackendError


def test_import_loads_no_bindings() -> None:
    bindings = "any(name.split('.')[0] in ('cuda', 'numpy') for name in sys.modules)"
    code = f"import sys, pytest_trt.engine.backends.cuda; sys.exit({bindings})"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.skipif(cuda.reason_unusable() is None, reason="needs a machine without a GPU")
def test_missing_driver_is_an_error_with_a_remedy() -> None:
    reason = cuda.reason_unusable()
    assert reason is not None
    assert ": " in reason
    with pytest.raises(BackendError, match="driver"):
        cuda.device("0")
    with pytest.raises(BackendError, match="driver"):
        cuda.require_driver()
