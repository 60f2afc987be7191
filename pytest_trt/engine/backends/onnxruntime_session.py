"""Open sessions of ONNX Runtime, on the CPU and on a GPU."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

from pytest_trt.engine.onnx import rewrite
from pytest_trt.engine.onnx.messages import readable_message

_WEIGHTS_FOLDER = "session.model_external_initializers_file_folder_path"
"""The session option that names the folder of external weights, for a model that is loaded from memory."""


def session_options(ort: Any, threads: int) -> Any:
    """Return the options of a session with so many threads, which do not spin.

    Args:
        ort: The module `onnxruntime`.
        threads: The number of threads of an operator; operators run one after another.
    """
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3  # Errors only.
    return options


def create_session(ort: Any, model: Path, options: Any, **arguments: Any) -> Any:
    """Return a session for a model. Errors of ONNX Runtime pass through.

    ONNX Runtime rejects a model in which nodes share a name. For such a model, the session runs a copy with unique
    names.

    Args:
        ort: The module `onnxruntime`.
        model: The model.
        options: The session's options.
        arguments: Further arguments of `InferenceSession`.
    """
    session = functools.partial(ort.InferenceSession, sess_options=options, **arguments)
    try:
        return session(str(model))
    except Exception as error:
        if "same node name" not in str(error):
            raise
    options.add_session_config_entry(_WEIGHTS_FOLDER, str(model.parent))
    return session(_with_unique_node_names(model))


def cannot_load(ort: Any, model: Path, error: Exception) -> str:
    """Return the text of an error: ONNX Runtime cannot load a model."""
    # In the cache, every plan has the name "plan", which does not help a user.
    named = "the model" if model.name == "plan" else model
    return f"ONNX Runtime {ort.__version__} cannot load {named}: {readable_message(error)}"


def _with_unique_node_names(path: Path) -> bytes:
    """Return a copy of a model in which every node has a name of its own; external weights stay in their files."""
    import onnx

    model = onnx.load(str(path), load_external_data=False)
    rewrite.make_node_names_unique(model)
    return bytes(model.SerializeToString())
