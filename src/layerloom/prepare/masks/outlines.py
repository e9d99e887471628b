"""Outlines as signed distances: steadied over time, laid on the picture's edges, settled by colour.

A signed distance is positive inside an object and in pixels; half a pixel is the least there is. Unlike a mask it can
be averaged, shifted by parts of a pixel, and grown or shrunk by adding a number.
"""

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Bool, Float32, Float64, Int32, UInt8

from layerloom.core.geometry import Size
from layerloom.core.imaging import resize_all
from layerloom.core.parallel import do_in_threads, in_threads
from layerloom.data.clip import FlowField
from layerloom.prepare.flow.links import links_of

FARTHEST_PIXELS = 12.0
"""Signed distances end here: what is farther from the outline does not matter to it."""
STILL_PIXELS = 0.8
"""Outlines that jump by less in the root mean square are steady: exact masks reach 0.5 by the flow's own errors."""
JUMP_PRIOR = 0.4
"""How strongly jumps are held to zero. It leaves slow drift alone, of which the flow makes as much as masks do."""
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
COLOUR_BINS = 24
COLOUR_SAYS = 4.0
"""The most that colour can say for or against a layer, in log odds."""
NEIGHBOURS_SAY = 1.6
PRIOR_LOGIT_PER_PIXEL = 2.7
"""How sure a layer is in log odds, for each pixel inside its outline."""

Video = UInt8[np.ndarray, "t h w 3"]
Distances = Float32[np.ndarray, "t h w"]
Map = Float32[np.ndarray, "h w"]
Window = tuple[slice, slice]


def signed_distance(inside: Bool[np.ndarray, "h w"], farthest: float = FARTHEST_PIXELS) -> Map:
    """Pixels to the outline, positive inside, at most `farthest` either way."""
    mask = inside.astype(np.uint8)
    here = cv2.distanceTransform(mask, cv2.DIST_L2, cv2.DIST_MASK_5)
    there = cv2.distanceTransform(1 - mask, cv2.DIST_L2, cv2.DIST_MASK_5)
    distance = np.where(inside, here - np.float32(0.5), np.float32(0.5) - there)
    return np.clip(distance, -farthest, farthest).astype(np.float32)


def signed_distances(
    coverage: UInt8[np.ndarray, "objects t h0 w0"], size: Size
) -> Float32[np.ndarray, "objects t h w"]:
    """Of masks brought to a size."""
    distances = np.empty((*coverage.shape[:2], size[1], size[0]), np.float32)

    def measure(place: tuple[int, int]) -> None:
        distances[place] = signed_distance(resize_all(coverage[place][None], size)[0] > 127)

    do_in_threads(measure, np.ndindex(*coverage.shape[:2]))
    return distances


def steady(
    distances: Distances,
    others: Distances,
    known: Bool[np.ndarray, " t"],
    flow: Sequence[FlowField],
    rounds: int = 3,
) -> tuple[Distances, float]:
    """Take the jumps from frame to frame out of outlines, and say how large they were (root mean square, pixels).

    Every link of the flow says how far one frame's outline, brought along, lies from another's (Gauss–Newton on the
    signed distance: a shift, and how much it swells). Least squares over all links give each frame's own jump, by
    which known frames are shifted back. They keep their own shape. Steady ones stay as they are.
    Outlines against other objects (their distances are `others`) say nothing: one moves over the other.
    """
    largest = 0.0
    steadied = distances
    for round_ in range(rounds):
        jumps = _jumps(steadied, others, known, flow)
        if round_ == 0:
            largest = float(np.sqrt(np.square(jumps[known, :2]).sum(1).mean()))
            if largest < STILL_PIXELS:
                return distances, largest
        steadied = np.stack([_shifted(image, jump) for image, jump in zip(steadied, jumps, strict=True)])
    return steadied, largest


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
            return _shifted(distances[t], -_shift_onto(strengths[t], distances[t] - np.float32(offset), alone))

        distances = np.stack(list(in_threads(laid, range(len(frames)))))
    mean = _mean_over_time(distances, shown, flow)
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


def _jumps(
    distances: Distances, others: Distances, known: Bool[np.ndarray, " t"], flow: Sequence[FlowField]
) -> Float64[np.ndarray, "t 3"]:
    """Each frame's shift (x, y) and swelling against the other frames."""
    frames = len(distances)
    matrix, right = np.zeros((frames, frames)), np.zeros((frames, 3))
    shown = [int(frame) for frame in np.flatnonzero(known)]
    every = in_threads(lambda frame: _displacements(distances, others, known, frame, flow), shown)
    for frame, found in zip(shown, every, strict=True):
        for other, displacement, weight in found:
            pair = np.array([frame, other])
            matrix[pair, pair] += weight
            matrix[pair, pair[::-1]] -= weight
            right[frame] += weight * displacement
            right[other] -= weight * displacement
    prior = JUMP_PRIOR**2 * np.trace(matrix) / (2 * frames)
    return np.linalg.solve(matrix + (prior + 1e-9) * np.eye(frames), right)


def _displacements(
    distances: Distances, others: Distances, known: Bool[np.ndarray, " t"], frame: int, flow: Sequence[FlowField]
) -> list[tuple[int, Float64[np.ndarray, " 3"], float]]:
    """How `frame`'s outline lies against those of the frames it is linked with: frame, shift and swelling, weight."""
    here = distances[frame]
    window = window_around(here > -4)
    slopes = [cv2.Sobel(here, cv2.CV_32F, *axes, scale=1 / 8)[window] for axes in ((1, 0), (0, 1))]
    here, other = here[window], others[frame][window]
    found: list[tuple[int, Float64[np.ndarray, " 3"], float]] = []
    for link in links_of(frame, flow, (distances.shape[2], distances.shape[1])):
        if known[link.frame]:
            link = link.within(window)
            there = link.bring(distances[link.frame])
            # What lies outside moves with something else, and far inside there is no slope.
            near = (np.maximum(here, there) > -1.5) & (np.minimum(here, there) < 8)
            # Deep inside, the nearest outline may still be one against another object.
            near &= (other < -2 - here) & (link.bring(others[link.frame]) < -2 - there)
            weight = (link.confidence * near).ravel()
            told = weight > 0.05
            if told.sum() >= 20:
                columns = np.stack([slopes[0].ravel(), slopes[1].ravel(), np.ones(here.size, np.float32)], 1)
                shift = _robust_fit(columns[told], (there - here).ravel()[told], weight[told])
                found.append((link.frame, shift, (min(float(weight.sum()), 500.0) / link.distance) ** 2))
    return found


def _robust_fit(columns: np.ndarray, values: np.ndarray, weights: np.ndarray) -> Float64[np.ndarray, " 3"]:
    """Weighted least squares, thrice, pixels that are 2 off or more counting ever less (Geman–McClure)."""
    fit = np.zeros(3)
    for _ in range(3):
        weighted = columns * (weights / (1 + ((values - columns @ fit) / 2) ** 2))[:, None]
        fit = np.linalg.solve((weighted.T @ columns).astype(np.float64) + 0.01 * np.eye(3), weighted.T @ values)
    return fit


def _shifted(image: Map, jump: Float64[np.ndarray, " _"]) -> Map:
    back = np.array([[1, 0, -jump[0]], [0, 1, -jump[1]]], np.float32)
    return cv2.warpAffine(image, back, (image.shape[1], image.shape[0]), borderMode=cv2.BORDER_REPLICATE)


def _mean_over_time(distances: Distances, known: Bool[np.ndarray, " t"], flow: Sequence[FlowField]) -> Distances:
    """Known frames' distances and those the flow brings there, by its confidence over the distance in time."""

    def mean(frame: int) -> Map:
        own = np.float32(1 if known[frame] else 1e-3)
        total, weights = own * distances[frame], np.full(distances.shape[1:], own, np.float32)
        for link in links_of(frame, flow, (distances.shape[2], distances.shape[1])):
            if known[link.frame]:
                weight = (link.confidence + np.float32(0.02)) / link.distance
                total += weight * link.bring(distances[link.frame])
                weights += weight
        return total / weights

    return np.stack(list(in_threads(mean, range(len(distances)))))


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
    colour = cv2.GaussianBlur(_lab(frame[window]), (0, 0), 0.7)
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
    colour = cv2.GaussianBlur(_lab(frame), (0, 0), 0.7)
    change = [cv2.Sobel(colour, cv2.CV_32F, *axes, scale=1 / 8) for axes in ((1, 0), (0, 1))]
    return np.minimum(np.sqrt(np.square(change).sum((0, -1))), 20)


def settle_by_colour(
    frames: Video, distances: Float32[np.ndarray, "objects t h w"], error_pixels: float, roughness: float
) -> Float32[np.ndarray, "objects t h w"]:
    """Share of each object in each pixel, where outlines may be wrong by `error_pixels`: distance, colour, edges.

    Colours of a layer are known from where it is surely: over the whole clip as a histogram, and around each pixel as
    a Gaussian. What they say is limited, so that a pixel's distance from the outline wins in the end. Neighbours of
    like colour then agree (mean field with weights that end at edges, as in Krähenbühl and Koltun 2011, 8 neighbours).
    `roughness` (0…1) is how much colours and neighbours count: along an outline of the right shape, if not quite in
    the right place, pixels are mixtures, and neighbours wear thin limbs away.
    """
    sure = _sure_parts(distances, error_pixels)
    cells = np.stack([colour_cells(frame) for frame in frames])
    densities = [_log_density(cells[part]) for part in sure]

    def settle(frame: int) -> Float32[np.ndarray, "objects h w"]:
        nearest = distances[:, frame].max(0)
        shares = np.zeros((len(distances), *nearest.shape), np.float32)
        shares[distances[:, frame] > 0] = 1
        window = window_around((nearest > -FARTHEST_PIXELS + 1) & (nearest < FARTHEST_PIXELS - 1))
        if nearest[window].size == 0:
            return shares
        lab = _lab(frames[frame][window])
        colour = np.stack(
            [
                0.3 * density[cells[frame][window]] + 0.7 * _local_log_density(lab, part[frame][window])
                for density, part in zip(densities, sure, strict=True)
            ]
        )
        says = np.maximum(roughness * (colour - colour.max(0)), -COLOUR_SAYS)
        prior = PRIOR_LOGIT_PER_PIXEL * np.concatenate([distances[:, frame], -nearest[None]])[(slice(None), *window)]
        shares[(slice(None), *window)] = _smooth(says + np.clip(prior, -20, 20), lab, roughness * NEIGHBOURS_SAY)[:-1]
        return shares

    return np.stack(list(in_threads(settle, range(len(frames)))), 1)


def _sure_parts(
    distances: Float32[np.ndarray, "objects t h w"], error_pixels: float
) -> list[Bool[np.ndarray, "t h w"]]:
    """Where each object surely is, and the background near them."""
    nearest = distances.max(0)
    parts: list[Bool[np.ndarray, "t h w"]] = []
    for i, own in enumerate(distances):
        thickness = float(np.median(own.max((1, 2))))  # of thin objects the middle has to do
        alone = np.delete(distances, i, 0).max(0, initial=-FARTHEST_PIXELS) < 0
        parts.append((own > min(error_pixels, 0.6 * thickness)) & alone)
    return [*parts, (nearest < -error_pixels - 0.5) & (nearest > -FARTHEST_PIXELS + 0.1)]


def _lab(frame: UInt8[np.ndarray, "h w 3"]) -> Float32[np.ndarray, "h w 3"]:
    return cv2.cvtColor(np.ascontiguousarray(frame), cv2.COLOR_RGB2LAB).astype(np.float32)


def colour_cells(frame: UInt8[np.ndarray, "h w 3"]) -> Int32[np.ndarray, "h w"]:
    """The number of each pixel's cell in Lab space, finer in a and b, of which images use the middle."""
    lab = cv2.cvtColor(frame, cv2.COLOR_RGB2LAB).astype(np.int32)
    lab[..., 1:] = np.clip(2 * lab[..., 1:] - 128, 0, 255)
    cell = lab * COLOUR_BINS // 256
    return (cell[..., 0] * COLOUR_BINS + cell[..., 1]) * COLOUR_BINS + cell[..., 2]


def _log_density(cells: Int32[np.ndarray, " n"]) -> Float32[np.ndarray, " cells"]:
    shares = np.bincount(cells, minlength=COLOUR_BINS**3).astype(np.float64).reshape((COLOUR_BINS,) * 3)
    for axis in range(3):
        shares = 0.5 * shares + 0.25 * (np.roll(shares, 1, axis) + np.roll(shares, -1, axis))
    return np.log(shares.ravel() / max(shares.sum(), 1) + 2e-5).astype(np.float32)


def _local_log_density(lab: Float32[np.ndarray, "h w 3"], sure: Bool[np.ndarray, "h w"]) -> Map:
    """Of a Gaussian with the mean and variance of the sure pixels around; a low constant where there are none."""
    reach, smallest_variance, unknown = (0, 0), 25.0, -14.0
    part = sure.astype(np.float32)[..., None]
    share = cv2.GaussianBlur(part, reach, 6.0)[..., None]
    mean = cv2.GaussianBlur(lab * part, reach, 6.0) / np.maximum(share, 1e-6)
    square = cv2.GaussianBlur(lab * lab * part, reach, 6.0) / np.maximum(share, 1e-6)
    variance = np.maximum(square - mean**2, 0) + smallest_variance
    density = -0.5 * ((lab - mean) ** 2 / variance + np.log(variance)).sum(-1)
    known = np.minimum(share[..., 0] / 0.02, 1)
    return np.maximum(density, -25.0) * known + unknown * (1 - known)


class NeighbourWeights(NamedTuple):
    """How much each pixel's neighbour in four directions (the others are their mirror images) has in common with it."""

    steps: tuple[tuple[int, int], ...]
    weights: tuple[Map, ...]

    def support(self, shares: Float32[np.ndarray, "*layers h w"]) -> Float32[np.ndarray, "*layers h w"]:
        """The weighted sum of the eight neighbours' shares."""
        total = np.zeros_like(shares)
        for (y, x), weight in zip(self.steps, self.weights, strict=True):
            total += weight * np.roll(shares, (-y, -x), (-2, -1)) + np.roll(weight * shares, (y, x), (-2, -1))
        return total


def neighbour_weights(frame: UInt8[np.ndarray, "h w 3"]) -> NeighbourWeights:
    """Weights that end at the frame's edges: colour difference against what is usual in the frame."""
    return _neighbour_weights(_lab(frame))


def _neighbour_weights(lab: Float32[np.ndarray, "h w 3"]) -> NeighbourWeights:
    steps = ((0, 1), (1, 0), (1, 1), (1, -1))
    differences = [np.square(lab - np.roll(lab, (-y, -x), (0, 1))).sum(-1) for y, x in steps]
    usual = 2 * float(np.mean(differences)) + 1e-6
    weights = (np.exp(-d / usual) / np.float32(np.hypot(*step)) for step, d in zip(steps, differences, strict=True))
    return NeighbourWeights(steps, tuple(weights))


def _smooth(
    score: Float32[np.ndarray, "layers h w"], lab: Float32[np.ndarray, "h w 3"], strength: float, rounds: int = 8
) -> Float32[np.ndarray, "layers h w"]:
    """Shares of the layers by their scores and their neighbours' shares."""
    neighbours = _neighbour_weights(lab)
    shares = _softmax(score)
    for _ in range(rounds):
        shares = _softmax(score + strength * neighbours.support(shares))
    return shares


def _softmax(score: Float32[np.ndarray, "layers h w"]) -> Float32[np.ndarray, "layers h w"]:
    likely = np.exp(score - score.max(0))
    return likely / likely.sum(0)


def window_around(where: Bool[np.ndarray, "h w"], margin: int = 8) -> Window:
    """The smallest part of the image that holds all of `where`, and a margin."""
    left, top, width, height = cv2.boundingRect(where.astype(np.uint8))
    if width == 0:
        return slice(0, 0), slice(0, 0)
    bottom, right = min(top + height + margin, where.shape[0]), min(left + width + margin, where.shape[1])
    return slice(max(top - margin, 0), bottom), slice(max(left - margin, 0), right)
