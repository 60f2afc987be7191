"""Slow an engine down by a known time: `pytest-trt selftest` checks that the judge notices it."""

from __future__ import annotations

import time
from collections.abc import Callable

from pytest_trt.engine.backends import cuda

_FILL_BYTES = 64 << 10
"""The size of a fill: about 2 us on a fast GPU. Larger fills would evict the engine's data from the L2 cache."""

_GRAPH_FILLS = 128
"""The fills of a whole graph. They run for longer than the host needs to launch the next graph."""

_CALIBRATION_LAUNCHES = 8


def delayed(call: Callable[[], None], delay_ms: float) -> Callable[[], None]:
    """Return a call that ends `delay_ms` later than `call`: the host spins. Without a delay, return `call` itself."""
    if not delay_ms:
        return call
    clock, delay_ns = time.perf_counter_ns, int(delay_ms * 1e6)

    def slower() -> None:
        call()
        end = clock() + delay_ns
        while clock() < end:
            pass

    return slower


class StreamDelay:
    """Work in a stream that takes about `delay_ms`: fills of device memory, one after another.

    The fills are captured in graphs. In an idle stream, single fills would take as long as the host needs to launch
    them, but less behind an engine, where they wait in the queue.

    Args:
        stream: The stream. It must be idle.
        delay_ms: How long the work should take, above 0.

    Attributes:
        ms: How long the work takes, from fills that were timed.

    Raises:
        BackendError: There is not enough memory.
    """

    def __init__(self, stream: cuda.Stream, delay_ms: float) -> None:
        self._stream = stream
        self._buffer = cuda.DeviceBuffer(_FILL_BYTES)
        self._graphs: list[cuda.Graph] = []
        try:
            whole = self._capture(_GRAPH_FILLS)
            fill_ms = self._time_ms(whole) / _GRAPH_FILLS
            fills = max(1, round(delay_ms / fill_ms))
            self._launches = [whole] * (fills // _GRAPH_FILLS)
            if rest := fills % _GRAPH_FILLS:
                self._launches.append(self._capture(rest))
        except BaseException:
            self.close()
            raise
        self.ms = fills * fill_ms

    def _capture(self, fills: int) -> cuda.Graph:
        def enqueue_fills() -> None:
            for _ in range(fills):
                self._stream.fill(self._buffer.address, _FILL_BYTES)

        self._graphs.append(cuda.Graph(self._stream, enqueue_fills))
        return self._graphs[-1]

    def _time_ms(self, graph: cuda.Graph) -> float:
        """Return how long a graph takes in ms, from launches that wait in the queue."""
        began, ended = cuda.Event(), cuda.Event()
        try:
            graph.launch(self._stream)
            began.record(self._stream)
            for _ in range(_CALIBRATION_LAUNCHES):
                graph.launch(self._stream)
            ended.record(self._stream)
            self._stream.synchronize()
            return ended.ms_since(began) / _CALIBRATION_LAUNCHES
        finally:
            began.close()
            ended.close()

    def enqueue(self) -> None:
        """Enqueue the work in the stream."""
        for graph in self._launches:
            graph.launch(self._stream)

    def close(self) -> None:
        """Free the graphs and the memory."""
        while self._graphs:
            self._graphs.pop().close()
        self._buffer.close()
