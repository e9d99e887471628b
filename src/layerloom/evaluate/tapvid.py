"""Tracks in TAP-Vid's format, and the layers taken for a point tracker and judged as TAP-Vid judges one.

Doersch et al., "TAP-Vid: A Benchmark for Tracking Any Point in a Video", NeurIPS 2022; points are queried where they
are first seen.
"""

import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float32, Int

from layerloom.core.errors import LayerloomError
from layerloom.core.geometry import Size, rescale_positions
from layerloom.data.mattes import stream_mattes
from layerloom.data.project import Project
from layerloom.evaluate.figures import TapVid
from layerloom.evaluate.tracks import Tracks, only_seen

RASTER_PX = 256
"""Distances are in pixels of a picture of this width and height."""
LIMITS_PX = (1, 2, 4, 8, 16)
VISIBLE_SHARE = 0.5
"""A point is seen where its layer has more than this of the pixel."""


def read_tapvid(path: Path, size: Size, frames: int) -> Tracks:
    """Tracks in TAP-Vid's format: an .npz with `points` (n t 2, x and y as shares of the picture) and `occluded` (n t).

    size: of the frames the points shall be in pixels of. LayerloomError if the file is no such thing.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            points, occluded = np.asarray(file["points"]), np.asarray(file["occluded"])
    except (OSError, KeyError, ValueError, TypeError, zipfile.BadZipFile):
        raise LayerloomError(
            f"{path}: not TAP-Vid tracks: an .npz with arrays 'points' and 'occluded', no pickle"
        ) from None
    if points.shape != (*occluded.shape, 2) or occluded.ndim != 2 or occluded.shape[1] != frames:
        raise LayerloomError(
            f"{path}: points {points.shape} and occluded {occluded.shape}; allowed are (tracks, {frames}, 2) and"
            f" (tracks, {frames}) for these {frames} frames"
        )
    pixels = rescale_positions(points.astype(np.float32), (1, 1), size)
    return only_seen(pixels, ~occluded.astype(np.bool_))


def judge_as_tracker(project: Project, given: Tracks) -> TapVid:
    """Average Jaccard, δ average and occlusion accuracy of the points that the layers carry from the given queries.

    The query's point goes to the layer with the largest share there; its texel is looked for in every later frame.
    """
    frames = given.seen.shape[1]
    predicted, visible = np.zeros_like(given.points), np.zeros_like(given.seen)
    layer = np.full(len(given.points), -1)
    texels = np.zeros((len(given.points), 2), np.float32)
    for frame, shares in enumerate(stream_mattes(project, project.source_range)):
        begins = np.flatnonzero(given.anchor == frame)
        layer[begins] = shares[:, *_pixels(given.points[begins, frame], project.source.size)].argmax(0)
        for number in range(len(project.layers)):
            fresh = begins[layer[begins] == number]
            if len(fresh):
                texels[fresh] = project.uv_at(number, frame, given.points[fresh, frame][None])[0]
            carried = np.flatnonzero((layer == number) & (given.anchor < frame))
            if len(carried):
                xy, inside = project.find_xy(number, frame, texels[carried][None])
                row, column = _pixels(xy[0], project.source.size)
                predicted[carried, frame] = xy[0]
                visible[carried, frame] = inside[0] & (shares[number, row, column] > VISIBLE_SHARE)
    after = np.arange(frames) > given.anchor[:, None]
    return tapvid_figures(predicted, visible, given, after, project.source.size)


def tapvid_figures(
    predicted: Float32[np.ndarray, "n t 2"],
    visible: Bool[np.ndarray, "n t"],
    given: Tracks,
    counts: Bool[np.ndarray, "n t"],
    size: Size,
) -> TapVid:
    """Of predictions in pixels of frames of `size`, over the entries that count; None where there are none."""
    distance = np.linalg.norm(
        (predicted - given.points) * (np.float32(RASTER_PX) / np.array(size, np.float32)), axis=-1
    )
    truly = given.seen & counts
    if not truly.any():
        return TapVid(average_jaccard=None, delta_average=None, occlusion_accuracy=None)
    jaccard: list[float] = []
    within: list[float] = []
    for limit in LIMITS_PX:
        near = distance < limit
        hits = np.count_nonzero(truly & visible & near)
        false = np.count_nonzero(counts & visible & ~(given.seen & near))
        jaccard.append(hits / (np.count_nonzero(truly) + false))
        within.append(np.count_nonzero(truly & near) / np.count_nonzero(truly))
    right = np.count_nonzero(counts & (visible == given.seen)) / np.count_nonzero(counts)
    return TapVid(
        average_jaccard=float(np.mean(jaccard)), delta_average=float(np.mean(within)), occlusion_accuracy=right
    )


def _pixels(xy: Float32[np.ndarray, "n 2"], size: Size) -> Sequence[Int[np.ndarray, "n"]]:
    """Row and column of the pixels that hold points; of those outside, at the border."""
    column, row = (np.clip(xy[:, axis], 0, size[axis] - 1).astype(np.int64) for axis in (0, 1))
    return row, column
