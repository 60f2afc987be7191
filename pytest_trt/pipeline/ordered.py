"""Apply a function to a stream of items on several threads, keeping their order and bounding what waits."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def map_in_order(items: Iterable[Item], work: Callable[[Item], Result], threads: int) -> Iterator[Result]:
    """Yield `work(item)` for each item, in the order of the items, while the next items are fetched.

    At most two items per thread wait for their turn. An exception from `work` or from `items` is raised at its own
    item, after the results of the items before it. After an exception, or if the caller stops iterating, no thread is
    left running and `items` is closed.
    """
    fetch = iter(items)
    with ThreadPoolExecutor(threads, thread_name_prefix="trt-postprocess") as pool:
        waiting: deque[Future[Result]] = deque()
        failure: Exception | None = None
        try:
            while failure is None:
                try:
                    waiting.append(pool.submit(work, next(fetch)))
                except StopIteration:
                    break
                except Exception as error:  # noqa: BLE001 - raised below, after the results before it
                    failure = error
                if len(waiting) > 2 * threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
            if failure is not None:
                raise failure
        finally:
            for future in waiting:
                future.cancel()
            if isinstance(fetch, Generator):
                # A traceback would keep the generator, and everything it holds, alive as long as the traceback itself.
                fetch.close()
