"""Masks where the user gives none: what moves against the camera, followed through time and cut out along its edges.

    flow ──► camera per pair of frames ──► evidence of other motion ──► likelihood (with colour and time) ──► seeds
    seeds ──► grown along the flow, by colour and all evidence near them ──► objects ──► outlines settled by colour

It works on small frames (WORK_LONG_EDGE). Evidence asks two questions of every pixel and every flow field, near and
far: does the flow disagree with the camera's motion, by much against what is usual in this pair of frames (so mild
parallax and noise count little); and does the picture itself contradict the camera's motion there, which it does not
where a flat region's flow was only guessed. Water and leaves answer yes now and then, an object in most fields.

Parts of the scene that are nearer than its main plane also leave the camera's motion: they go its way, only faster.
What does so is no seed, unless nothing else moves; but near a seed it counts in full, since objects may do it, too.
"""

from collections.abc import Sequence

import cv2
import numpy as np
from jaxtyping import Bool, Float32, Float64, Int32, UInt8

from layerloom.clip import FlowField, Masks
from layerloom.conventions import Size, fit_long_edge, pixel_centres, rescale_positions, transform_points
from layerloom.parallel import in_threads
from layerloom.prepare.complete import complete_masks
from layerloom.prepare.links import Link, links_of
from layerloom.prepare.outlines import COLOUR_BINS, colour_cells, settle_by_colour, signed_distance

WORK_LONG_EDGE = 320
MAXIMUM_OBJECTS = 4
EVIDENT = 0.25
"""Evidence from which a pixel may be the seed of an object."""
SMALLEST_SHARE = 0.001
"""An object covers at least this share of the frame in the mean of its frames."""
DISCOVERED_TRUST = 160
ERROR_PIXELS = 3.0
"""By which a found outline may be wrong, at the working size."""
PARALLAX_DISCOUNT = 0.7
CERTAINTY = 0.5
"""Flow confidence from which a vector has a say in the camera's motion."""

Video = UInt8[np.ndarray, "t h w 3"]
Maps = Float32[np.ndarray, "t h w"]
Map = Float32[np.ndarray, "h w"]
Labels = Int32[np.ndarray, "t h w"]


def discover_masks(frames: UInt8[np.ndarray, "t h w 3"], flow: Sequence[FlowField]) -> Masks:
    """Find the objects that move against the camera: `object1`, … (largest first, at most four), or none at all.

    Objects that touch at any time are one. Shadows and reflections that move along belong to their object. `coverage`
    has no objects (shape (0, t, h, w)) when nothing moves against the camera. Trust is at most 160 of 255, less along
    outlines and where neighbouring frames disagree.
    """
    size = (frames.shape[2], frames.shape[1])
    work_size = fit_long_edge(size, WORK_LONG_EDGE)
    small = _shrunk(frames, work_size)
    flow = [_resized(field, work_size) for field in flow]
    objects = _find_objects(small, flow)
    coverage = np.zeros((len(objects), *frames.shape[:3]), np.uint8)
    if objects:
        distances = [[signed_distance(_without_holes(image > 0.5)) for image in mask] for mask in objects]
        shares = settle_by_colour(small, np.array(distances), ERROR_PIXELS)
        for index in np.ndindex(shares.shape[:2]):
            coverage[index] = np.round(255 * np.clip(cv2.resize(shares[index], size), 0, 1))
    names = tuple(f"object{i + 1}" for i in range(len(objects)))
    return complete_masks(Masks(names, coverage, np.full_like(coverage, DISCOVERED_TRUST)), frames, flow)


def _resized(field: FlowField, size: Size) -> FlowField:
    def vectors(fields: np.ndarray) -> np.ndarray:
        return rescale_positions(_shrunk(fields, size), field.size, size).astype(np.float16)

    return FlowField(
        field.step,
        vectors(field.forward),
        vectors(field.backward),
        _shrunk(field.forward_confidence, size),
        _shrunk(field.backward_confidence, size),
    )


def _shrunk(images: np.ndarray, size: Size) -> np.ndarray:
    def shrink(image: np.ndarray) -> np.ndarray:
        if image.dtype == np.float16:  # which OpenCV cannot resize
            image = image.astype(np.float32)
        return cv2.resize(image, size, interpolation=cv2.INTER_AREA)

    return np.stack(list(in_threads(shrink, images)))


def _find_objects(small: Video, flow: Sequence[FlowField]) -> list[Maps]:
    """How likely each object is at each pixel, largest object first."""
    evidence, beyond_parallax = (_share_in_time(maps, flow) for maps in _motion_evidence(small, flow))
    seeds = _separate_objects(_object_likelihood(small, beyond_parallax, flow), flow)
    if not seeds:
        return []
    return _separate_objects(_grown(small, np.max(seeds, 0), evidence, flow), flow)


def _motion_evidence(small: Video, flow: Sequence[FlowField]) -> tuple[Maps, Maps]:
    """How surely each pixel moves against the camera: 0…1, the mean over all frames the flow connects it with; and the
    same with motion discounted that parallax can explain.
    """
    blurred = [cv2.GaussianBlur(frame.astype(np.float32), (0, 0), 1.0) for frame in small]

    def evidence(frame: int) -> Float32[np.ndarray, "2 h w"]:
        total = np.zeros((2, *small.shape[1:3]), np.float32)
        weights = np.full((2, *small.shape[1:3]), 1e-3, np.float32)
        for link in links_of(frame, flow, (small.shape[2], small.shape[1])):
            if (camera := _camera_motion(link)) is not None:
                moves, contradicted = _against_camera(link, camera, blurred[frame], blurred[link.frame])
                beyond = moves * (1 - PARALLAX_DISCOUNT * _like_parallax(link, camera))
                reach = np.float32(min(link.distance, 4) ** 0.5)
                for i, motion in enumerate((moves, beyond)):
                    total[i] += reach * link.confidence * motion * contradicted
                    # Where the picture contradicts nothing although the flow does, it says little: a flat inside.
                    says = 0.15 + 0.85 * np.maximum(contradicted, 1 - motion)
                    weights[i] += reach * (link.confidence + 0.2) * says
        return total / weights

    both = np.stack(list(in_threads(evidence, range(len(small)))), 1)
    return both[0], both[1]


def _camera_motion(link: Link) -> Float64[np.ndarray, "3 3"] | None:
    """The homography most vectors agree on (MAGSAC++, Barath et al. 2020); none where too few are certain."""
    sparse = np.s_[::6, ::6]
    certain = link.confidence[sparse] > CERTAINTY
    if certain.sum() < 20:
        return None
    height, width = link.x.shape
    start = (pixel_centres((width, height)) - 0.5)[sparse][certain]
    end = np.dstack([link.x, link.y])[sparse][certain]
    homography, _ = cv2.findHomography(start, end, cv2.USAC_MAGSAC, 1.0, maxIters=300, confidence=0.999)
    return homography


def _against_camera(
    link: Link,
    camera: Float64[np.ndarray, "3 3"],
    here: Float32[np.ndarray, "h w 3"],
    there: Float32[np.ndarray, "h w 3"],
) -> tuple[Map, Map]:
    """0…1 each: does the flow leave the camera's motion, and does the picture contradict the camera's motion?"""
    height, width = link.x.shape
    x, y = cv2.split(transform_points(camera.astype(np.float32), pixel_centres((width, height)) - 0.5))
    residual = np.hypot(link.x - x, link.y - y)
    by_camera = Link(link.frame, link.distance, x, y, link.confidence)
    camera_error, flow_error = (_largest_difference(way.bring(there), here) for way in (by_camera, link))
    seen = (link.confidence > CERTAINTY) & (x >= 0) & (y >= 0) & (x <= width - 1) & (y <= height - 1)
    if not seen.any():
        return np.zeros_like(residual), np.zeros_like(residual)
    usual_residual = 0.6 + 4.0 * np.median(residual[seen])
    usual_error = 2.0 + 2.0 * np.median(camera_error[seen])
    contradiction = cv2.blur(np.maximum(camera_error - flow_error, 0), (5, 5))
    return 1 - np.exp(-((residual / usual_residual) ** 2)), 1 - np.exp(-((contradiction / usual_error) ** 2))


def _like_parallax(link: Link, camera: Float64[np.ndarray, "3 3"]) -> Map:
    """0…1: does what is left of the flow go the way that the camera's motion goes there?"""
    height, width = link.x.shape
    start = pixel_centres((width, height)) - 0.5
    by_camera = transform_points(camera.astype(np.float32), start)
    way, rest = by_camera - start, np.dstack([link.x, link.y]) - by_camera
    length = np.linalg.norm(way, axis=-1)
    cosine = (way * rest).sum(-1) / (length * np.linalg.norm(rest, axis=-1) + 1e-6)
    return np.clip((cosine - 0.6) / 0.3, 0, 1) * np.clip((length - 1) / 2, 0, 1)


def _largest_difference(one: Float32[np.ndarray, "h w 3"], other: Float32[np.ndarray, "h w 3"]) -> Map:
    """Of the three channels'."""
    red, green, blue = cv2.split(cv2.absdiff(one, other))
    return cv2.max(cv2.max(red, green), blue)


def _share_in_time(maps: Maps, flow: Sequence[FlowField]) -> Maps:
    """The mean of each map and those of frames up to 4 away, brought here along the flow."""

    def share(frame: int) -> Map:
        total, weights = maps[frame].copy(), np.ones(maps.shape[1:], np.float32)
        for link in links_of(frame, flow, (maps.shape[2], maps.shape[1])):
            if link.distance <= 4:
                weight = link.confidence * np.float32(link.distance**-0.5)
                total += weight * link.bring(maps[link.frame])
                weights += weight
        return total / weights

    return np.stack(list(in_threads(share, range(len(maps)))))


def _object_likelihood(small: Video, evidence: Maps, flow: Sequence[FlowField]) -> Maps:
    """0…1: evidence, relative to the clip's strongest, corrected by colour, image edges and neighbouring frames."""
    evident = evidence[evidence > EVIDENT]
    if evident.size < SMALLEST_SHARE * evidence.size:
        return np.zeros_like(evidence)
    relative = np.clip(evidence / np.quantile(evident, 0.7), 0, 1)
    grey = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY).astype(np.float32) / 255 for frame in small]
    cells = np.stack([colour_cells(frame) for frame in small])
    likelihood = relative
    for round_ in range(3):
        colour = _colour_log_ratio(cells, likelihood)
        logit = 6.0 * (relative - 0.65) + 1.2 * np.clip(colour, -2.5, 2.5)
        if round_ > 0:
            logit += 2.0 * (2 * likelihood - 1)
        likelihood = 1 / (1 + np.exp(-logit))
        likelihood = np.stack([_guided_filter(g, p) for g, p in zip(grey, likelihood, strict=True)])
        likelihood = np.clip(_share_in_time(likelihood, flow), 0, 1)
    return likelihood


def _grown(small: Video, seeds: Maps, evidence: Maps, flow: Sequence[FlowField]) -> Maps:
    """0…1: the seeds, carried to frames that lack them, and what around them moves or is coloured like them."""
    relative = np.clip(evidence / np.quantile(evidence[seeds > 0.5], 0.6), 0, 1)
    grey = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY).astype(np.float32) / 255 for frame in small]
    cells = np.stack([colour_cells(frame) for frame in small])
    likelihood = seeds
    for _ in range(3):
        likelihood = np.maximum(0.98 * likelihood, _share_in_time(likelihood, flow)).astype(np.float32)
    for _ in range(4):
        away = [cv2.distanceTransform((p <= 0.5).astype(np.uint8), cv2.DIST_L2, 5) for p in likelihood]
        colour = _colour_log_ratio(cells, likelihood)
        logit = 4.0 * (relative - 0.4) + 1.2 * np.clip(colour, -2.5, 2.5) + 2.0 * (2 * likelihood - 1)
        likelihood = 1 / (1 + np.exp(np.clip(np.stack(away) / 5, 0, 4) - logit))
        likelihood = np.stack([_guided_filter(g, p) for g, p in zip(grey, likelihood, strict=True)])
        likelihood = np.clip(_share_in_time(likelihood, flow), 0, 1)
    return likelihood


def _colour_log_ratio(cells: Labels, likelihood: Maps) -> Maps:
    """Log of how much more usual a pixel's colour is in the objects than around them, over the whole clip."""
    reach = 2 * (max(cells.shape[1:]) // 16) + 1
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (reach, reach))
    around = np.stack([cv2.dilate((p > 0.5).astype(np.float32), disc) for p in likelihood])
    inside = _colour_shares(cells, np.where(likelihood > 0.5, likelihood, 0))
    outside = _colour_shares(cells, (1 - likelihood) * (around + 0.05))
    rare = 3e-5
    ratio = np.log((inside + rare) / (outside + rare)).astype(np.float32)[cells]
    return np.stack([cv2.blur(image, (3, 3)) for image in ratio])


def _colour_shares(cells: Labels, weights: Maps) -> Float64[np.ndarray, " cells"]:
    shares = np.bincount(cells.ravel(), weights.ravel(), COLOUR_BINS**3).reshape((COLOUR_BINS,) * 3)
    for axis in range(3):
        shares = 0.5 * shares + 0.25 * (np.roll(shares, 1, axis) + np.roll(shares, -1, axis))
    return shares.ravel() / max(shares.sum(), 1e-9)


def _guided_filter(guide: Map, image: Map, radius: int = 3, epsilon: float = 1e-3) -> Map:
    """Smooth `image` but for the edges of `guide` (He, Sun, Tang 2010)."""
    side = (2 * radius + 1, 2 * radius + 1)
    mean_guide, mean_image = cv2.blur(guide, side), cv2.blur(image, side)
    covariance = cv2.blur(guide * image, side) - mean_guide * mean_image
    slope = covariance / (cv2.blur(guide * guide, side) - mean_guide**2 + epsilon)
    return cv2.blur(slope, side) * guide + cv2.blur(mean_image - slope * mean_guide, side)


def _separate_objects(likelihood: Maps, flow: Sequence[FlowField]) -> list[Maps]:
    """Regions that stay apart through the clip, largest first; those that are small or short-lived are dropped."""
    labels = _space_time_regions(likelihood > 0.5, flow)
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    frames, height, width = labels.shape
    objects: list[Maps] = []
    for label in np.argsort(-sizes, kind="stable")[:MAXIMUM_OBJECTS]:
        lifetime = int((labels == label).any((1, 2)).sum())
        smallest = max(SMALLEST_SHARE * height * width * lifetime, 0.1 * sizes.max(), 1)
        if sizes[label] >= smallest and lifetime >= frames / 3:
            objects.append(np.where(labels == label, likelihood, 0).astype(np.float32))
    return objects


def _space_time_regions(inside: np.ndarray, flow: Sequence[FlowField]) -> Labels:
    """Number connected regions 1, 2, …; regions of two frames are one where flow brings them over each other."""
    labels = np.zeros(inside.shape, np.int32)
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (5, 5))
    for frame, mask in enumerate(inside):
        _, regions = cv2.connectedComponents(cv2.dilate(mask.astype(np.uint8), disc))
        labels[frame] = np.where(regions > 0, regions + labels.max(), 0)
    parent = np.arange(labels.max() + 1)
    for frame in range(len(labels)):
        for link in links_of(frame, flow, (inside.shape[2], inside.shape[1])):
            if frame < link.frame <= frame + 4:
                for a, b in _overlapping(labels[frame], _bring_labels(link, labels[link.frame])):
                    parent[_root(parent, a)] = _root(parent, b)
    roots = np.array([_root(parent, label) for label in range(len(parent))])
    return np.where(inside, roots[labels], 0).astype(np.int32)


def _root(parent: np.ndarray, label: int) -> int:
    while parent[label] != label:
        parent[label] = parent[parent[label]]
        label = int(parent[label])
    return label


def _bring_labels(link: Link, labels: Int32[np.ndarray, "h w"]) -> Int32[np.ndarray, "h w"]:
    return cv2.remap(labels.astype(np.float32), link.x, link.y, cv2.INTER_NEAREST).astype(np.int32)


def _overlapping(a: Int32[np.ndarray, "h w"], b: Int32[np.ndarray, "h w"]) -> list[tuple[int, int]]:
    """Pairs of regions of which the smaller lies by a third in the other."""
    both = (a > 0) & (b > 0)
    pairs, counts = np.unique(np.stack([a[both], b[both]]), axis=1, return_counts=True)
    size_a, size_b = np.bincount(a.ravel()), np.bincount(b.ravel())
    return [
        (int(i), int(j)) for (i, j), count in zip(pairs.T, counts, strict=True) if 3 * count > min(size_a[i], size_b[j])
    ]


def _without_holes(inside: Bool[np.ndarray, "h w"]) -> Bool[np.ndarray, "h w"]:
    """Fill what an object leaves open up to a tenth of its area: flat parts that show no motion of their own."""
    _, regions, statistics, _ = cv2.connectedComponentsWithStats((~inside).astype(np.uint8))
    small = statistics[:, cv2.CC_STAT_AREA] < 0.1 * inside.sum()
    small[0] = True  # what is inside
    return small[regions] & inside.any()
