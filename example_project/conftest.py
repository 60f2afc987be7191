"""Makes the models when they are missing, so that `pytest` alone is enough."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent


def pytest_configure() -> None:
    if not all((HERE / "models" / name).exists() for name in ("resnet.onnx", "encoder.onnx")):
        subprocess.run([sys.executable, str(HERE / "make_models.py")], check=True)
