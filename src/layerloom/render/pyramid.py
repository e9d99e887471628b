"""Pyramids: images on a canvas, with copies that are halved again and again (Williams, "Pyramidal Parametrics", 1983).

Texel (i, j) of the copy halved n times covers the 2ⁿ × 2ⁿ texels of the canvas from (2ⁿ i, 2ⁿ j) on, wherever the image
lies: so the same texels are averaged in all images of a canvas, and what is seen of an edit in a small view does not
depend on where its patch begins, that is on other edits.
"""

from dataclasses import dataclass
from threading import Lock

import cv2
import numpy as np
from jaxtyping import Float32

from layerloom.core.geometry import Size

FINEST_TEXELS_PER_PIXEL = 1.75
"""Of a copy of an image: a pixel that covers more looks at a copy that is halved once more, in part or whole, …"""
BILINEAR_TEXELS_PER_PIXEL = 2.6
"""… but the full image alone serves up to here: textures have two texels per pixel where the layer is seen largest.
Above, what it lacks is made up for until FINEST_TEXELS_PER_PIXEL of the first halved copy are reached. Below 2.625, so
that one probe is enough."""
HALVINGS_PER_TEXEL = 1 / (2 * FINEST_TEXELS_PER_PIXEL - BILINEAR_TEXELS_PER_PIXEL)
MOST_PROBES = 8
FAR = 1e9
"""Texels farther away than any canvas reaches."""

Texels = Float32[np.ndarray, "rows columns 4"]
Wide = Float32[np.ndarray, "wide_rows wide_columns 4"]


@dataclass(frozen=True, eq=False)
class Level:
    """A copy. texels: with a ring of one around it that holds what lies beyond. side: texels of the canvas that one of
    its covers, each way. left, top: texels of the canvas at which the first one inside the ring begins."""

    texels: Texels
    left: int
    top: int
    side: int


class Pyramid:
    """RGB and a fourth value on a part of a canvas, with smaller copies. Threads may share it.

    left, top: texels of the part's corner on the canvas. size: of the part. Beyond the part it is zero, but where the
    part ends with the canvas: there its border goes on.
    """

    def __init__(self, image: Float32[np.ndarray, "h w 4"], left: int, top: int, canvas: Size) -> None:
        self.left, self.top = left, top
        self.size: Size = (image.shape[1], image.shape[0])
        self._image, self._canvas = image, canvas
        self._levels: tuple[Level, ...] = ()
        self._lock = Lock()

    @property
    def reach(self) -> tuple[float, float, float, float]:
        """Texels of the canvas between which it is something: left, top, right, bottom."""
        sides = (float(self.left), float(self.top), float(self.left + self.size[0]), float(self.top + self.size[1]))
        far = (-FAR, -FAR, FAR, FAR)
        left, top, right, bottom = (s if end else f for s, end, f in zip(sides, self._ends, far, strict=True))
        return left, top, right, bottom

    @property
    def levels(self) -> tuple[Level, ...]:
        """From the full size on, as many as it takes to halve the canvas to a single texel."""
        with self._lock:
            if not self._levels:
                self._levels = tuple(self._make_levels())
            return self._levels

    @property
    def _ends(self) -> tuple[bool, bool, bool, bool]:
        """Whether it is zero beyond its left, top, right and bottom side."""
        right, bottom = self.left + self.size[0], self.top + self.size[1]
        return self.left > 0, self.top > 0, right < self._canvas[0], bottom < self._canvas[1]

    def _make_levels(self) -> list[Level]:
        image, left, top = self._image, self.left, self.top
        levels = [Level(self._ringed(image), left, top, 1)]
        for number in range(1, max(self._canvas).bit_length()):
            height, width = image.shape[:2]
            # To whole blocks of two by two of the canvas' copy.
            before = left % 2, top % 2
            after = (left + width) % 2, (top + height) % 2
            image = self._widened(image, (*before, *after))
            left, top = left // 2, top // 2
            image = cv2.resize(image, (image.shape[1] // 2, image.shape[0] // 2), interpolation=cv2.INTER_AREA)
            levels.append(Level(self._ringed(image), left * 2**number, top * 2**number, 2**number))
        return levels

    def _ringed(self, image: Texels) -> Wide:
        return self._widened(image, (1, 1, 1, 1))

    def _widened(self, image: Texels, by: tuple[int, int, int, int]) -> Wide:
        """With more texels at its left, top, right and bottom side: what lies beyond it."""
        if not any(by):
            return image
        left, top, right, bottom = by
        wide = cv2.copyMakeBorder(image, top, bottom, left, right, cv2.BORDER_REPLICATE)
        ends = [width if end else 0 for width, end in zip(by, self._ends, strict=True)]
        rows, columns = wide.shape[:2]
        wide[:, : ends[0]] = 0
        wide[: ends[1]] = 0
        wide[:, columns - ends[2] :] = 0
        wide[rows - ends[3] :] = 0
        return wide
