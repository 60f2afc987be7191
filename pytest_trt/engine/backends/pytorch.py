"""PyTorch in eager mode, to compare with: the module that a user's function gives, on the GPU or else the CPU.

Its "plan" is a JSON file that names the function: nothing is built, and nothing is stored. It is no backend that a test
can name; `pytest-trt backends` has a row of it.
"""

from __future__ import annotations

import importlib
import json
import platform
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pytest_trt.core import codec
from pytest_trt.core.records import Environment, Layer
from pytest_trt.engine.backends.base import Backend, BuildJob, BuildReport, Progress
from pytest_trt.engine.backends.host import host_cpu, host_os, usable_cpus
from pytest_trt.engine.tensors import Tensor
from pytest_trt.errors import BackendError, BuildError
from pytest_trt.spec.engine_spec import EngineSpec

if TYPE_CHECKING:
    from pytest_trt.engine.tensors import Arrays

Tensors = tuple[Tensor, ...]
_HALVES = {"fp16": "float16", "bf16": "bfloat16"}


def open_backend(name: str) -> Backend:
    try:
        import torch
    except ImportError as error:
        raise BackendError(f"torch cannot be imported ({error}): install PyTorch, or leave its row out") from error
    return PyTorch(torch)


def write_plan(path: Path, function: str, folder: Path, inputs: Tensors, outputs: Tensors) -> None:
    """What `load` reads: `function` is `MODULE:FUNCTION`, looked for in `folder` and where Python looks; inputs are
    handed over in that order, and outputs named in theirs."""
    said = {"function": function, "folder": str(folder), "inputs": inputs, "outputs": outputs}
    path.write_text(json.dumps(codec.encode(said)))


class PyTorch:
    """Eager mode under `torch.inference_mode`."""

    name = "pytorch"

    def __init__(self, torch: Any) -> None:
        self._torch = torch

    def version(self) -> str:
        return str(self._torch.__version__)

    def environment(self, device: str) -> Environment:
        common: dict[str, Any] = {
            "backend": self.name, "backend_version": self.version(), "python": platform.python_version(),
            "host_cpu": host_cpu(), "host_cpus": usable_cpus(), "os": host_os(),
        }  # fmt: skip
        if not self._torch.cuda.is_available():
            return Environment(
                device=f"{host_cpu()}, {usable_cpus()} CPUs", kind="cpu", threads=usable_cpus(), **common
            )
        found = self._torch.cuda.get_device_properties(_ordinal(device))
        uuid = getattr(found, "uuid", None)
        return Environment(
            device=found.name, kind="gpu", device_uuid=f"GPU-{uuid}" if uuid else None,
            device_memory_bytes=found.total_memory, cuda=self._torch.version.cuda, **common,
        )  # fmt: skip

    def preload(self) -> None:
        """Nothing: the package is imported."""

    def initialize_driver(self) -> None:
        """Nothing."""

    def activate(self, device: str) -> None:
        if self._torch.cuda.is_available():
            self._torch.cuda.set_device(_ordinal(device))
            self._torch.cuda.synchronize()

    def build(self, job: BuildJob, progress: Progress) -> BuildReport:
        raise BuildError("PyTorch builds no engines: its eager mode is there to be compared with")

    def load(self, plan: Path, device: str, spec: EngineSpec) -> PyTorchEngine:
        gpu = self._torch.cuda.is_available()
        said = json.loads(plan.read_text())
        inputs, outputs = (tuple(codec.decode(Tensor, t) for t in said[name]) for name in ("inputs", "outputs"))
        module = _called(said["function"], said["folder"])
        if not isinstance(module, self._torch.nn.Module):
            raise BackendError(f"{said['function']} returned {type(module).__name__}: it must return a torch.nn.Module")
        threads = spec.threads or usable_cpus()
        self._torch.set_num_threads(threads)
        where = f"cuda:{_ordinal(device)}" if gpu else "cpu"
        return PyTorchEngine(self._torch, module.eval(), where, spec.precision, threads, inputs, outputs)


class PyTorchEngine:
    """A module on its device. An inference copies the inputs there and the outputs back, like any other here."""

    kind: Literal["device", "host"] = "host"

    def __init__(
        self, torch: Any, module: Any, device: str, precision: str, threads: int,
        inputs: Tensors, outputs: Tensors,
    ) -> None:  # fmt: skip
        self._torch, self._device = torch, device
        self.inputs, self.outputs = inputs, outputs
        self._half = getattr(torch, _HALVES[precision]) if precision in _HALVES else None
        self._module = module.to(device=device, dtype=self._half)
        self.proof = {"mode": "eager", "device": device, "threads": str(threads), "spinning": "off"}

    def run(self, inputs: Arrays) -> Arrays:
        found = self._infer(inputs)
        return {name: value.float().numpy() if value.is_floating_point() else value.numpy()
                for name, value in found.items()}  # fmt: skip

    def bind_inputs(self, inputs: Arrays) -> Callable[[], None]:
        def call() -> None:
            self._infer(inputs)  # the copy back waits for the device

        return call

    def _infer(self, inputs: Arrays) -> dict[str, Any]:
        torch = self._torch
        with torch.inference_mode():
            ready = [torch.from_numpy(inputs[tensor.name]).to(self._device) for tensor in self.inputs]
            if self._half is not None:
                ready = [value.to(self._half) if value.is_floating_point() else value for value in ready]
            try:
                made = self._module(*ready)
            except Exception as error:  # a user's module raises what it will
                raise BackendError(f"the module raised {type(error).__name__}: {error}") from error
            if isinstance(made, Mapping):
                return {tensor.name: made[tensor.name].cpu() for tensor in self.outputs if tensor.name in made}
            listed = made if isinstance(made, (tuple, list)) else (made,)
            if len(listed) != len(self.outputs):
                names = ", ".join(tensor.name for tensor in self.outputs)
                raise BackendError(f"the module returned {len(listed)} outputs, and the model has {names}")
            return {tensor.name: value.cpu() for tensor, value in zip(self.outputs, listed, strict=True)}

    def profile(self, inputs: Arrays, runs: int) -> tuple[Layer, ...]:
        return ()

    def memory(self) -> Mapping[str, int]:
        """The module's weights, and the peak that PyTorch's allocator held, where they are on a GPU."""
        if self._device == "cpu":
            return {}
        held = [*self._module.parameters(), *self._module.buffers()]
        weights = sum(tensor.numel() * tensor.element_size() for tensor in held)
        return {"weights": weights, "peak": self._torch.cuda.max_memory_reserved(self._device)}

    def layers(self) -> tuple[Layer, ...]:
        return ()

    def close(self) -> None:
        self._module = None


def _ordinal(device: str) -> int:
    return int(device) if device.isdecimal() else 0


def _called(function: str, folder: str) -> Any:
    """What `MODULE:FUNCTION` returns. Raises BackendError where there is none, or it raises."""
    module, _, name = function.partition(":")
    sys.path.insert(0, folder)
    try:
        return getattr(importlib.import_module(module), name)()
    except Exception as error:  # a user's code raises what it will
        raise BackendError(f"{function} cannot be called: {type(error).__name__}: {error}") from error
    finally:
        sys.path.remove(folder)
