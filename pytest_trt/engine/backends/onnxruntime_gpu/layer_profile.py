"""Time the layers of a model on a GPU with ONNX Runtime's profiler.

The profiler takes the time of a node by the host's clock. On a GPU, that is the time of enqueueing the node's kernels,
unless every launch waits for its kernel. CUDA_LAUNCH_BLOCKING makes launches wait, if it is set before the driver is
initialised: the layers are therefore timed in a process of their own. Its times are longer than those of the
measurement by some 20 microseconds a kernel.

`python -m pytest_trt.engine.backends.onnxruntime_gpu.layer_profile FOLDER` runs that process.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_trt.core import codec
from pytest_trt.core.records import Layer
from pytest_trt.core.scratch import ScratchFolder
from pytest_trt.engine.backends.base import backend
from pytest_trt.engine.backends.onnxruntime_profile import parse_profile
from pytest_trt.errors import BackendError, TrtError
from pytest_trt.spec.engine_spec import EngineSpec

if TYPE_CHECKING:
    from pytest_trt.engine.tensors import Arrays

_TIMEOUT_S = 240
"""How long the process may take, in seconds: less than a probe's call for a profile."""


def time_layers(name: str, plan: Path, device: int, spec: EngineSpec, inputs: Arrays, runs: int) -> tuple[Layer, ...]:
    """Return the layers with their median times over `runs` inferences; `tactic` is the provider.

    Args:
        name: The name of the backend.
        plan: The model.
        device: The number of the device.
        spec: The options of the session.
        inputs: The inputs of every inference.
        runs: The number of inferences, after a warm-up.

    Raises:
        BackendError: The process failed.
    """
    import numpy as np

    with ScratchFolder("profile") as folder:
        np.savez(folder / "inputs.npz", *inputs.values())
        job = {
            "backend": name, "plan": str(plan), "device": str(device), "runs": runs, "names": list(inputs),
            "spec": codec.encode(spec.without_functions),
        }  # fmt: skip
        (folder / "job.json").write_text(json.dumps(job))
        environment = {**os.environ, "CUDA_LAUNCH_BLOCKING": "1"}
        command = [sys.executable, "-m", __name__, str(folder)]
        try:
            process = subprocess.run(
                command, env=environment, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False
            )
        except subprocess.TimeoutExpired as error:
            raise BackendError(f"timing the layers took longer than {_TIMEOUT_S} s") from error
        result = folder / "layers.json"
        if process.returncode or not result.exists():
            last = (process.stderr.strip().splitlines() or [f"exit status {process.returncode}"])[-1]
            raise BackendError(f"timing the layers failed: {last}")
        return tuple(codec.decode(Layer, layer) for layer in json.loads(result.read_text()))


def _run(folder: Path) -> None:
    """Time the layers of the job in the folder, and write them there."""
    import numpy as np

    job = json.loads((folder / "job.json").read_text())
    with np.load(folder / "inputs.npz") as file:
        inputs = {name: file[f"arr_{number}"] for number, name in enumerate(job["names"])}
    chosen: Any = backend(job["backend"])
    spec = codec.decode(EngineSpec, job["spec"])
    session = chosen.open_session(Path(job["plan"]), job["device"], spec, profile_prefix=str(folder / "profile"))
    for _ in range(job["runs"] + 1):
        session.run(None, inputs)
    events = json.loads(Path(session.end_profiling()).read_text())
    layers = parse_profile(events, with_provider=True)
    (folder / "layers.json").write_text(json.dumps(codec.encode(layers)))


if __name__ == "__main__":
    try:
        _run(Path(sys.argv[1]))
    except TrtError as error:
        sys.exit(str(error))
