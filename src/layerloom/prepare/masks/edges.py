"""Outlines against the picture's own edges: laid on them, measured by them.

Along an outline the picture's colour changes; just outside of it, no more than anywhere. That says how far masks are
shrunk or swollen, where a frame's outline should lie, and which of two outlines is better.
"""

from collections.abc import Sequence

import cv2
import numpy as np
from jaxtyping import Bool, Float64, UInt8

from layerloom.core.imaging import window_around
from layerloom.core.parallel import in_threads
from layerloom.data.clip import FlowField
from layerloom.prepare.masks.colours import lab_colours
from layerloom.prepare.masks.outlines import Distances, Map, mean_over_time, shifted, signed_distance

PIECE_PIXELS = 3.0
"""A piece that a frame's mask lacks or has too many, against the other frames', is an error if it is anywhere this deep
both in that frame and in the others. Limbs are thinner: that the flow loses them says nothing against them."""
ALIGNED_PIXELS = 3
"""The farthest that a frame's outline is moved onto the picture's edges."""
EDGE_SAYS = 7.5
"""How much a unit of edge strength along the outline counts against moving it, whose cost is half the square of its
length."""
OFFSET_REACH_PIXELS = 8
SMALLEST_OFFSET_PIXELS = 1.0

Video = UInt8[np.ndarray, "t h w 3"]


def lay_on_edges(
    frames: Video,
    distances: Distances,
    others: Distances,
    in_front: Distances,
    known: Bool[np.ndarray, " t"],
    flow: Sequence[FlowField],
) -> Distances:
    """Each known frame's outline shifted to where the picture's edges are strongest along it; the flow fills the rest.

    The flow tells jumps to a pixel only; the edges tell the rest, and what all frames are off by. Shapes stay, but
    for large pieces that the other frames contradict. Outlines against other objects say nothing. Of swollen masks,
    which cover each other, what other frames show beside the one `in_front` is added.
    """
    offset = 0.0
    shown = known & (distances > 0).any((1, 2))
    strengths = np.stack(list(in_threads(edge_strengths, frames)))
    for _ in range(2):
        offset = outline_offset(frames[shown], distances[shown])

        def laid(t: int, distances: Distances = distances, offset: float = offset) -> Map:
            if not shown[t]:
                return distances[t]
            alone = others[t] < -ALIGNED_PIXELS - 1
            return shifted(distances[t], -_shift_onto(strengths[t], distances[t] - np.float32(offset), alone))

        distances = np.stack(list(in_threads(laid, range(len(frames)))))
    mean = mean_over_time(distances, shown, flow)
    if offset > 0:  # what is in front is swollen, too, and covers now this, now that
        distances = np.where(in_front > -ALIGNED_PIXELS - 1, np.maximum(distances, mean), distances)
    return np.stack([_mended(*pair) if own else pair[1] for own, *pair in zip(shown, distances, mean, strict=True)])


def _mended(own: Map, mean: Map) -> Map:
    """The frame's own outline, but the mean over time where a whole piece is wrong."""
    differ = (own > 0) != (mean > 0)
    wrong = differ & (np.minimum(np.abs(own), np.abs(mean)) > PIECE_PIXELS)
    if not wrong.any():
        return own
    pieces = cv2.connectedComponents(differ.astype(np.uint8))[1]
    return signed_distance(np.where(np.isin(pieces, pieces[wrong]), mean, own) > 0)


def _shift_onto(strength: Map, distance: Map, alone: Bool[np.ndarray, "h w"]) -> Float64[np.ndarray, " 2"]:
    """The shift (x, y) that gains most edge strength along the outline for its length, to parts of a pixel."""
    outline = np.exp(-np.square(distance / 0.8) / 2) * (np.abs(distance) < 3) * alone
    reach = ALIGNED_PIXELS
    window = window_around(outline > 0, 0)
    outline = outline[window]
    if outline.sum() < 5:
        return np.zeros(2)
    around = cv2.copyMakeBorder(strength, reach, reach, reach, reach, cv2.BORDER_REPLICATE)
    around = around[tuple(slice(part.start, part.stop + 2 * reach) for part in window)]
    mean_strength = cv2.matchTemplate(around, outline, cv2.TM_CCORR) / outline.sum()
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    gain = EDGE_SAYS * mean_strength - (x * x + y * y) / 2
    best = np.unravel_index(np.argmax(gain), gain.shape)
    across, down = _vertex(gain[best[0]], int(best[1])), _vertex(gain[:, best[1]], int(best[0]))
    return np.array([across, down]) - reach


def _vertex(values: np.ndarray, peak: int) -> float:
    """Where the parabola through a peak and its neighbours is highest."""
    if not 0 < peak < len(values) - 1:
        return float(peak)
    before, here, after = values[peak - 1 : peak + 2]
    return peak + float((before - after) / (2 * min(before - 2 * here + after, -1e-9)))


def outline_offset(frames: Video, distances: Distances) -> float:
    """How far inside the outlines (negative: outside) the picture's own edges lie, in pixels; 0 where that is unclear.

    Strength of the picture's edges along the outline, as a function of the distance from it, averaged over the whole
    clip: textures inside and around the object average out, its edge does not. Of peaks nearly as strong as the
    strongest the outermost counts: an object's parts have edges, too. Offsets under a pixel are not told from softness.
    """
    strengths = list(in_threads(lambda t: _edge_strength(frames[t], distances[t]), range(len(frames))))
    total, count = np.sum(strengths, 0)
    profile = np.where(count > 0.02 * count.max(), total / np.maximum(count, 1), 0)
    profile = np.convolve(profile, [0.25, 0.5, 0.25], "same")
    peaks = (profile[1:-1] >= np.maximum(profile[:-2], profile[2:])) & (profile[1:-1] >= 0.85 * profile.max())
    if not peaks.any():
        return 0.0
    offset = _vertex(profile, int(np.argmax(peaks)) + 1) / 2 - OFFSET_REACH_PIXELS
    return offset if abs(offset) >= SMALLEST_OFFSET_PIXELS else 0.0


def edge_rise(frames: Video, distances: Distances) -> float:
    """By how much the picture changes more along the outlines than just outside of them, over the whole clip.

    Where outlines lie on the picture's edges this is largest; textures change as much everywhere.
    """
    strengths = list(in_threads(lambda t: _edge_strength(frames[t], distances[t]), range(len(frames))))
    total, count = np.sum(strengths, 0)
    steps = np.arange(len(total)) / 2 - OFFSET_REACH_PIXELS
    along, outside = np.abs(steps) <= 1, (steps >= -5) & (steps <= -3)
    return float(np.subtract(*(total[part].sum() / max(count[part].sum(), 1) for part in (along, outside))))


def _edge_strength(frame: UInt8[np.ndarray, "h w 3"], distance: Map) -> Float64[np.ndarray, "2 steps"]:
    """Sums and counts of colour change across the outline in steps of half a pixel of distance from it."""
    length = 4 * OFFSET_REACH_PIXELS + 1
    window = window_around(distance > -OFFSET_REACH_PIXELS - 2)
    if distance[window].size == 0:
        return np.zeros((2, length))
    distance = cv2.GaussianBlur(distance[window], (0, 0), 1.0)
    colour = cv2.GaussianBlur(lab_colours(frame[window]), (0, 0), 0.7)
    normal = [cv2.Sobel(distance, cv2.CV_32F, *axes, scale=1 / 8) for axes in ((1, 0), (0, 1))]
    steepness = np.hypot(*normal)
    change = sum(
        cv2.Sobel(colour, cv2.CV_32F, *axes, scale=1 / 8) * n[..., None]
        for axes, n in zip(((1, 0), (0, 1)), normal, strict=True)
    )
    strength = np.minimum(np.sqrt(np.square(change).sum(-1)) / (steepness + 1e-6), 20)
    near = (np.abs(distance) < OFFSET_REACH_PIXELS) & (steepness > 0.5)
    steps = np.round(2 * distance[near]).astype(int) + 2 * OFFSET_REACH_PIXELS
    return np.stack([np.bincount(steps, strength[near], length), np.bincount(steps, minlength=length)])


def edge_strengths(frame: UInt8[np.ndarray, "h w 3"]) -> Map:
    """Colour change per pixel in CIELAB, at most 20."""
    colour = cv2.GaussianBlur(lab_colours(frame), (0, 0), 0.7)
    change = [cv2.Sobel(colour, cv2.CV_32F, *axes, scale=1 / 8) for axes in ((1, 0), (0, 1))]
    return np.minimum(np.sqrt(np.square(change).sum((0, -1))), 20)
