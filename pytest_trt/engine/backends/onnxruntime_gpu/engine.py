"""Load a model for ONNX Runtime's providers on a GPU."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pytest_trt.core.records import Layer
from pytest_trt.core.scratch import ScratchFolder
from pytest_trt.engine.backends import cuda
from pytest_trt.engine.backends.host import usable_cpus
from pytest_trt.engine.backends.onnxruntime_gpu import layer_profile, memory, placement
from pytest_trt.engine.backends.onnxruntime_gpu.context import OrtContext
from pytest_trt.engine.backends.onnxruntime_gpu.provider import CUDA, PROVIDERS, TENSORRT, Providers, open_session
from pytest_trt.engine.backends.onnxruntime_session import session_options
from pytest_trt.engine.onnx.signature import read_signature
from pytest_trt.spec.engine_spec import EngineSpec
from pytest_trt.spec.shape_ranges import Shape

if TYPE_CHECKING:
    from pytest_trt.engine.tensors import Arrays


class OrtDeviceEngine:
    """A model that sessions on a GPU run. Every context has a session of its own, since a session has one stream.

    Args:
        ort: The module `onnxruntime`.
        backend: The name of the backend.
        plan: The model.
        device: The device.
        spec: Its `precision`, `tf32`, `threads` and `cpu_nodes` apply.

    Attributes:
        inputs: The inputs; -1 in a shape is dynamic.
        outputs: The outputs; -1 in a shape is dynamic or depends on the data.
        aliases: Empty: no output has to share memory with an input.

    Raises:
        ModelError: The plan is no ONNX model.
    """

    kind: Literal["device", "host"] = "device"

    def __init__(self, ort: Any, backend: str, plan: Path, device: cuda.Device, spec: EngineSpec) -> None:
        self.ort, self.backend, self.plan, self.device, self.spec = ort, backend, plan, device, spec
        signature = read_signature(plan)
        self.inputs, self.outputs = signature.inputs, signature.outputs
        self.threads = spec.threads or usable_cpus()
        self.aliases: Mapping[str, str] = {}
        self._placement: placement.Placement | None = None

    @property
    def proof(self) -> Mapping[str, str]:
        """How the engine really runs, as text by name: its provider, and which provider runs how many nodes."""
        found = {"provider": PROVIDERS[self.backend][0], "threads": str(self.threads)}
        return found if self._placement is None else {**found, **self._placement.proof}

    def select_profile(self, shapes: Mapping[str, Shape]) -> int:
        """Return 0: a session runs every shape."""
        return 0

    def create_context(self, profile: int, stream: cuda.Stream) -> OrtContext:
        """Return a context in which a new session runs in a stream.

        Raises:
            BackendError: The provider does not load, or the GPU fails.
            BuildError: ONNX Runtime cannot load the model, or a node would run on the CPU that `cpu_nodes` does not
                allow.
        """
        self.device.activate()
        options = {"user_compute_stream": str(stream.handle)}
        if placement.is_reported(self.ort):
            session, after_warm_up = self.open_session(options), None
        else:
            session, after_warm_up = self._open_profiled_session(options)
        return self._context(
            session, stream, after_warm_up=after_warm_up, reason_uncapturable=self._reason_uncapturable
        )

    def _reason_uncapturable(self) -> str:
        """Return that nodes run on the CPU; empty if none does."""
        nodes = self._placement.cpu_nodes if self._placement is not None else ()
        return f"{len(nodes)} nodes run on the CPU ({placement.list_nodes(nodes)})" if nodes else ""

    def _open_profiled_session(self, options: Mapping[str, str]) -> tuple[Any, Callable[[], None]]:
        """Return a session, and a call that reads from its profile where nodes ran. Call it after the first runs."""
        folder = ScratchFolder("placement")
        session = self.open_session(options, profile_prefix=str(folder.path / "profile"))

        def read_placement() -> None:
            with folder:
                events = json.loads(Path(session.end_profiling()).read_text())
            self.set_placement(placement.profiled_nodes(events))

        return session, read_placement

    def open_session(self, options: Mapping[str, str], *, profile_prefix: str = "") -> Any:
        """Return a new session whose nodes run where they may.

        Args:
            options: Options of the providers.
            profile_prefix: The start of the path of the profiler's file; empty for no profile.

        Raises:
            BackendError: See `create_context`.
            BuildError: See `create_context`.
        """
        settings = session_options(self.ort, self.threads)
        settings.add_session_config_entry(placement.RECORD_ASSIGNMENT, "1")
        if profile_prefix:
            settings.enable_profiling = True
            settings.profile_file_prefix = profile_prefix
        session = open_session(self.ort, self.plan, settings, self._providers(options))
        if placement.is_reported(self.ort):
            self.set_placement(placement.assigned_nodes(session))
        return session

    def set_placement(self, nodes: tuple[placement.PlacedNode, ...]) -> None:
        """Store which provider runs each node. Raises BuildError if a node would run on the CPU without permission."""
        on_cpu = any(node.provider == placement.CPU for node in nodes)
        # Reading a large model takes seconds, so it is read only for nodes that may compute shapes.
        self._placement = placement.Placement(nodes, placement.shape_nodes(self.plan) if on_cpu else frozenset())
        self._placement.check(self.spec.cpu_nodes)

    def _providers(self, options: Mapping[str, str]) -> Providers:
        """Return the backend's providers with their options."""
        common = {"device_id": str(self.device.ordinal), **options}
        own: Mapping[str, Mapping[str, str]] = {
            CUDA: {"use_tf32": str(int(self.spec.tf32))},
            TENSORRT: {"trt_fp16_enable": "1"} if self.spec.precision == "fp16" else {},
        }
        return [(name, {**common, **own[name]}) for name in PROVIDERS[self.backend]]

    def layers(self) -> tuple[Layer, ...]:
        """Return nothing: ONNX Runtime reports layers only in `profile`."""
        return ()

    def profile(self, inputs: Arrays, runs: int) -> tuple[Layer, ...]:
        """Return the layers with their median times over `runs` inferences; see `layer_profile.time_layers`."""
        return layer_profile.time_layers(self.backend, self.plan, self.device.ordinal, self.spec, inputs, runs)

    def memory(self, shapes: Mapping[str, Shape], contexts: int, io: int) -> Mapping[str, int]:
        """Return the device memory in bytes by name; nothing if it cannot be counted."""
        if not self.counts_memory:
            return {}
        tensors = (*self.inputs, *self.outputs)
        return memory.count_memory(self._open_waiting_context, tensors, shapes, contexts, io)

    @property
    def counts_memory(self) -> bool:
        """Whether memory can be counted: the TensorRT provider allocates by itself."""
        return PROVIDERS[self.backend][0] == CUDA

    def _open_waiting_context(self, options: Mapping[str, str], stream: cuda.Stream) -> OrtContext:
        """Return a context whose session has the provider's own stream, and waits for each run."""
        return self._context(self.open_session(options), stream, wait=True)

    def _context(self, session: Any, stream: cuda.Stream, **options: Any) -> OrtContext:
        return OrtContext(self.ort, session, self.inputs, self.outputs, self.device.ordinal, stream, **options)

    def close(self) -> None:
        """Do nothing: every context frees its session."""
