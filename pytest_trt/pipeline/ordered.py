"""Work on outputs, on threads of its own, in order and bounded."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def map_in_order(items: Iterable[Item], work: Callable[[Item], Result], threads: int) -> Iterator[Result]:
    """What `work` makes of each item, in their order, while the next items are fetched.

    At most two items a thread wait. What `work` or `items` raises comes up at its own item, after those before it;
    after that, or after a `break`, nothing is left running, and `items` is closed.
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
                except Exception as error:  # noqa: BLE001 - raised below, at its turn
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
                fetch.close()  # a traceback would keep it, and what it holds, as long as it lives itself
