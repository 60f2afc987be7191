"""Work that is prepared once and run many times: CUDA graphs on the device, lists of calls on the host."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pytest_trt.engine.backends.cuda.driver import call, check_status, runtime
from pytest_trt.engine.backends.cuda.streams import Event, Stream


class Graph:
    """A CUDA graph, captured from a stream in thread-local mode.

    An exception from `work` is passed on.

    Args:
        stream: The stream to capture.
        work: Enqueues the work in `stream`.

    Attributes:
        nodes: The number of the graph's nodes; 0 if `work` enqueued nothing in `stream`.
        executable: The instantiated graph; None if it has no nodes, and after `close`.

    Raises:
        BackendError: The work cannot be captured.
    """

    def __init__(self, stream: Stream, work: Callable[[], None]) -> None:
        self._graph: Any = None
        self.executable: Any = None
        self._runtime = runtime()
        try:
            self._capture(stream, work)
            self.nodes = int(call("cudaGraphGetNodes", self._graph, 0)[-1])
            if self.nodes:
                self.executable = call("cudaGraphInstantiate", self._graph, 0)
                check_status(self._runtime.cudaGraphUpload(self.executable, stream.native)[0], "cudaGraphUpload")
        except BaseException:
            self.close()
            raise

    def _capture(self, stream: Stream, work: Callable[[], None]) -> None:
        mode = self._runtime.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        call("cudaStreamBeginCapture", stream.native, mode)
        try:
            work()
        finally:
            status, self._graph = self._runtime.cudaStreamEndCapture(stream.native)
            self._runtime.cudaGetLastError()  # A failed capture would otherwise leave its error to the next call.
        check_status(status, "cudaStreamEndCapture")

    @property
    def fault(self) -> str:
        """Why the graph cannot stand for the work; empty if it can."""
        return "" if self.nodes else "the captured graph is empty: its work was enqueued on another device or stream"

    def host_work(self) -> tuple[str, ...]:
        """Return the kinds of the nodes that use the host: functions, and copies from and to host memory."""
        kinds, nodes = self._runtime.cudaGraphNodeType, call("cudaGraphGetNodes", self._graph, self.nodes)[0]
        found = set[str]()
        for node in nodes:
            kind = call("cudaGraphNodeGetType", node)
            if kind == kinds.cudaGraphNodeTypeHost:
                found.add("a function on the host")
            elif kind == kinds.cudaGraphNodeTypeMemcpy and not self._is_within_device(node):
                found.add("a copy from or to the host")
        return tuple(sorted(found))

    def _is_within_device(self, node: Any) -> bool:
        """Return whether a copy in the graph is from device memory to device memory."""
        copy = call("cudaGraphMemcpyNodeGetParams", node)
        on_device = self._runtime.cudaMemoryType.cudaMemoryTypeDevice
        addresses = (int(copy.srcPtr.ptr), int(copy.dstPtr.ptr))
        return all(call("cudaPointerGetAttributes", address).type == on_device for address in addresses)

    def launch(self, stream: Stream) -> None:
        """Enqueue the graph in a stream."""
        (status,) = self._runtime.cudaGraphLaunch(self.executable, stream.native)
        if status:
            check_status(status, "cudaGraphLaunch")

    def close(self) -> None:
        """Destroy the graph."""
        executable, self.executable = self.executable, None
        graph, self._graph = self._graph, None
        if executable is not None:
            runtime().cudaGraphExecDestroy(executable)
        if graph is not None and int(graph):
            runtime().cudaGraphDestroy(graph)


class Commands:
    """A list of runtime calls that is prepared once and run many times, by a loop with as little Python as possible.

    Attributes:
        calls: The functions and their arguments, in order; each function returns a tuple of its status.
    """

    def __init__(self) -> None:
        self.calls: list[tuple[Callable[..., Any], tuple[Any, ...]]] = []
        self._runtime = runtime()

    def wait(self, stream: Stream, event: Event) -> None:
        """Append cudaStreamWaitEvent: the stream waits for the event."""
        self.calls.append((self._runtime.cudaStreamWaitEvent, (stream.native, event.native, 0)))

    def record(self, event: Event, stream: Stream) -> None:
        """Append cudaEventRecord: the event happens when the stream reaches it."""
        self.calls.append((self._runtime.cudaEventRecord, (event.native, stream.native)))

    def copy(self, stream: Stream, to: int, source: int, nbytes: int) -> None:
        """Append cudaMemcpyAsync: copy `nbytes` between any two addresses of the host or the device."""
        kind = self._runtime.cudaMemcpyKind.cudaMemcpyDefault
        self.calls.append((self._runtime.cudaMemcpyAsync, (to, source, nbytes, kind, stream.native)))

    def launch(self, graph: Graph, stream: Stream) -> None:
        """Append cudaGraphLaunch: enqueue the graph in the stream."""
        self.calls.append((self._runtime.cudaGraphLaunch, (graph.executable, stream.native)))

    def extend(self, others: Commands) -> None:
        """Append the calls of another list."""
        self.calls.extend(others.calls)

    def call(self, work: Callable[[], None]) -> None:
        """Append any other function that enqueues work; it raises an exception if it fails."""
        success = (self._runtime.cudaError_t.cudaSuccess,)

        def call_work() -> tuple[Any]:
            work()
            return success

        self.calls.append((call_work, ()))

    def run(self) -> None:
        """Run all calls in order. Raises BackendError at the first call that fails."""
        for function, arguments in self.calls:
            (status,) = function(*arguments)
            if status:
                check_status(status, function.__name__)
