"""Slow an engine down by a known time: `pytest-trt selftest` checks that the judge notices it."""

from __future__ import annotations

import time
from collections.abc import Callable

from pytest_trt.engine.backends import cuda

_SIZES = (64 << 10, 4 << 20, 256 << 20)
"""The sizes of a fill in bytes, from about 2 us on a fast GPU to about 0.1 ms."""

_MOST_FILLS = 256
"""The number of fills of one delay from which larger fills are used."""

_CALIBRATION_FILLS = 64


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

    Args:
        stream: The stream. It must be idle.
        delay_ms: How long the work should take, above 0.

    Attributes:
        ms: How long the work takes, from fills that were timed.
    """

    def __init__(self, stream: cuda.Stream, delay_ms: float) -> None:
        self._stream = stream
        for nbytes in _SIZES:
            self._buffer = cuda.DeviceBuffer(nbytes)
            fill_ms = self._fill_ms()
            self._fills = max(1, round(delay_ms / fill_ms))
            if self._fills <= _MOST_FILLS or nbytes == _SIZES[-1]:
                break
            self._buffer.close()
        self.ms = self._fills * fill_ms

    def _fill_ms(self) -> float:
        began, ended = cuda.Event(), cuda.Event()
        try:
            for number in range(2 * _CALIBRATION_FILLS):
                if number == _CALIBRATION_FILLS:
                    began.record(self._stream)
                self._stream.fill(self._buffer.address, self._buffer.nbytes)
            ended.record(self._stream)
            self._stream.synchronize()
            return max(ended.ms_since(began) / _CALIBRATION_FILLS, 1e-6)
        finally:
            began.close()
            ended.close()

    def enqueue(self) -> None:
        """Enqueue the work in the stream."""
        for _ in range(self._fills):
            self._stream.fill(self._buffer.address, self._buffer.nbytes)

    def close(self) -> None:
        """Free the memory."""
        self._buffer.close()
