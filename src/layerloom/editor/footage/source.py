"""Footage that is opened: its facts, its pictures at their own size, and all frames small, as objects are followed."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
from jaxtyping import UInt8

from layerloom import media
from layerloom.core.errors import LayerloomError
from layerloom.core.geometry import Size, fit_long_edge
from layerloom.prepare.select.footage import WORK_LONG_EDGE
from layerloom.render.footage import Footage

MASK_LONG_EDGE = 960
BYTES_A_PIXEL = 60
"""Of memory, a pixel and frame at the size that objects are followed at: the frames, flow both ways, evidence."""


@dataclass(frozen=True)
class FootageChoice:
    """What is to be opened. frames: a part of the source, half-open; None stands for its beginning or end."""

    path: Path
    reading: media.ReadOptions | None = None
    frames: tuple[int | None, int | None] = (None, None)


class OpenedFootage:
    """Threads may share it."""

    def __init__(self, choice: FootageChoice) -> None:
        """LayerloomError for what cannot be read, or holds no two frames."""
        self.info = info = media.probe(choice.path, choice.reading)
        media.check_several_frames(info)
        first, end = choice.frames[0] or 0, info.frames if choice.frames[1] is None else choice.frames[1]
        if not 0 <= first < end - 1 < info.frames:
            raise LayerloomError(
                f"frames {first}:{end}: {info.path} holds frames 0:{info.frames}, and 2 are needed", "frames"
            )
        self.frames = range(first, end)
        self._pictures = Footage(self._read, self.frames)

    @property
    def size(self) -> Size:
        return self.info.size

    @property
    def mask_size(self) -> Size:
        return fit_long_edge(self.size, MASK_LONG_EDGE)

    @property
    def seconds(self) -> list[float]:
        """When each frame is shown, after the first."""
        stamps = self.info.timestamps[self.frames.start : self.frames.stop]
        return [float(stamp - stamps[0]) for stamp in stamps]

    def picture(self, index: int) -> np.ndarray:
        """A frame at its own size, counted from the first that is opened: h w 3, uint8 or uint16."""
        return self._pictures.picture(index)

    def read_small(self, tell: Callable[[float], None]) -> UInt8[np.ndarray, "t h w 3"]:
        """All frames at the size that objects are followed at. tell: takes the share done.

        LayerloomError where a frame cannot be read, or the memory will not do.
        """
        size = fit_long_edge(self.size, WORK_LONG_EDGE)
        needed, available = BYTES_A_PIXEL * size[0] * size[1] * len(self.frames), psutil.virtual_memory().available
        if needed > available:
            raise LayerloomError(
                f"{len(self.frames)} frames need about {needed / 2**30:.1f} GiB of memory to be followed, "
                f"{available / 2**30:.1f} GiB are free; open fewer frames",
                "frames",
            )
        images = np.empty((len(self.frames), size[1], size[0], 3), np.uint8)
        options = self.info.description.options
        pictures = media.read_frames(self.info.path, self.frames.start, self.frames.stop, size, options=options)
        for index, picture in enumerate(pictures):
            images[index] = picture if picture.dtype == np.uint8 else media.quantise(media.to_float(picture), 8)
            tell((index + 1) / len(images))
        return images

    def _read(self, frames: range) -> Iterator[np.ndarray]:
        options = self.info.description.options
        return media.read_frames(self.info.path, frames.start, frames.stop, options=options)
