"""How large each layer's canvas is, and the motion prior expressed in its texels."""

import math
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from layerloom.core.geometry import Size, long_edge, pixel_centres, transform_points
from layerloom.data.clip import Clip, layer_coverage

OBJECT_MARGIN = 0.15
BACKGROUND_MARGIN = 0.02
LARGEST_CANVAS = 6.0
"""Longest side of a canvas, in long edges of the frame."""
SHARPEST_SCALE = 2.0
"""A canvas holds at most this many texels per pixel of the reference frame."""
SAMPLE_STRIDE = 4
ZONE_CELL_TEXELS = 8
ZONE_MARGIN = 0.03
"""How near to an object its shadow is looked for, in long edges of the frame."""


@dataclass(frozen=True)
class Canvas:
    """A layer's canvas in texels at training scale, and pixels of every frame to its texels."""

    size: Size
    motion: Float[np.ndarray, "t 3 3"]


def plan_canvases(clip: Clip) -> tuple[Canvas, ...]:
    """One canvas per layer: the box of what the layer shows under the motion prior, with a margin.

    One texel is about one video pixel in the frame that shows the layer largest. Objects take the 0.5–99.5 % box of
    their masked pixels, the background the box of all frames.
    """
    coverage = layer_coverage(clip.masks)
    last = len(coverage) - 1
    return tuple(
        _plan_canvas(motion, mask, index == last)
        for index, (motion, mask) in enumerate(zip(clip.motion, coverage, strict=True))
    )


def _plan_canvas(
    motion: Float[np.ndarray, "t 3 3"], coverage: UInt8[np.ndarray, "t h w"], is_background: bool
) -> Canvas:
    size = coverage.shape[2], coverage.shape[1]
    # Lines stay lines, so the frames' corners say how far the background reaches.
    rows, columns = (slice(0, side, side - 1 if is_background else SAMPLE_STRIDE) for side in coverage.shape[1:])
    sampled = coverage[:, rows, columns]
    seen = np.ones_like(sampled, bool) if is_background else sampled > 127
    grid = pixel_centres(size)[rows, columns]
    mapped: list[np.ndarray] = []
    texels_per_pixel: list[float] = []
    for matrix, mask in zip(motion, seen, strict=True):
        if mask.any():
            points = grid[mask].astype(np.float64)
            mapped.append(transform_points(matrix, points))
            texels_per_pixel.append(_local_scale(matrix, points.mean(0)))
    positions = np.concatenate(mapped)
    scale = float(np.clip(1 / np.quantile(texels_per_pixel, 0.05), 1.0, SHARPEST_SCALE))
    tail = 0.0 if is_background else 0.005
    low, high = np.quantile(positions, tail, axis=0), np.quantile(positions, 1 - tail, axis=0)
    margin = (BACKGROUND_MARGIN if is_background else OBJECT_MARGIN) * (high - low) + 2
    low, high = low - margin, high + margin
    limit = LARGEST_CANVAS * long_edge(size)
    extent = np.minimum((high - low) * scale, limit)
    low = (low + high) / 2 - extent / scale / 2
    to_canvas = np.array([[scale, 0, -low[0] * scale], [0, scale, -low[1] * scale], [0, 0, 1]])
    return Canvas((math.ceil(extent[0]), math.ceil(extent[1])), to_canvas @ motion)


def _local_scale(matrix: Float[np.ndarray, "3 3"], xy: Float[np.ndarray, "2"]) -> float:
    """Square root of the area that one pixel at `xy` covers after the homography."""
    steps = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    a, b, c = transform_points(matrix, xy + steps)
    return float(np.sqrt(abs(np.linalg.det(np.stack([b - a, c - a])))))


def plan_zone(coverage: UInt8[np.ndarray, "objects t h w"], background: Canvas) -> UInt8[np.ndarray, "rows columns"]:
    """1 where an object passes, or comes near, at any time; on cells of the background's canvas, from its corner."""
    columns, rows = (side // ZONE_CELL_TEXELS + 1 for side in background.size)
    zone = np.zeros((rows, columns), np.uint8)
    height, width = coverage.shape[2:]
    small = max(1, width // ZONE_CELL_TEXELS), max(1, height // ZONE_CELL_TEXELS)
    reach = 2 * round(ZONE_MARGIN * max(small)) + 1
    to_frame = np.diag([width / small[0], height / small[1], 1.0])
    to_zone = np.diag([1 / ZONE_CELL_TEXELS, 1 / ZONE_CELL_TEXELS, 1.0])
    for t, motion in enumerate(background.motion):
        shown = cv2.resize(coverage[:, t].max(0, initial=0), small, interpolation=cv2.INTER_AREA)
        near = cv2.dilate((shown > 0).astype(np.uint8), np.ones((reach, reach), np.uint8))
        if near.any():
            there = cv2.warpPerspective(near, to_zone @ motion @ to_frame, (columns, rows), flags=cv2.INTER_NEAREST)
            zone = np.maximum(zone, np.asarray(there, np.uint8))
    return zone
