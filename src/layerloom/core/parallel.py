"""Work spread over the cores. Threads do, since OpenCV, FFmpeg and NumPy release the interpreter's lock."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

MOST_THREADS = 16
"""Each holds some frames' worth of images."""

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_threads(work: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """Results in the order of the items, of which as many are taken ahead as there are threads.

    Where the caller stops, what was not begun is left.
    """
    threads = thread_count()
    ahead: deque[Future[Result]] = deque()
    pool = ThreadPoolExecutor(threads)
    try:
        for item in items:
            ahead.append(pool.submit(work, item))
            if len(ahead) > threads:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def do_in_threads(work: Callable[[Item], object], items: Iterable[Item]) -> None:
    """Work that leaves its results where they belong."""
    for _ in in_threads(work, items):
        pass


def thread_count() -> int:
    """Cores that this process may use, up to MOST_THREADS."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return min(allowed or 1, MOST_THREADS)
