"""Flow and masks to a global motion per layer and frame: where the learned mapping starts.

Flow inside a layer's mask is sampled for every pair of frames there is flow between. Neighbours are fitted robustly and
chained from the layer's reference frame; then all frames are refined at once against all samples, near and far, so that
errors do not add up along the clip (bundle adjustment on a plane). The error is measured in pixels of the frames,
|H_s⁻¹ H_t p − q| for a sample that goes from p in frame t to q in frame s: measured on the reference instead, it would
be least for a motion that shrinks everything.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import cv2
import numpy as np
from jaxtyping import Bool, Float, Float64, Int, UInt8

from layerloom.core.geometry import Size, rescale_positions, transform_points
from layerloom.core.imaging import resize_all
from layerloom.core.parallel import in_threads
from layerloom.data.clip import FlowField, Masks, layer_coverage

SAMPLES = 300
"""Flow vectors per pair of frames, direction and layer."""
FEWEST_SAMPLES = 12
"""A pair of frames with fewer says nothing about a layer."""
ROUNDS = 8
LINKS_AT_ONCE = 32
"""For each thread: little enough for its cache."""
AFFINE = 6
HOMOGRAPHY = 8
INDEPENDENT_PIXELS = 16
"""Flow vectors nearer than this area err alike, so a layer of fewer pixels than all samples' areas has less weight."""
USUAL_TURN = 0.05
"""Rotation, shear or zoom that a layer is expected to make in a frame (1 = its size): a prior for small layers."""
GAP_WEIGHT = 1e-3
LARGEST_AREA = 64.0
"""By which a homography may enlarge a corner of a frame. A canvas that holds more is mostly empty."""

Matrices = Float64[np.ndarray, "t 3 3"]


@dataclass(frozen=True)
class _Links:
    """Sample i of link k goes from `start[k, i]`, frame `first[k]`, to `end[k, i]`, frame `last[k]`."""

    first: Int[np.ndarray, " links"]
    last: Int[np.ndarray, " links"]
    start: Float64[np.ndarray, "links samples 2"]
    end: Float64[np.ndarray, "links samples 2"]
    weight: Float64[np.ndarray, "links samples"]

    def part(self, begin: int, end: int) -> "_Links":
        return _Links(
            self.first[begin:end],
            self.last[begin:end],
            self.start[begin:end],
            self.end[begin:end],
            self.weight[begin:end],
        )


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
    shown = np.unique([*links.first, *links.last])
    if len(shown) == 0:
        return np.tile(np.eye(3), (frames, 1, 1))
    reference = _reference_frame(coverage, shown)
    normalise = _normalisation(coverage)
    pixel = float(normalise[0, 0, 0])
    links = _bridge_gaps(_normalised_links(links, normalise), shown)
    motion = _chain(links, frames, reference, pixel)
    motion = _refine(motion, links, shown, reference, AFFINE, pixel)
    if freedom == HOMOGRAPHY:
        projective = _refine(motion, links, shown, reference, HOMOGRAPHY, pixel)
        motion = projective if _is_moderate(projective, normalise, coverage) else motion
    motion = np.linalg.inv(motion[reference] @ normalise[reference]) @ motion @ normalise
    return _fill_hidden(motion, shown)


def _sample_links(flow: Sequence[FlowField], coverage: UInt8[np.ndarray, "t h w"]) -> _Links:
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
    return _Links(first, last, stacked[0], stacked[1], stacked[2][..., 0])


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


def _reference_frame(coverage: UInt8[np.ndarray, "t h w"], shown: Int[np.ndarray, " shown"]) -> int:
    """The middlemost of the frames that show at least 0.6 of the layer's largest area."""
    area = np.array([coverage[t].sum(dtype=np.int64) for t in shown])
    good = shown[area >= 0.6 * area.max()]
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


def _normalised_links(links: _Links, normalise: Matrices) -> _Links:
    start = transform_points(normalise[links.first][:, None], links.start)
    end = transform_points(normalise[links.last][:, None], links.end)
    return _Links(links.first, links.last, start, end, links.weight)


def _bridge_gaps(links: _Links, shown: Int[np.ndarray, " shown"]) -> _Links:
    """Where the layer was out of sight, weak links say that it comes back as large and as upright as it went."""
    gaps = np.flatnonzero(np.diff(shown) > 1)
    points = np.resize(_corners(), (len(gaps), SAMPLES, 2))
    return _Links(
        np.concatenate([links.first, shown[gaps]]),
        np.concatenate([links.last, shown[gaps + 1]]),
        np.concatenate([links.start, points]),
        np.concatenate([links.end, points]),
        np.concatenate([links.weight, np.full((len(gaps), SAMPLES), GAP_WEIGHT)]),
    )


def _chain(links: _Links, frames: int, reference: int, pixel: float) -> Matrices:
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


def _refine(
    motion: Matrices, links: _Links, shown: Int[np.ndarray, " shown"], reference: int, freedom: int, pixel: float
) -> Matrices:
    """Gauss-Newton on all frames at once, samples weighed anew in each round (Geman-McClure, scaled by the median).

    Frames take updates H ← (I + Δ) H, so a link sees only the difference Δ_first − Δ_last.
    """
    place = np.zeros(len(motion), int)
    place[shown] = np.arange(len(shown))
    parts = [links.part(begin, begin + LINKS_AT_ONCE) for begin in range(0, len(links.first), LINKS_AT_ONCE)]
    for _ in range(ROUNDS):
        equations = in_threads(partial(_normal_equations, motion, freedom=freedom, pixel=pixel), parts)
        normal, gradient = (np.concatenate(part) for part in zip(*equations, strict=True))
        update = _solve(normal, gradient, place[links.first], place[links.last], int(place[reference]), len(shown))
        motion = motion.copy()
        motion[shown] = (np.eye(3) + update) @ motion[shown]
        motion /= motion[:, 2:, 2:]
    return motion


def _normal_equations(
    motion: Matrices, links: _Links, freedom: int, pixel: float
) -> tuple[Float64[np.ndarray, "links freedom freedom"], Float64[np.ndarray, "links freedom"]]:
    """Per link JᵀWJ and JᵀW·error, with respect to Δ_first − Δ_last."""
    jacobian, error = _linearise(motion, links.first, links.last, links.start, links.end, freedom)
    distance = np.linalg.norm(error, axis=-1)
    weight = links.weight * _robust_weight(distance, links.weight, pixel)
    stiff_jacobian, stiff_error = _stiffness(motion, links, freedom)
    stiff = np.repeat((pixel / (USUAL_TURN * np.abs(links.last - links.first)))[:, None] ** 2, 4, axis=1)
    jacobian, error = np.concatenate([jacobian, stiff_jacobian], 1), np.concatenate([error, stiff_error], 1)
    weight = np.concatenate([weight, stiff], 1)
    flat = jacobian.reshape(len(error), -1, freedom)
    weighted = flat * np.repeat(weight, 2, axis=1)[..., None]
    gradient = weighted.transpose(0, 2, 1) @ error.reshape(len(error), -1, 1)
    return weighted.transpose(0, 2, 1) @ flat, gradient[..., 0]


def _linearise(
    motion: Matrices,
    first: Int[np.ndarray, " links"],
    last: Int[np.ndarray, " links"],
    start: Float64[np.ndarray, "links n 2"],
    end: Float64[np.ndarray, "links n 2"],
    freedom: int,
) -> tuple[Float64[np.ndarray, "links n 2 freedom"], Float64[np.ndarray, "links n 2"]]:
    """Error of each sample in its last frame, and its derivative by the entries, row by row, of Δ_first − Δ_last."""
    inverse = np.linalg.inv(motion[last])
    reference = np.concatenate([start, np.ones((*start.shape[:2], 1))], -1) @ motion[first].transpose(0, 2, 1)
    carried = reference @ inverse.transpose(0, 2, 1)
    depth = carried[..., 2:]
    position = carried[..., :2] / depth
    by_vector = (inverse[:, None, :2] - position[..., None] * inverse[:, None, 2:]) / depth[..., None]
    rows = -(-freedom // 3)  # of Δ that are free
    jacobian = by_vector[..., :rows, None] * reference[:, :, None, None, :]
    return jacobian.reshape(*start.shape, 3 * rows)[..., :freedom], position - end


def _stiffness(
    motion: Matrices, links: _Links, freedom: int
) -> tuple[Float64[np.ndarray, "links 4 2 freedom"], Float64[np.ndarray, "links 4 2"]]:
    """How far the motion of each link is from a translation, at four points about the layer's centre."""
    corners = np.tile(_corners(), (len(links.first), 1, 1))
    jacobian, error = _linearise(motion, links.first, links.last, corners, corners, freedom)
    centre = np.zeros((len(links.first), 1, 2))
    centre_jacobian, centre_error = _linearise(motion, links.first, links.last, centre, centre, freedom)
    return jacobian - centre_jacobian, error - centre_error


def _robust_weight(
    distance: Float64[np.ndarray, "links samples"], weight: Float64[np.ndarray, "links samples"], pixel: float
) -> Float64[np.ndarray, "links samples"]:
    """Geman-McClure with σ from the link's median error (0.15 px to four), times (pixel / σ)²."""
    told = weight > 0
    ordered, count = np.sort(np.where(told, distance, np.inf), axis=1), told.sum(1, keepdims=True)
    median = sum(np.take_along_axis(ordered, place, 1) for place in ((count - 1) // 2, count // 2)) / 2
    sigma = np.clip(1.5 * median, 0.15 * pixel, 4.0 * pixel)
    return (pixel / sigma) ** 2 / (1.0 + (distance / sigma) ** 2) ** 2


def _solve(
    normal: Float64[np.ndarray, "links freedom freedom"],
    gradient: Float64[np.ndarray, "links freedom"],
    first: Int[np.ndarray, " links"],
    last: Int[np.ndarray, " links"],
    reference: int,
    frames: int,
) -> Float64[np.ndarray, "frames 3 3"]:
    """Updates Δ of all frames that minimise Σ weight |error + J (Δ_first − Δ_last)|², with none for the reference.

    Links reach a limited number of frames, so in blocks of that many the normal equations are block-tridiagonal.
    """
    freedom = normal.shape[-1]
    low, high = np.minimum(first, last), np.maximum(first, last)
    size = int((high - low).max())
    blocks = -(-frames // size)
    diagonal = np.zeros((blocks, size, size, freedom, freedom))
    coupling = np.zeros((blocks, size, size, freedom, freedom))
    right = np.zeros((blocks, size, freedom))
    for place, sign in ((first, -1.0), (last, 1.0)):
        _add(diagonal, (place // size, place % size, place % size), normal)
        _add(right, (place // size, place % size), sign * gradient)
    same = low // size == high // size
    for target, chosen, one, other in (
        (diagonal, same, low, high),
        (diagonal, same, high, low),
        (coupling, ~same, low, high),
    ):
        _add(target, (low[chosen] // size, one[chosen] % size, other[chosen] % size), -normal[chosen])
    order = size * freedom
    damping = 1e-9 * np.trace(normal, axis1=1, axis2=2).max() * np.eye(order)
    diagonal, coupling = (m.transpose(0, 1, 3, 2, 4).reshape(blocks, order, order) for m in (diagonal, coupling))
    diagonal += damping
    fixed = (reference % size) * freedom + np.arange(freedom)
    diagonal[reference // size, fixed, fixed] += 1e15 * damping[0, 0]
    update = _solve_block_tridiagonal(diagonal, coupling, right.reshape(blocks, order))
    matrices = np.zeros((blocks * size, 9))
    matrices[:, :freedom] = update.reshape(-1, freedom)
    return matrices[:frames].reshape(frames, 3, 3)


def _add(target: Float64[np.ndarray, "..."], index: tuple[np.ndarray, ...], values: Float64[np.ndarray, "..."]) -> None:
    """Add where indices may repeat."""
    np.add.at(target, cast(Any, index), values)


def _solve_block_tridiagonal(
    diagonal: Float64[np.ndarray, "blocks m m"],
    coupling: Float64[np.ndarray, "blocks m m"],
    right: Float64[np.ndarray, "blocks m"],
) -> Float64[np.ndarray, "blocks m"]:
    """Symmetric; `coupling[b]` lies between blocks b and b + 1. Forward elimination, then substitution back."""
    diagonal, solution = diagonal.copy(), right.copy()
    factors = np.zeros_like(coupling)
    for b in range(1, len(diagonal)):
        factors[b] = np.linalg.solve(diagonal[b - 1], coupling[b - 1]).T
        diagonal[b] -= factors[b] @ coupling[b - 1]
        solution[b] -= factors[b] @ solution[b - 1]
    for b in range(len(diagonal) - 1, -1, -1):
        if b + 1 < len(diagonal):
            solution[b] -= coupling[b] @ solution[b + 1]
        solution[b] = np.linalg.solve(diagonal[b], solution[b])
    return solution


def _is_moderate(motion: Matrices, normalise: Matrices, coverage: UInt8[np.ndarray, "t h w"]) -> bool:
    """Does a homography keep every corner of every frame in front, and enlarge nothing beyond LARGEST_AREA?"""
    _, height, width = coverage.shape
    corners = np.array([[0.0, 0.0, 1.0], [width, 0.0, 1.0], [0.0, height, 1.0], [width, height, 1.0]])
    depth = (corners @ (motion @ normalise).transpose(0, 2, 1))[..., 2]
    area = np.linalg.det(motion)[:, None] / np.maximum(depth, 1e-9) ** 3
    return bool((depth > 0).all() and (area < LARGEST_AREA).all() and (area > 1 / LARGEST_AREA).all())


def _fill_hidden(motion: Matrices, shown: Int[np.ndarray, " shown"]) -> Matrices:
    """Between the frames that show the layer, its points move evenly; before and after, they rest."""
    inverse = np.linalg.inv(motion)
    inverse /= inverse[:, 2:, 2:]
    times = np.arange(len(motion))
    flat = inverse.reshape(-1, 9)
    filled = np.stack([np.interp(times, shown, flat[shown, entry]) for entry in range(9)], -1)
    filled = np.linalg.inv(filled.reshape(-1, 3, 3))
    return filled / filled[:, 2:, 2:]


def _corners() -> Float64[np.ndarray, "4 2"]:
    return np.array([[-1.0, -1.0], [1.0, -1.0], [-1.0, 1.0], [1.0, 1.0]])
