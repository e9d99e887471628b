"""Films: a video's frames by time, for layers that show one."""

import os
from bisect import bisect_right
from collections.abc import Iterator
from pathlib import Path
from threading import Lock

import numpy as np
from jaxtyping import Float32

from layerloom import media
from layerloom.edits.canvas import Ends

NEAR_FRAMES = 32
"""A frame this little ahead is reached by reading on, others by going to it."""
KEPT_FRAMES = 4 + (os.cpu_count() or 1)
"""Frames of the shot are made side by side, so that an earlier one may be asked for after a later one."""
SAME_TIME_SECONDS = 1e-3
"""Matroska rounds times to milliseconds: a frame that begins by then has begun."""


def is_timed_video(path: Path) -> bool:
    """Whether a file is taken for a video, or a folder for its frames; anything else is a picture."""
    return media.is_moving(path)


class TimedVideo:
    """A video, or a folder of images (24 a second), that starts at time 0. Several threads may ask for frames."""

    def __init__(self, path: Path, ends: Ends) -> None:
        """ends: whether it starts anew after its last frame, or holds it. LayerloomError if it cannot be read."""
        info = media.probe(path)
        self.size = info.size
        self._path, self._ends = path, ends
        self._times = [float(time) for time in info.timestamps]
        self._seconds = self._times[-1] + float(1 / info.fps)
        self._frames: Iterator[np.ndarray] = iter(())
        self._next = len(self._times)
        self._kept: dict[int, np.ndarray] = {}
        self._lock = Lock()

    def number_at(self, seconds: float) -> int:
        """The frame that is shown at a time: the last one that begins by then."""
        time = seconds + SAME_TIME_SECONDS
        return max(0, bisect_right(self._times, time % self._seconds if self._ends == "loop" else time) - 1)

    def at(self, seconds: float) -> Float32[np.ndarray, "h w 4"]:
        """Straight RGBA at a time."""
        number = self.number_at(seconds)
        with self._lock:
            if number not in self._kept:
                self._read_to(number)
            picture = self._kept[number]
        return media.to_float(picture)

    def _read_to(self, number: int) -> None:
        if not 0 <= number - self._next < NEAR_FRAMES:
            self._frames, self._next = media.read_frames(self._path, number, alpha=True), number
        while self._next <= number:
            self._kept[self._next] = next(self._frames)
            self._next += 1
        while len(self._kept) > KEPT_FRAMES:
            del self._kept[next(iter(self._kept))]
