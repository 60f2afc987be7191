"""Work on results while the next are made: in order, bounded, and gone when nobody asks any more."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

T = TypeVar("T")


def in_order(results: Generator[T, None, None], work: Callable[[T], Any], threads: int) -> Generator[Any, None, None]:
    """What `work` makes of each of `results`, in their order, on that many threads; two items a thread wait at most.

    What `work` or `results` raises is raised at its own item, after the items before it.
    """
    waiting: deque[Future[Any]] = deque()
    failure: BaseException | None = None
    pool = ThreadPoolExecutor(threads, thread_name_prefix="trt-postprocess")
    try:
        while failure is None:
            try:
                waiting.append(pool.submit(work, next(results)))
            except StopIteration:
                break
            except Exception as error:  # noqa: BLE001 - raised below, at its turn
                failure = error
            if len(waiting) > 2 * threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
        if failure is not None:
            raise failure
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
        results.close()
