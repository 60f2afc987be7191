"""Copy a model together with its external data."""

from __future__ import annotations

import shutil
from pathlib import Path

from pytest_trt.engine.onnx import external_data, traverse


def copy_model(model: Path, output: Path) -> None:
    """Copy the ONNX file `model` to `output`, so that the copy does not depend on other files of the model.

    The weights that lie in other files are written to one file beside the copy, `output`.data.
    """
    import onnx

    loaded = onnx.load(str(model), load_external_data=False)
    if not any(map(traverse.is_external, traverse.tensors(loaded))):
        shutil.copyfile(model, output)
        return
    external_data.load_weights(loaded, model)
    onnx.save(
        loaded,
        str(output),
        save_as_external_data=True,
        location=f"{output.name}.data",
        all_tensors_to_one_file=True,
    )
