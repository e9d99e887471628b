"""Flow as links between frames: what another frame shows, brought to where this frame shows it."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Float32, UInt8

from layerloom.clip import FlowField
from layerloom.conventions import Size, rescale_positions


class Link(NamedTuple):
    """Where another frame shows what this frame shows: for `cv2.remap`, whose pixel centres are at whole numbers."""

    frame: int
    distance: int
    x: Float32[np.ndarray, "h w"]
    y: Float32[np.ndarray, "h w"]
    confidence: Float32[np.ndarray, "h w"]

    def bring(self, image: np.ndarray) -> np.ndarray:
        """The other frame's `image` ("h w" or "h w c"), moved to where this frame shows the same."""
        return cv2.remap(image, self.x, self.y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)

    def within(self, window: tuple[slice, slice]) -> "Link":
        """The link of a part of this frame."""
        return Link(self.frame, self.distance, self.x[window], self.y[window], self.confidence[window])


def links_of(frame: int, flow: Sequence[FlowField], size: Size) -> Iterator[Link]:
    """All frames that the flow connects `frame` with, before and after it, at `size`; confidence in [0, 1]."""
    for field in flow:
        pairs = len(field.forward)
        if frame < pairs:
            yield _link(frame + field.step, field.step, field.forward[frame], field.forward_confidence[frame], size)
        if 0 <= (before := frame - field.step) < pairs:
            yield _link(before, field.step, field.backward[before], field.backward_confidence[before], size)


def _link(frame: int, distance: int, vectors: np.ndarray, confidence: UInt8[np.ndarray, "h0 w0"], size: Size) -> Link:
    field_size = (vectors.shape[1], vectors.shape[0])
    sureness = confidence.astype(np.float32) / 255
    if field_size != size:
        vectors = rescale_positions(cv2.resize(vectors.astype(np.float32), size), field_size, size)
        sureness = cv2.resize(sureness, size)
    x = np.arange(size[0], dtype=np.float32) + vectors[..., 0]
    y = np.arange(size[1], dtype=np.float32)[:, None] + vectors[..., 1]
    return Link(frame, distance, x, y, sureness)
