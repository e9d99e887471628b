"""Hints of one object in one frame, checked against the frame and drawn at the size that masks are made at."""

from collections.abc import Sequence
from dataclasses import dataclass
from operator import attrgetter

import cv2
import numpy as np
from jaxtyping import Bool, Float32, Int8

from layerloom.core.errors import LayerloomError
from layerloom.core.geometry import Size, rescale_positions
from layerloom.core.imaging import resize
from layerloom.data.selection import Hint
from layerloom.media import read_grey

_POINTS = (attrgetter("include"), attrgetter("exclude"))

Rectangle = tuple[float, float, float, float]
"""(left, top, right, bottom) in pixels."""


@dataclass(frozen=True)
class FrameHints:
    """What is known of an object in a frame.

    box: what the object reaches to, and does not leave. pinned: 1 where it surely is, −1 where it surely is not, else
    0. mask: the whole of it, as given. absent: it is not to be seen.
    """

    pinned: Int8[np.ndarray, "h w"]
    box: Rectangle | None = None
    mask: Bool[np.ndarray, "h w"] | None = None
    absent: bool = False

    @property
    def is_whole(self) -> bool:
        """Whether they tell where the object is, or that it is not there, without other frames' help."""
        return self.absent or self.box is not None or self.mask is not None

    @property
    def size(self) -> Size:
        return self.pinned.shape[1], self.pinned.shape[0]


def draw_hints(name: str, hints: Sequence[Hint], source: Size, size: Size) -> FrameHints:
    """The hints that an object has in one frame, of which there is at least one, drawn at `size`.

    source: size of the footage, whose pixels hints are in. Raises LayerloomError for places outside of the frame,
    points that contradict each other, a mask of another shape or an empty one.
    """
    where = f"'{name}', frame {hints[0].frame}"
    if any(hint.absent for hint in hints):
        return FrameHints(np.zeros(size[::-1], np.int8), absent=True)
    boxes = [_box(where, hint.box, source, size) for hint in hints if hint.box is not None]
    pinned = _pinned(where, hints, source, size)
    mask = _mask(where, hints, source, size)
    if mask is not None:
        mask = (mask | (pinned > 0)) & (pinned >= 0)
    return FrameHints(pinned, _around(boxes, pinned) if boxes else None, mask)


def _box(where: str, box: Rectangle, source: Size, size: Size) -> Rectangle:
    """The part of it that lies in the frame."""
    left, top, width, height = box
    corners = np.array([[left, top], [left + width, top + height]])
    inside = np.clip(corners, 0, source)
    if (inside[1] <= inside[0]).any():
        text = ",".join(f"{value:g}" for value in box)
        raise LayerloomError(f"{where}: the box {text} lies outside of the frame, which is {source[0]}x{source[1]}")
    (left, top), (right, bottom) = rescale_positions(inside, source, size).tolist()
    return left, top, right, bottom


def _around(boxes: Sequence[Rectangle], pinned: Int8[np.ndarray, "h w"]) -> Rectangle:
    """Around all boxes, and around the points that are said to be the object's."""
    corners = np.array(boxes)
    low, high = corners[:, :2].min(0), corners[:, 2:].max(0)
    rows, columns = np.nonzero(pinned > 0)
    if len(rows):
        low = np.minimum(low, (columns.min(), rows.min()))
        high = np.maximum(high, (columns.max() + 1, rows.max() + 1))
    return float(low[0]), float(low[1]), float(high[0]), float(high[1])


def _pinned(where: str, hints: Sequence[Hint], source: Size, size: Size) -> Int8[np.ndarray, "h w"]:
    """Dots around the points; where two of them overlap, each keeps what is nearer to its point."""
    included, excluded = ({(int(x), int(y)) for hint in hints for x, y in points(hint)} for points in _POINTS)
    for x, y in included & excluded:
        raise LayerloomError(f"{where}: the point {x},{y} is said to be both inside and outside of the object")
    nearest: list[Float32[np.ndarray, "h w"]] = []
    for points in _POINTS:
        distances = np.full(size[::-1], np.inf, np.float32)
        for hint in hints:
            for point in points(hint):
                _check_inside(where, point, source)
                np.minimum(distances, _dot(point, hint.radius, source, size), out=distances)
        nearest.append(distances)
    inside, outside = nearest
    return (inside < outside).astype(np.int8) - (outside < inside).astype(np.int8)


def _check_inside(where: str, point: tuple[float, float], source: Size) -> None:
    if not (0 <= point[0] <= source[0] and 0 <= point[1] <= source[1]):
        raise LayerloomError(
            f"{where}: the point {point[0]:g},{point[1]:g} lies outside of the frame, which is {source[0]}x{source[1]}"
        )


def _dot(point: tuple[float, float], radius: float, source: Size, size: Size) -> Float32[np.ndarray, "h w"]:
    """Distance from the point within its dot, infinite beyond it. A dot has one pixel at least."""
    scale = size[0] / source[0]
    x, y = rescale_positions(np.array([point]), source, size)[0]
    distance = np.full(size[::-1], np.inf, np.float32)
    row, column = min(int(y), size[1] - 1), min(int(x), size[0] - 1)
    reach = int(np.ceil(radius * scale)) + 1
    part = slice(max(row - reach, 0), row + reach + 1), slice(max(column - reach, 0), column + reach + 1)
    rows, columns = np.mgrid[part]
    off = np.hypot(rows + 0.5 - y, columns + 0.5 - x).astype(np.float32)
    distance[part] = np.where(off <= radius * scale, off, np.inf)
    distance[row, column] = np.hypot(row + 0.5 - y, column + 0.5 - x)
    return distance


def _mask(where: str, hints: Sequence[Hint], source: Size, size: Size) -> Bool[np.ndarray, "h w"] | None:
    """Whatever masks there are, together."""
    found: Bool[np.ndarray, "h w"] | None = None
    for hint in hints:
        if hint.mask is None:
            continue
        mask = read_grey(hint.mask)
        if (mask.shape[1], mask.shape[0]) != source:
            raise LayerloomError(
                f"{where}: {hint.mask} is {mask.shape[1]}x{mask.shape[0]}, the frame is {source[0]}x{source[1]}"
            )
        if not (mask > 127).any():
            raise LayerloomError(f"{where}: {hint.mask} is empty; say that the object is absent there instead")
        drawn = _shrunk(mask > 127, size)
        found = drawn if found is None else found | drawn
    return found


def _shrunk(mask: Bool[np.ndarray, "h0 w0"], size: Size) -> Bool[np.ndarray, "h w"]:
    """At a size; what would vanish keeps the pixels that it touches most."""
    share = resize(mask.astype(np.float32), size)
    return share > min(0.5, 0.999 * float(share.max()))


def box_around(mask: Bool[np.ndarray, "h w"]) -> Rectangle:
    """The smallest rectangle that holds the mask, which is not empty."""
    left, top, width, height = (float(side) for side in cv2.boundingRect(mask.astype(np.uint8)))
    return left, top, left + width, top + height
