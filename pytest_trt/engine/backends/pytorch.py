"""The backend for PyTorch, on the GPU or else on the CPU: in eager mode, or compiled by `torch.compile`.

It runs the module that a user's function returns. Its plan is a JSON file that names the function: nothing is built,
and nothing is stored. A test cannot choose this backend; only `pytest-trt backends` compares engines with it.
"""

from __future__ import annotations

import importlib
import itertools
import json
import platform
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pytest_trt.core import codec
from pytest_trt.core.records import Environment, Layer
from pytest_trt.engine.backends.base import Backend, BuildJob, BuildReport, Progress
from pytest_trt.engine.backends.host import host_cpu, host_digest, host_os, usable_cpus
from pytest_trt.engine.tensors import Tensor
from pytest_trt.errors import BackendError, BuildError
from pytest_trt.spec.engine_spec import EngineSpec

if TYPE_CHECKING:
    from pytest_trt.engine.tensors import Arrays

Tensors = tuple[Tensor, ...]
_HALF_DTYPES = {"fp16": "float16", "bf16": "bfloat16"}
"""PyTorch's names of the data types of half precisions."""


def open_backend(name: str) -> Backend:
    """Return the backend. Raises BackendError if PyTorch cannot be imported."""
    try:
        import torch
    except ImportError as error:
        raise BackendError(f"torch cannot be imported ({error}): install PyTorch, or leave its row out") from error
    return PyTorch(torch)


def write_plan(
    path: Path, function: str, folder: Path, inputs: Tensors, outputs: Tensors, *, compiled: bool = False
) -> None:
    """Write the file that `PyTorch.load` reads.

    Args:
        path: The file.
        function: `MODULE:FUNCTION`, which returns the module.
        folder: The folder where Python looks for MODULE first.
        inputs: The inputs, in the order of the module's arguments.
        outputs: The outputs, in the order in which the module returns them.
        compiled: Whether `torch.compile` compiles the module.
    """
    content = {
        "function": function, "folder": str(folder), "inputs": inputs, "outputs": outputs, "compiled": compiled,
    }  # fmt: skip
    path.write_text(json.dumps(codec.encode(content)))


class PyTorch:
    """PyTorch under `torch.inference_mode`.

    Args:
        torch: The module `torch`.
    """

    name = "pytorch"

    def __init__(self, torch: Any) -> None:
        self._torch = torch

    def version(self) -> str:
        """Return the version of PyTorch."""
        return str(self._torch.__version__)

    def device_count(self) -> int:
        """Return the number of visible GPUs, or 1 for the CPU."""
        return max(1, int(self._torch.cuda.device_count()))

    def environment(self, device: str) -> Environment:
        """Return the record of the GPU, or else the CPU, and the software."""
        common: dict[str, Any] = {
            "backend": self.name, "backend_version": self.version(), "python": platform.python_version(),
            "host_cpu": host_cpu(), "host_cpus": usable_cpus(), "host": host_digest(), "os": host_os(),
        }  # fmt: skip
        if not self._torch.cuda.is_available():
            return Environment(
                device=f"{host_cpu()}, {usable_cpus()} CPUs", kind="cpu", threads=usable_cpus(), **common
            )
        properties = self._torch.cuda.get_device_properties(_ordinal(device))
        uuid = getattr(properties, "uuid", None)
        return Environment(
            device=properties.name, kind="gpu", device_uuid=f"GPU-{uuid}" if uuid else None,
            device_memory_bytes=properties.total_memory, cuda=self._torch.version.cuda, **common,
        )  # fmt: skip

    def preload(self) -> None:
        """Do nothing: the package is imported already."""

    def initialize_driver(self) -> None:
        """Do nothing: PyTorch initialises the driver in `activate`."""

    def activate(self, device: str) -> None:
        """Create the CUDA context, if there is a GPU."""
        if self._torch.cuda.is_available():
            self._torch.cuda.set_device(_ordinal(device))
            self._torch.cuda.synchronize()

    def check(self, model: Path, spec: EngineSpec) -> None:
        """Raise BuildError: PyTorch reads no ONNX models."""
        raise BuildError("PyTorch reads no ONNX models: choose another backend")

    def build(self, job: BuildJob, progress: Progress) -> BuildReport:
        """Raise BuildError: there is nothing to build."""
        raise BuildError("PyTorch cannot build engines: it only serves comparison in pytest-trt backends")

    def load(self, plan: Path, device: str, spec: EngineSpec) -> PyTorchEngine:
        """Call the function that the plan names and load its module on the device.

        Args:
            plan: The file that `write_plan` wrote.
            device: The GPU's number; ignored without a GPU.
            spec: Its `precision` and `threads` apply.

        Raises:
            BackendError: The function cannot be called, or returns no module.
        """
        content = json.loads(plan.read_text())
        inputs, outputs = (tuple(codec.decode(Tensor, t) for t in content[name]) for name in ("inputs", "outputs"))
        function = content["function"]
        module = _call_function(function, content["folder"])
        if not isinstance(module, self._torch.nn.Module):
            raise BackendError(f"{function} returned {type(module).__name__}: it must return a torch.nn.Module")
        threads = spec.threads or usable_cpus()
        self._torch.set_num_threads(threads)
        torch_device = f"cuda:{_ordinal(device)}" if self._torch.cuda.is_available() else "cpu"
        return PyTorchEngine(
            self._torch, module.eval(), torch_device, spec.precision, threads, inputs, outputs,
            compiled=content["compiled"],
        )  # fmt: skip


class PyTorchEngine:
    """A module on its device.

    An inference copies the inputs to the device and the outputs back, as the engines of other backends do.
    """

    kind: Literal["device", "host"] = "host"

    def __init__(
        self, torch: Any, module: Any, device: str, precision: str, threads: int,
        inputs: Tensors, outputs: Tensors, *, compiled: bool = False,
    ) -> None:  # fmt: skip
        self._torch, self._device = torch, device
        self.inputs, self.outputs = inputs, outputs
        self._half = getattr(torch, _HALF_DTYPES[precision]) if precision in _HALF_DTYPES else None
        self._module = module.to(device=device, dtype=self._half)
        self._run_module = torch.compile(self._module) if compiled else self._module
        self.proof = {
            "mode": "torch.compile" if compiled else "eager",
            "device": device,
            "threads": str(threads),
            "spinning": "off",
        }

    def run(self, inputs: Arrays) -> Arrays:
        """Run one inference; floating-point outputs are returned as float32."""
        outputs = self._infer(inputs)
        return {name: value.float().numpy() if value.is_floating_point() else value.numpy()
                for name, value in outputs.items()}  # fmt: skip

    def bind_inputs(self, inputs: Arrays) -> Callable[[], None]:
        """Return a call that runs one inference on `inputs`, with the copies to the device and back."""

        def call() -> None:
            self._infer(inputs)  # Copying the outputs back waits for the device.

        return call

    def device_times(self, inputs: Arrays, count: int) -> tuple[float, ...]:
        """Return the ms between events around each of `count` inferences whose inputs are on the GPU."""
        if self._device == "cpu":
            return ()
        cuda = self._torch.cuda
        with self._torch.inference_mode():
            arguments = self._to_device(inputs)
            events = [cuda.Event(enable_timing=True) for _ in range(count + 1)]
            events[0].record()
            for event in events[1:]:
                self._call_module(arguments)
                event.record()
            cuda.synchronize()
            return tuple(began.elapsed_time(ended) for began, ended in itertools.pairwise(events))

    def _to_device(self, inputs: Arrays) -> list[Any]:
        """Return the arguments of the module, on its device and in its precision."""
        arguments = [self._torch.from_numpy(inputs[tensor.name]).to(self._device) for tensor in self.inputs]
        if self._half is None:
            return arguments
        return [value.to(self._half) if value.is_floating_point() else value for value in arguments]

    def _call_module(self, arguments: list[Any]) -> Any:
        try:
            return self._run_module(*arguments)
        except Exception as error:  # A user's module may raise anything.
            raise BackendError(f"the module raised {type(error).__name__}: {error}") from error

    def step(self, inputs: Mapping[str, Any]) -> Mapping[str, Any]:
        """Raise BackendError: the eager mode only serves comparison in pytest-trt backends."""
        raise BackendError("PyTorch's eager mode generates no tokens: choose another backend")

    def _infer(self, inputs: Arrays) -> dict[str, Any]:
        with self._torch.inference_mode():
            result = self._call_module(self._to_device(inputs))
            if isinstance(result, Mapping):
                return {tensor.name: result[tensor.name].cpu() for tensor in self.outputs if tensor.name in result}
            values = result if isinstance(result, (tuple, list)) else (result,)
            if len(values) != len(self.outputs):
                names = ", ".join(tensor.name for tensor in self.outputs)
                raise BackendError(
                    f"the module returned {len(values)} outputs, but the model has {names}: return one for each"
                )
            return {tensor.name: value.cpu() for tensor, value in zip(self.outputs, values, strict=True)}

    def profile(self, inputs: Arrays, runs: int) -> tuple[Layer, ...]:
        """Return nothing: layer times are not measured."""
        return ()

    def memory(self) -> Mapping[str, int]:
        """Return the bytes of the module's weights and the peak of PyTorch's allocator; empty on a CPU."""
        if self._device == "cpu":
            return {}
        tensors = [*self._module.parameters(), *self._module.buffers()]
        weights = sum(tensor.numel() * tensor.element_size() for tensor in tensors)
        return {"weights": weights, "peak": self._torch.cuda.max_memory_reserved(self._device)}

    def layers(self) -> tuple[Layer, ...]:
        """Return nothing: the module's layers are not those of an engine."""
        return ()

    def close(self) -> None:
        """Free the module."""
        self._module = self._run_module = None


def _ordinal(device: str) -> int:
    """Return the number of the device; 0 for a UUID."""
    return int(device) if device.isdecimal() else 0


def _call_function(function: str, folder: str) -> Any:
    """Return the result of `MODULE:FUNCTION`. Raises BackendError if it cannot be imported, or raises an exception."""
    module, _, name = function.partition(":")
    sys.path.insert(0, folder)
    try:
        return getattr(importlib.import_module(module), name)()
    except Exception as error:  # A user's code may raise anything.
        raise BackendError(f"{function} cannot be called: {type(error).__name__}: {error}") from error
    finally:
        sys.path.remove(folder)
