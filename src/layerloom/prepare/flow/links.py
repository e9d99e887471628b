"""Flow as links between frames: what another frame shows, brought to where this frame shows it."""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Float32, UInt8

from layerloom.core.geometry import Size, rescale_positions
from layerloom.core.imaging import resize, warp
from layerloom.data.clip import FlowField

AROUND_PIXELS = (5, 10, 20)
"""Flow is tried from this far off in eight directions: as far as it swells over outlines, or loses limbs."""
ALIKE = 6.0
"""Distance in 8-bit Lab colours that noise and light explain."""
NEARER = 4.0
"""Squared distance in colour by which flow from farther off has to be better."""


class Link(NamedTuple):
    """Where another frame shows what this frame shows: as `warp` counts: pixel centres are at whole numbers."""

    frame: int
    distance: int
    x: Float32[np.ndarray, "h w"]
    y: Float32[np.ndarray, "h w"]
    confidence: Float32[np.ndarray, "h w"]

    def bring(self, image: np.ndarray) -> np.ndarray:
        """The other frame's `image` ("h w" or "h w c"), moved to where this frame shows the same."""
        return warp(image, self.x, self.y)

    def within(self, window: tuple[slice, slice]) -> "Link":
        """The link of a part of this frame."""
        return Link(self.frame, self.distance, self.x[window], self.y[window], self.confidence[window])

    def led_by_appearance(self, here: UInt8[np.ndarray, "h w 3"], there: UInt8[np.ndarray, "h0 w0 3"]) -> "Link":
        """Where each pixel's neighbourhood looks most like itself, by the flow at the pixel or at one of those around.

        Flow blurs over outlines and loses limbs; a few pixels away there mostly is some that is right (propagation as
        in PatchMatch, Barnes et al. 2009). `here` and `there` are both frames' 8-bit Lab colours. Confidence becomes
        how alike they are: 1 if they are the same, a quarter at a root mean square of `ALIKE`.
        """
        best = self._unlikeness(here, there)
        x, y = self.x.copy(), self.y.copy()
        for radius in AROUND_PIXELS:
            for eighth in range(8):
                across, down = (round(radius * turn(eighth * math.pi / 4)) for turn in (math.cos, math.sin))
                other = self._by_flow_at(across, down)
                unlikeness = other._unlikeness(here, there)
                better = unlikeness < best - NEARER
                for mine, its in ((best, unlikeness), (x, other.x), (y, other.y)):
                    np.copyto(mine, its, where=better)
        return Link(self.frame, self.distance, x, y, (1 + best / ALIKE**2) ** -2)

    def _by_flow_at(self, across: int, down: int) -> "Link":
        """The link by the flow that is found so many pixels to the right and down."""
        way = np.array([[1, 0, across], [0, 1, down]], np.float32)
        flags, border = cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP, cv2.BORDER_REPLICATE
        x, y = (cv2.warpAffine(map_, way, self.x.shape[::-1], flags=flags, borderMode=border) for map_ in self[2:4])
        return self._replace(x=x - across, y=y - down)

    def _unlikeness(self, here: np.ndarray, there: np.ndarray) -> Float32[np.ndarray, "h w"]:
        """Squared distance in colour, the mean over 3 × 3 pixels."""
        off = cv2.absdiff(self.bring(there), here).astype(np.float32)
        return cv2.blur(cv2.transform(off * off, np.ones((1, 3), np.float32)), (3, 3))


def links_of(
    frame: int, flow: Sequence[FlowField], size: Size, wanted: Callable[[int], bool] = lambda other: True
) -> Iterator[Link]:
    """All (wanted) frames that the flow connects `frame` with, before and after it, at `size`; confidence in [0, 1]."""
    for field in flow:
        pairs = len(field.forward)
        if frame < pairs and wanted(frame + field.step):
            yield _link(frame + field.step, field.step, field.forward[frame], field.forward_confidence[frame], size)
        if 0 <= (before := frame - field.step) < pairs and wanted(before):
            yield _link(before, field.step, field.backward[before], field.backward_confidence[before], size)


def _link(frame: int, distance: int, vectors: np.ndarray, confidence: UInt8[np.ndarray, "h0 w0"], size: Size) -> Link:
    field_size = (vectors.shape[1], vectors.shape[0])
    sureness = confidence.astype(np.float32) / 255
    if field_size != size:
        vectors, sureness = rescale_positions(resize(vectors, size), field_size, size), resize(sureness, size)
    x = np.arange(size[0], dtype=np.float32) + vectors[..., 0]
    y = np.arange(size[1], dtype=np.float32)[:, None] + vectors[..., 1]
    return Link(frame, distance, x, y, sureness)
