"""Work spread over the cores. Threads do, since OpenCV, FFmpeg and NumPy release the interpreter's lock."""

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Event
from typing import Generic, TypeVar

MOST_THREADS = 16
"""Each holds some frames' worth of images."""

_limits = [MOST_THREADS]

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_threads(work: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """Results in the order of the items, of which at most as many are taken ahead as there are threads: while the next
    result is being worked on.

    Where the caller stops, what was not begun is left.
    """
    threads = thread_count()
    ahead: deque[Future[Result]] = deque()
    pool = ThreadPoolExecutor(threads)
    try:
        for item in items:
            ahead.append(pool.submit(work, item))
            if len(ahead) > threads or ahead[0].done():
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def do_in_threads(work: Callable[[Item], object], items: Iterable[Item]) -> None:
    """Work that leaves its results where they belong."""
    for _ in in_threads(work, items):
        pass


def read_ahead(items: Generator[Item], most: int) -> Generator[Item]:
    """The items in their order, made by a thread of its own, which is at most so many of them ahead.

    An error of theirs is raised in its place. Where the caller stops, so does the thread after the item that it is at,
    and the items are closed.
    """
    pool = ThreadPoolExecutor(1)
    nothing = object()
    ahead = deque(pool.submit(next, items, nothing) for _ in range(most))
    try:
        while (item := ahead.popleft().result()) is not nothing:
            ahead.append(pool.submit(next, items, nothing))
            yield item  # pyright: ignore[reportReturnType]
    finally:
        pool.shutdown(cancel_futures=True)
        items.close()


class Hand(Generic[Item]):
    """Does work on what is put into it, in threads of its own; with one thread, in order.

    Who puts goes on meanwhile, and waits only where `most` items wait already. An error of the work is raised where the
    next item is put, or by `finish`; then nothing more is begun. `close` ends the threads, in any case.
    """

    def __init__(self, work: Callable[[Item], object], most: int, threads: int = 1) -> None:
        self._work, self._most = work, most
        self._pool = ThreadPoolExecutor(threads)
        self._waiting: deque[Future[None]] = deque()
        self._failed = Event()

    def put(self, item: Item) -> None:
        """Hand over an item, which must not change any more."""
        while self._waiting and (self._waiting[0].done() or len(self._waiting) >= self._most):
            self._waiting.popleft().result()
        self._waiting.append(self._pool.submit(self._do, item))

    def finish(self) -> None:
        """Wait until all of it is done."""
        while self._waiting:
            self._waiting.popleft().result()

    def close(self) -> None:
        """Wait for what was begun, leave the rest; then all threads are gone."""
        self._failed.set()
        self._pool.shutdown(cancel_futures=True)

    def _do(self, item: Item) -> None:
        if self._failed.is_set():
            return
        try:
            self._work(item)
        except BaseException:
            self._failed.set()
            raise


def thread_count() -> int:
    """Cores that this process may use, up to MOST_THREADS."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return min(allowed or 1, _limits[0])


def limit_threads(count: int) -> None:
    """Let this process use no more than `count` of its cores from now on, where others work beside it."""
    _limits[0] = min(count, MOST_THREADS)
