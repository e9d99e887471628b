"""Flow and masks to a global motion per layer and frame: where the learned mapping starts.

Flow inside a layer's mask is sampled for every pair of frames there is flow between. Neighbours are fitted robustly and
chained from the layer's reference frame; then all frames are refined at once against all samples, near and far, so that
errors do not add up along the clip (bundle adjustment on a plane). The error is measured in pixels of the frames,
|H_s⁻¹ H_t p − q| for a sample that goes from p in frame t to q in frame s: measured on the reference instead, it would
be least for a motion that shrinks everything.
"""

from collections.abc import Sequence

import cv2
import numpy as np
from jaxtyping import Bool, Float, Float64, Int, UInt8

from layerloom.core.geometry import Size, rescale_positions, transform_points
from layerloom.core.imaging import resize_all
from layerloom.core.parallel import in_threads
from layerloom.data.clip import FlowField, Masks, layer_coverage
from layerloom.prepare.bundle import Frames, Links, Matrices, refine
from layerloom.prepare.plane_equations import CORNERS

SAMPLES = 300
"""Flow vectors per pair of frames, direction and layer."""
FEWEST_SAMPLES = 12
"""A pair of frames with fewer says nothing about a layer."""
AFFINE = 6
HOMOGRAPHY = 8
INDEPENDENT_PIXELS = 16
"""Flow vectors nearer than this area err alike, so a layer of fewer pixels than all samples' areas has less weight."""
GAP_WEIGHT = 1e-3
LARGEST_AREA = 64.0
"""By which a homography may enlarge a corner of a frame. A canvas that holds more is mostly empty."""


def estimate_motion(flow: Sequence[FlowField], masks: Masks) -> Float64[np.ndarray, "layers t 3 3"]:
    """Per layer (objects front to back, then the background) and frame t the matrix that takes a pixel (x, y, 1) of
    frame t, at training size, to the layer's reference frame: of the frames that show it well, the middlemost.

    A homography for the background (affine where a turning camera would blow it up); affine for objects, and nearly
    a translation where few pixels support more. Frames that do not show the layer get the motion between their
    neighbours'; before its first and after its last it rests.
    """
    freedoms = [AFFINE] * len(masks.names) + [HOMOGRAPHY]
    layers = zip(layer_coverage(masks), freedoms, strict=True)
    return np.stack(list(in_threads(lambda layer: _layer_motion(flow, *layer), layers)))


def _layer_motion(flow: Sequence[FlowField], coverage: UInt8[np.ndarray, "t h w"], freedom: int) -> Matrices:
    frames = len(coverage)
    links = _sample_links(flow, coverage)
    visible = np.unique([*links.first, *links.last])
    if len(visible) == 0:
        return np.tile(np.eye(3), (frames, 1, 1))
    reference = _reference_frame(coverage, visible)
    normalise = _normalisation(coverage)
    pixel = float(normalise[0, 0, 0])
    links = _bridge_gaps(_normalised_links(links, normalise), visible)
    known = Frames(visible, reference, pixel)
    motion = refine(_chain(links, frames, reference, pixel), links, known, AFFINE)
    if freedom == HOMOGRAPHY:
        projective = refine(motion, links, known, HOMOGRAPHY)
        motion = projective if _is_moderate(projective, normalise, coverage) else motion
    motion = np.linalg.inv(motion[reference] @ normalise[reference]) @ motion @ normalise
    return _fill_hidden(motion, visible)


def _sample_links(flow: Sequence[FlowField], coverage: UInt8[np.ndarray, "t h w"]) -> Links:
    """Flow vectors that start and end inside the layer and are confirmed by the way back."""
    generator = np.random.default_rng(0)
    full_size = (coverage.shape[2], coverage.shape[1])
    found: list[tuple[int, int, np.ndarray, np.ndarray, np.ndarray]] = []
    layers = {size: covered(coverage, size) for size in {field.size for field in flow}}
    for field in flow:
        layer = layers[field.size]
        candidates = [_candidates(image, generator) for image in layer]
        areas = layer.sum((1, 2))
        for t in range(len(field.forward)):
            ends = (t, t + field.step)
            ways = (
                (ends, field.forward, field.forward_confidence),
                (ends[::-1], field.backward, field.backward_confidence),
            )
            for (first, last), vectors, confidence in ways:
                start, end, weight = _follow(candidates[first], vectors[t], confidence[t], layer[last])
                if (weight > 0.1).sum() >= FEWEST_SAMPLES:
                    weight = weight * min(1.0, areas[first] / (INDEPENDENT_PIXELS * SAMPLES))
                    start, end = (rescale_positions(xy, field.size, full_size) for xy in (start, end))
                    found.append((first, last, start, end, weight))
    first, last = (np.array([link[i] for link in found], int) for i in (0, 1))
    stacked = [
        np.array([link[i] for link in found], float).reshape(-1, SAMPLES, d) for i, d in ((2, 2), (3, 2), (4, 1))
    ]
    return Links(first, last, stacked[0], stacked[1], stacked[2][..., 0])


def covered(coverage: UInt8[np.ndarray, "t h w"], size: Size) -> Bool[np.ndarray, "t _ _"]:
    """What a layer surely covers, at another size."""
    return resize_all(coverage, size) > 127


def _candidates(covered: Bool[np.ndarray, "h w"], generator: np.random.Generator) -> Int[np.ndarray, "samples 2"]:
    """(column, row) of SAMPLES random pixels of a layer; none at all as an empty array."""
    inside = np.flatnonzero(covered)
    if len(inside) < FEWEST_SAMPLES:
        return np.empty((0, 2), int)
    chosen = inside[generator.integers(len(inside), size=SAMPLES)]
    return np.stack([chosen % covered.shape[1], chosen // covered.shape[1]], -1)


def _follow(
    pixels: Int[np.ndarray, "samples 2"],
    vectors: Float[np.ndarray, "h w 2"],
    confidence: UInt8[np.ndarray, "h w"],
    target: Bool[np.ndarray, "h w"],
) -> tuple[Float64[np.ndarray, "samples 2"], Float64[np.ndarray, "samples 2"], Float64[np.ndarray, " samples"]]:
    """Start, end (pixel positions at the flow's size) and weight of each sample; 0 where it ends outside the layer."""
    column, row = pixels[:, 0], pixels[:, 1]
    start = pixels + 0.5
    end = start + vectors[row, column]
    height, width = target.shape
    landing = np.floor(end).astype(int)
    inside = (landing >= 0).all(-1) & (landing[:, 0] < width) & (landing[:, 1] < height)
    landing = np.clip(landing, 0, [width - 1, height - 1])
    weight = confidence[row, column] / 255.0 * (inside & target[landing[:, 1], landing[:, 0]])
    return start, end, weight


def _reference_frame(coverage: UInt8[np.ndarray, "t h w"], visible: Int[np.ndarray, " visible"]) -> int:
    """The middlemost of the frames that show at least 0.6 of the layer's largest area."""
    area = np.array([coverage[t].sum(dtype=np.int64) for t in visible])
    good = visible[area >= 0.6 * area.max()]
    return int(good[np.argmin(np.abs(good - (len(coverage) - 1) / 2))])


def _normalisation(coverage: UInt8[np.ndarray, "t h w"]) -> Matrices:
    """Per frame: the layer's centre to the origin; one scale for all frames, which makes its typical radius 1."""
    frames = len(coverage)
    centres, radii = np.full((frames, 2), np.nan), np.full(frames, np.nan)
    for t, moments in enumerate(in_threads(cv2.moments, coverage)):
        if (mass := moments["m00"]) > 0:
            centres[t] = moments["m10"] / mass + 0.5, moments["m01"] / mass + 0.5
            radii[t] = np.sqrt((moments["mu20"] + moments["mu02"]) / mass)
    seen = np.flatnonzero(np.isfinite(radii))
    scale = 1.0 / max(float(np.median(radii[seen])), 2.0)
    matrices = np.zeros((frames, 3, 3))
    for axis in (0, 1):
        matrices[:, axis, axis] = scale
        matrices[:, axis, 2] = -scale * np.interp(np.arange(frames), seen, centres[seen, axis])
    matrices[:, 2, 2] = 1.0
    return matrices


def _normalised_links(links: Links, normalise: Matrices) -> Links:
    start = transform_points(normalise[links.first][:, None], links.start)
    end = transform_points(normalise[links.last][:, None], links.end)
    return Links(links.first, links.last, start, end, links.weight)


def _bridge_gaps(links: Links, visible: Int[np.ndarray, " visible"]) -> Links:
    """Where the layer was out of sight, weak links say that it comes back as large and as upright as it went."""
    gaps = np.flatnonzero(np.diff(visible) > 1)
    points = np.resize(CORNERS, (len(gaps), SAMPLES, 2))
    return Links(
        np.concatenate([links.first, visible[gaps]]),
        np.concatenate([links.last, visible[gaps + 1]]),
        np.concatenate([links.start, points]),
        np.concatenate([links.end, points]),
        np.concatenate([links.weight, np.full((len(gaps), SAMPLES), GAP_WEIGHT)]),
    )


def _chain(links: Links, frames: int, reference: int, pixel: float) -> Matrices:
    """Robust fits between neighbours, multiplied up from the reference frame, in normalised coordinates."""
    relative = np.tile(np.eye(3), (frames, 1, 1))
    for k in np.flatnonzero(links.last == links.first + 1):
        relative[links.first[k]] = _fit_pair(links.start[k], links.end[k], links.weight[k], pixel)
    motion = np.tile(np.eye(3), (frames, 1, 1))
    for t in range(reference + 1, frames):
        motion[t] = motion[t - 1] @ np.linalg.inv(relative[t - 1])
    for t in range(reference - 1, -1, -1):
        motion[t] = motion[t + 1] @ relative[t]
    return motion


def _fit_pair(
    start: Float64[np.ndarray, "samples 2"],
    end: Float64[np.ndarray, "samples 2"],
    weight: Float64[np.ndarray, " samples"],
    pixel: float,
) -> Float64[np.ndarray, "3 3"]:
    """RANSAC affine; a translation where that is degenerate or the samples are few."""
    good = weight > 0.5
    matrix = np.eye(3)
    if good.sum() >= 50:
        found, _ = cv2.estimateAffine2D(start[good], end[good], ransacReprojThreshold=1.5 * pixel)
        if np.shape(found) == (2, 3) and 0.5 < np.linalg.det(found[:, :2]) < 2.0:
            matrix[:2] = found
            return matrix
    matrix[:2, 2] = np.median((end - start)[good if good.any() else weight > 0], axis=0)
    return matrix


def _is_moderate(motion: Matrices, normalise: Matrices, coverage: UInt8[np.ndarray, "t h w"]) -> bool:
    """Does a homography keep every corner of every frame in front, and enlarge nothing beyond LARGEST_AREA?"""
    _, height, width = coverage.shape
    corners = np.array([[0.0, 0.0, 1.0], [width, 0.0, 1.0], [0.0, height, 1.0], [width, height, 1.0]])
    depth = (corners @ (motion @ normalise).transpose(0, 2, 1))[..., 2]
    area = np.linalg.det(motion)[:, None] / np.maximum(depth, 1e-9) ** 3
    return bool((depth > 0).all() and (area < LARGEST_AREA).all() and (area > 1 / LARGEST_AREA).all())


def _fill_hidden(motion: Matrices, visible: Int[np.ndarray, " visible"]) -> Matrices:
    """Between the frames that show the layer, its points move evenly; before and after, they rest."""
    inverse = np.linalg.inv(motion)
    inverse /= inverse[:, 2:, 2:]
    times = np.arange(len(motion))
    flat = inverse.reshape(-1, 9)
    filled = np.stack([np.interp(times, visible, flat[visible, entry]) for entry in range(9)], -1)
    filled = np.linalg.inv(filled.reshape(-1, 3, 3))
    return filled / filled[:, 2:, 2:]
