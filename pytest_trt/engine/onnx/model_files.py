"""Copy a model with its external data, and clean what ONNX Runtime says of it."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from pytest_trt.engine.onnx import traverse


def copy_model(model: Path, plan: Path) -> None:
    """The model to `plan`, with its external data in a file beside it, so that a cache entry stands by itself."""
    import onnx

    light = onnx.load(str(model), load_external_data=False)
    if not any(map(traverse.is_external, traverse.tensors(light))):
        shutil.copyfile(model, plan)
        return
    whole = onnx.load(str(model))
    onnx.save(whole, str(plan), save_as_external_data=True, location=f"{plan.name}.data", all_tensors_to_one_file=True)


_WEIGHTS_FOLDER = "session.model_external_initializers_file_folder_path"


_NOISE = re.compile(
    r"^\[ONNXRuntimeError\] : \d+ : \w+ : (Load model from .* failed: ?)?(/onnxruntime_src/\S+:\d+ .*?\) (?=[A-Z]))?"
)
"""What stands before ONNX Runtime's own words: codes, a file of its own making, a place in its source."""


_NODE = re.compile(r"^Non-zero status code returned while running (\w+) node\. Name:'([^']*)' Status Message: ")


def plain(error: Exception) -> str:
    """ONNX Runtime's message without its codes; the node that it names stays."""
    words = _NODE.sub(lambda at: " ".join(filter(None, at.groups())) + ": ", _NOISE.sub("", str(error).strip()))
    return words or type(error).__name__
