"""Create missing models, so that `pytest` works in a fresh clone."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent


def pytest_configure() -> None:
    if not all((HERE / "models" / name).exists() for name in ("resnet.onnx", "encoder.onnx")):
        subprocess.run([sys.executable, str(HERE / "make_models.py")], check=True)
