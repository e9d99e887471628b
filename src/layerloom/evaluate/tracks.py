"""Feature tracks of a video, and how far a uv map carries them from where they should be.

Positions are (x, y) in pixels of the frames tracked; a pixel's centre is at +0.5. A track is anchored in the first
frame that sees it: its error elsewhere is measured against what the uv map says of the anchor's texel.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from jaxtyping import Bool, Float32, Float64, Int, UInt8

from layerloom.data.project import Project
from layerloom.evaluate.figures import Agreement, none_if_not_finite
from layerloom.evaluate.spool import FrameSpool

THRESHOLDS_PX = (1, 2, 4, 8, 16)
HORIZONS = (8, 16, 30, 60)
"""Track lengths, in frames, that figures are split by."""

ROUND_TRIP_PX = 0.25
"""A step of a track counts only if tracking back ends within this of where it began."""
NEW_CORNERS_EVERY = 8
CORNERS_PER_START = 400
CORNER_SPACING_PX = 8
WINDOW_PX = 15
"""Side of the square that the tracker compares."""
CONTRAST_RADIUS_PX = 4.0
CONTRAST_FLOOR_LEVELS = 4.0
SIFT_RATIO = 0.75
NEWTON_STEPS = 15
NEWTON_DIFFERENCE_PX = 0.25
NEWTON_TOLERANCE_TEXELS = 0.02

UvMap = Callable[[int, Float64[np.ndarray, "n 2"]], Float64[np.ndarray, "n 2"]]
"""(frame, points in pixels) -> texels: one layer's uv map at any points."""
Video = UInt8[np.ndarray, "t h w"] | FrameSpool
"""Grey frames."""


@dataclass(frozen=True)
class Tracks:
    """Points followed through a video. Where a point is not seen, its position means nothing."""

    points: Float32[np.ndarray, "n t 2"]
    seen: Bool[np.ndarray, "n t"]

    def __post_init__(self) -> None:
        if not self.seen.any(1).all():
            raise ValueError("a track that no frame sees")

    @property
    def anchor(self) -> Int[np.ndarray, "n"]:
        """The first frame that sees each track."""
        return self.seen.argmax(1)

    @property
    def length(self) -> Int[np.ndarray, "n"]:
        """Frames from the anchor to the last frame that sees the track, both counted."""
        last = self.seen.shape[1] - 1 - self.seen[:, ::-1].argmax(1)
        return last - self.anchor + 1

    def within(self, inside: Bool[np.ndarray, "n t"]) -> "Tracks":
        """The tracks whose anchor is `inside`, until they first leave it. To be hidden is not to leave."""
        kept = np.logical_and.accumulate(inside | ~self.seen, axis=1) & self.seen
        return only_seen(self.points, kept)


def track_corners(grey: Video) -> Tracks:
    """Shi–Tomasi corners followed with pyramidal Lucas–Kanade until a step fails its round trip.

    New corners start every NEW_CORNERS_EVERY frames where no track is near. Tracks of one frame are left out.
    """
    frames = len(grey)
    points = np.zeros((0, frames, 2), np.float32)
    seen = np.zeros((0, frames), np.bool_)
    following = _even_contrast(grey[0])
    for frame in range(frames - 1):
        picture, following = following, _even_contrast(grey[frame + 1])
        if frame % NEW_CORNERS_EVERY == 0:
            fresh = _corners(picture, points[seen[:, frame], frame])
            points = np.concatenate([points, np.zeros((len(fresh), frames, 2), np.float32)])
            seen = np.concatenate([seen, np.zeros((len(fresh), frames), np.bool_)])
            points[len(points) - len(fresh) :, frame] = fresh
            seen[len(seen) - len(fresh) :, frame] = True
        alive = np.flatnonzero(seen[:, frame])
        points[alive, frame + 1], seen[alive, frame + 1] = _step(picture, following, points[alive, frame])
    moved = seen.sum(1) > 1
    return Tracks(points[moved], seen[moved])


def follow(grey: Video, start: Tracks) -> Tracks:
    """Track the anchors of `start` through another video of the same size, by the same rules, as long as they last."""
    anchor = start.anchor
    last = anchor + start.length - 1
    points, seen = np.zeros_like(start.points), np.zeros_like(start.seen)
    following = _even_contrast(grey[0])
    for frame in range(len(grey)):
        picture = following
        begins = np.flatnonzero(anchor == frame)
        points[begins, frame], seen[begins, frame] = start.points[begins, frame], True
        if frame + 1 < len(grey):
            following = _even_contrast(grey[frame + 1])
            alive = np.flatnonzero(seen[:, frame] & (frame < last))
            points[alive, frame + 1], seen[alive, frame + 1] = _step(picture, following, points[alive, frame])
    return Tracks(points, seen)


def match_sift(grey: Video, step: int) -> Tracks:
    """SIFT matches (Lowe 2004) between frames t and t + step, t = 0, step, …: tracks seen in those two frames alone.

    A match is the best both ways and beats the second best by SIFT_RATIO.
    """
    frames = len(grey)
    sift = cv2.SIFT.create(nfeatures=1000)
    matcher = cv2.BFMatcher(cv2.NORM_L2)
    parts: list[Tracks] = []
    later = sift.detectAndCompute(grey[0], None)
    for first in range(0, frames - step, step):
        earlier, later = later, sift.detectAndCompute(grey[first + step], None)
        (keys_1, words_1), (keys_2, words_2) = earlier, later
        pairs = _mutual_matches(matcher, words_1, words_2)
        points, seen = np.zeros((len(pairs), frames, 2), np.float32), np.zeros((len(pairs), frames), np.bool_)
        for row, (key_1, key_2) in enumerate(pairs):
            points[row, first], points[row, first + step] = keys_1[key_1].pt, keys_2[key_2].pt
        seen[:, [first, first + step]] = True
        parts.append(Tracks(points + 0.5, seen))
    if not parts:
        return Tracks(np.zeros((0, frames, 2), np.float32), np.zeros((0, frames), np.bool_))
    return Tracks(np.concatenate([part.points for part in parts]), np.concatenate([part.seen for part in parts]))


def project_uv(project: Project, layer: int) -> UvMap:
    """A stored layer's uv map at any points of any of the project's frames, source pixels to texels."""

    def uv_map(frame: int, points: Float64[np.ndarray, "n 2"]) -> Float64[np.ndarray, "n 2"]:
        if len(points) == 0:
            return points
        return project.uv_at(layer, frame, points.astype(np.float32)[None])[0].astype(np.float64)

    return uv_map


def find_texels(
    uv_map: UvMap, frame: int, texels: Float64[np.ndarray, "n 2"], guess: Float64[np.ndarray, "n 2"]
) -> Float64[np.ndarray, "n 2"]:
    """Where texels are in a frame: the uv map inverted by Newton's method. NaN where it does not converge."""
    points = guess.copy()
    to_right, to_below = NEWTON_DIFFERENCE_PX * np.eye(2)
    for _ in range(NEWTON_STEPS):
        value = uv_map(frame, points)
        if np.abs(texels - value).max(initial=0.0) < NEWTON_TOLERANCE_TEXELS / 10:
            break
        right = uv_map(frame, points + to_right)
        down = uv_map(frame, points + to_below)
        jacobian = np.stack([right - value, down - value], -1) / NEWTON_DIFFERENCE_PX
        points = points + (np.linalg.pinv(jacobian) @ (texels - value)[..., None])[..., 0].clip(-32.0, 32.0)
    missed = np.linalg.norm(uv_map(frame, points) - texels, axis=-1) > NEWTON_TOLERANCE_TEXELS
    points[missed] = np.nan
    return points


def carry_errors(uv_map: UvMap, tracks: Tracks) -> Float64[np.ndarray, "n t"]:
    """Distance in pixels from each point of a track to where the uv map carries the track's anchor.

    NaN where the track is not seen, and at the anchor, where the error is 0 by construction; infinite where the map
    holds the anchor's texel nowhere near.
    """
    frames = tracks.seen.shape[1]
    texels = _anchor_texels(uv_map, tracks)
    errors = np.full(tracks.seen.shape, np.nan)
    for frame in range(frames):
        rows = np.flatnonzero(tracks.seen[:, frame] & (tracks.anchor != frame))
        truth = tracks.points[rows, frame].astype(np.float64)
        found = find_texels(uv_map, frame, texels[rows], truth)
        errors[rows, frame] = np.nan_to_num(np.linalg.norm(found - truth, axis=-1), nan=np.inf)
    return errors


def uv_wander(uv_map: UvMap, tracks: Tracks) -> Float64[np.ndarray, "n"]:
    """Root mean square distance in texels of a track's uv from its own mean, over the frames that see it."""
    uv = np.zeros((*tracks.seen.shape, 2))
    for frame in range(tracks.seen.shape[1]):
        rows = np.flatnonzero(tracks.seen[:, frame])
        uv[rows, frame] = uv_map(frame, tracks.points[rows, frame].astype(np.float64))
    weight = tracks.seen[..., None] / tracks.seen.sum(1)[:, None, None]
    mean = (uv * weight).sum(1, keepdims=True)
    return np.sqrt((np.square(uv - mean) * weight).sum((1, 2)))


def agreement(errors_px: Float64[np.ndarray, "*shape"]) -> Agreement:
    """Count, median, mean of the finite ones, and shares within THRESHOLDS_PX of errors; NaN entries do not count."""
    errors = errors_px[~np.isnan(errors_px)]
    finite = errors[np.isfinite(errors)]
    some = len(errors) > 0
    return Agreement(
        count=len(errors),
        median_px=none_if_not_finite(float(np.median(errors))) if some else None,
        mean_px=float(finite.mean()) if len(finite) else None,
        within={str(limit): float((errors <= limit).mean()) if some else None for limit in THRESHOLDS_PX},
    )


def agreement_by_length(errors_px: Float64[np.ndarray, "n t"], tracks: Tracks) -> dict[str, Agreement]:
    """Agreement over all frames ("all"), and that of the n-th frame of tracks at least n frames long, n in HORIZONS.

    Lengths that no track has are left out.
    """
    split = {"all": agreement(errors_px)}
    for horizon in HORIZONS:
        last = tracks.anchor + horizon - 1
        rows = np.flatnonzero(last < tracks.seen.shape[1])
        figures = agreement(errors_px[rows, last[rows]])
        if figures.count:
            split[str(horizon)] = figures
    return split


def only_seen(points: Float32[np.ndarray, "n t 2"], seen: Bool[np.ndarray, "n t"]) -> Tracks:
    """The tracks that some frame sees."""
    some = seen.any(1)
    return Tracks(points[some], seen[some])


def _anchor_texels(uv_map: UvMap, tracks: Tracks) -> Float64[np.ndarray, "n 2"]:
    anchor = tracks.anchor
    texels = np.zeros((len(anchor), 2))
    for frame in np.unique(anchor).tolist():
        rows = np.flatnonzero(anchor == frame)
        texels[rows] = uv_map(frame, tracks.points[rows, frame].astype(np.float64))
    return texels


def _even_contrast(grey: UInt8[np.ndarray, "h w"]) -> UInt8[np.ndarray, "h w"]:
    """Local mean and contrast evened out: moving light drags tracks along (by 0.5 px in 16 synthetic frames)."""
    levels = grey.astype(np.float32)
    mean = cv2.GaussianBlur(levels, (0, 0), CONTRAST_RADIUS_PX)
    variance = cv2.GaussianBlur(levels * levels, (0, 0), CONTRAST_RADIUS_PX) - mean * mean
    contrast = np.sqrt(np.maximum(variance, 0) + CONTRAST_FLOOR_LEVELS**2)
    return np.clip(128 + 50 * (levels - mean) / contrast, 0, 255).astype(np.uint8)


def _corners(grey: UInt8[np.ndarray, "h w"], taken: Float32[np.ndarray, "n 2"]) -> Float32[np.ndarray, "m 2"]:
    """New corners, none near the points already tracked."""
    free = np.full(grey.shape, 255, np.uint8)
    for x, y in taken.astype(int).tolist():
        cv2.circle(free, (x, y), CORNER_SPACING_PX, 0, -1)
    found: Any = cv2.goodFeaturesToTrack(grey, CORNERS_PER_START, 0.005, CORNER_SPACING_PX, mask=free)
    return np.zeros((0, 2), np.float32) if found is None else found.reshape(-1, 2) + np.float32(0.5)


def _step(
    earlier: UInt8[np.ndarray, "h w"], later: UInt8[np.ndarray, "h w"], points: Float32[np.ndarray, "n 2"]
) -> tuple[Float32[np.ndarray, "n 2"], Bool[np.ndarray, "n"]]:
    """One frame on: new positions, and which of them came back to where they were and stay in the picture."""
    if len(points) == 0:
        return points, np.zeros(0, np.bool_)
    there, found = _lucas_kanade(earlier, later, points)
    back, found_back = _lucas_kanade(later, earlier, there)
    height, width = earlier.shape
    inside = ((there >= 1.0) & (there <= (width - 1.0, height - 1.0))).all(-1)
    return there, found & found_back & inside & (np.linalg.norm(back - points, axis=-1) < ROUND_TRIP_PX)


def _lucas_kanade(
    earlier: UInt8[np.ndarray, "h w"], later: UInt8[np.ndarray, "h w"], points: Float32[np.ndarray, "n 2"]
) -> tuple[Float32[np.ndarray, "n 2"], Bool[np.ndarray, "n"]]:
    """OpenCV's pixels have their centres at whole numbers."""
    criteria = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 40, 0.003)
    start = (points - 0.5)[:, None].astype(np.float32)
    end, status, _ = cv2.calcOpticalFlowPyrLK(
        earlier, later, start, start.copy(), winSize=(WINDOW_PX, WINDOW_PX), maxLevel=4, criteria=criteria
    )
    return end[:, 0] + np.float32(0.5), status[:, 0] > 0


def _mutual_matches(matcher: Any, words_1: Any, words_2: Any) -> list[tuple[int, int]]:
    """Pairs of keypoint numbers. Either picture may have too few keypoints for a second best."""
    if words_1 is None or words_2 is None or min(len(words_1), len(words_2)) < 2:
        return []
    home = {match.queryIdx: match.trainIdx for match in matcher.match(words_2, words_1)}
    candidates = matcher.knnMatch(words_1, words_2, k=2)
    return [
        (best.queryIdx, best.trainIdx)
        for best, second in candidates
        if best.distance < SIFT_RATIO * second.distance and home[best.trainIdx] == best.queryIdx
    ]
