"""The source's pictures that shots need: decoded once, in the order in which they are asked for, a few of them kept."""

from collections.abc import Callable, Iterator
from threading import Lock

import numpy as np

from layerloom.core.parallel import thread_count

NEAR_FRAMES = 8
"""A picture this little ahead is reached by reading on, others by going to it."""
READ_AHEAD = 3
"""Shots whose pictures are read before they are drawn."""
KEPT_PICTURES = 10


class Footage:
    """Threads may share it; one decodes at a time."""

    def __init__(self, read: Callable[[range], Iterator[np.ndarray]], frames: range) -> None:
        """read: the pictures of some frames of the source, in their order. frames: those of the source to be shown."""
        self._read, self._all = read, frames
        self._frames: Iterator[np.ndarray] = iter(())
        self._next = -1
        self._recent: dict[int, np.ndarray] = {}
        # As many frames are drawn at once, by each of several streams that go side by side.
        self._most = KEPT_PICTURES + thread_count() + READ_AHEAD
        self._lock = Lock()

    def picture(self, frame: int) -> np.ndarray:
        """The picture of one of the frames, counted from the first: h w 3, uint8 or uint16; not to be written to.

        LayerloomError if the source is gone or has changed.
        """
        with self._lock:
            if frame not in self._recent:
                self._read_to(frame)
            picture = self._recent[frame] = self._recent.pop(frame)
            while len(self._recent) > self._most:
                del self._recent[next(iter(self._recent))]
            return picture

    def _read_to(self, frame: int) -> None:
        if not 0 <= frame - self._next < NEAR_FRAMES or self._next < 0:
            # Before what was read: the shot may run backwards.
            start = max(0, frame - NEAR_FRAMES + 1) if frame < self._next else frame
            self._frames, self._next = self._read(self._all[start:]), start
        while self._next <= frame:
            self._recent[self._next] = next(self._frames)
            self._next += 1
