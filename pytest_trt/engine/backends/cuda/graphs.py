"""Work that is put together once and given again: by the device as a graph, by the host as a list of calls."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pytest_trt.engine.backends.cuda.driver import call, check_status, runtime
from pytest_trt.engine.backends.cuda.streams import Event, Stream


class Graph:
    """Work that was captured from a stream once and is launched as one."""

    def __init__(self, stream: Stream, work: Callable[[], None]) -> None:
        """Capture what `work` puts into `stream`, in thread-local mode. `nodes` says how many nodes that was: none
        where the work went elsewhere. Raises BackendError where it cannot be captured; what `work` raises goes
        through."""
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
            self._runtime.cudaGetLastError()  # a failed capture leaves its error behind for the next call
        check_status(status, "cudaStreamEndCapture")

    def launch(self, stream: Stream) -> None:
        (status,) = self._runtime.cudaGraphLaunch(self.executable, stream.native)
        if status:
            check_status(status, "cudaGraphLaunch")

    def close(self) -> None:
        executable, self.executable = self.executable, None
        graph, self._graph = self._graph, None
        if executable is not None:
            runtime().cudaGraphExecDestroy(executable)
        if graph is not None and int(graph):
            runtime().cudaGraphDestroy(graph)


class Commands:
    """Device work, put together once and given again and again: in between stands no Python but one loop."""

    def __init__(self) -> None:
        self.calls: list[tuple[Callable[..., Any], tuple[Any, ...]]] = []
        self._runtime = runtime()

    def wait(self, stream: Stream, event: Event) -> None:
        self.calls.append((self._runtime.cudaStreamWaitEvent, (stream.native, event.native, 0)))

    def record(self, event: Event, stream: Stream) -> None:
        self.calls.append((self._runtime.cudaEventRecord, (event.native, stream.native)))

    def copy(self, stream: Stream, to: int, source: int, nbytes: int) -> None:
        kind = self._runtime.cudaMemcpyKind.cudaMemcpyDefault
        self.calls.append((self._runtime.cudaMemcpyAsync, (to, source, nbytes, kind, stream.native)))

    def launch(self, graph: Graph, stream: Stream) -> None:
        self.calls.append((self._runtime.cudaGraphLaunch, (graph.executable, stream.native)))

    def extend(self, others: Commands) -> None:
        self.calls.extend(others.calls)

    def call(self, work: Callable[[], None]) -> None:
        """Anything else that puts work into a stream."""
        success = (self._runtime.cudaError_t.cudaSuccess,)

        def done() -> tuple[Any]:
            work()
            return success

        self.calls.append((done, ()))

    def run(self) -> None:
        """Give all of it. Raises BackendError at the first call that fails."""
        for function, arguments in self.calls:
            (status,) = function(*arguments)
            if status:
                check_status(status, function.__name__)
