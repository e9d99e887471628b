"""Masks where the user gives none: what moves against the camera, departs from the background and looks like it.

    flow ──► evidence of motion ──► background behind it ──► departure from it ─┐
                       │                                                        ├─► likelihood ──► objects ──► outlines
                       └──► the look of what moves and departs ─────────────────┘

It works on small frames (WORK_LONG_EDGE). Three witnesses err for different reasons: motion swells over outlines and
knows nothing of flat insides and resting parts; the departure from the background picture is sharp, but objects of the
background's colour do not depart, while shadows, parallax and water do; the look (a small network) is blind to motion,
and says what usually moves. Their sum is cut where the cut lies on the picture's own edges, neighbours in the picture
and along the flow then agree, and the whole is done once more from what was found.
"""

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Bool, Float32, Int32, UInt8
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from layerloom.core.geometry import Size, fit_long_edge, rescale_positions
from layerloom.core.imaging import image_size, resize, resize_all, warp
from layerloom.core.parallel import in_threads
from layerloom.data.clip import FlowField, Masks
from layerloom.prepare.clean_plate import departures
from layerloom.prepare.discover.appearance import appearance_features, appearance_logits
from layerloom.prepare.discover.evidence import motion_evidence, share_in_time
from layerloom.prepare.flow.links import Link, links_of
from layerloom.prepare.masks.colours import neighbour_weights, settle_by_colour
from layerloom.prepare.masks.edges import edge_strengths
from layerloom.prepare.masks.outlines import signed_distance
from layerloom.prepare.masks.repair import complete_masks

WORK_LONG_EDGE = 320
MAXIMUM_OBJECTS = 4
EVIDENT = 0.25
"""Evidence of motion from which a pixel may be part of an object."""
SMALLEST_SHARE = 0.001
"""An object covers at least this share of the frame in the mean of its frames."""
DISCOVERED_TRUST = 160
ERROR_PIXELS = 3.0
"""By which a found outline may be wrong, at the working size."""
DEPARTS = 6.0
"""Distance in CIELAB from which a pixel departs from the background."""
SHADE = 0.4
"""Of a shadow at most this share of its departure is left when the background is shaded."""
LEVELS = np.arange(-3, 2, 0.5)
"""Log odds at which the sum of the witnesses may be cut: each is only so well calibrated."""
NEARLY_BEST = 0.95

Video = UInt8[np.ndarray, "t h w 3"]
Maps = Float32[np.ndarray, "t h w"]
Map = Float32[np.ndarray, "h w"]
Labels = Int32[np.ndarray, "t h w"]


class Discovery(NamedTuple):
    """Found objects, and the share (0…1) of what surely moves and departs from the background that lies in them."""

    masks: Masks
    explained: float


def discover_masks(frames: UInt8[np.ndarray, "t h w 3"], flow: Sequence[FlowField]) -> Discovery:
    """Find the objects that move against the camera: `object1`, … (largest first, at most four), or none at all.

    Objects that touch or nearly touch at any time are one. `coverage` has no objects (shape (0, t, h, w)) when nothing
    moves against the camera. Trust is at most 160 of 255, less along outlines and where neighbouring frames disagree.
    """
    size = (frames.shape[2], frames.shape[1])
    work_size = fit_long_edge(size, WORK_LONG_EDGE)
    small = resize_all(frames, work_size)
    objects, explained = _find_objects(small, [_resized(field, work_size) for field in flow])
    coverage = np.zeros((len(objects), *frames.shape[:3]), np.uint8)
    if objects:
        distances = [[signed_distance(_without_holes(image > 0.5)) for image in mask] for mask in objects]
        shares = settle_by_colour(small, np.array(distances), ERROR_PIXELS, roughness=1.0)
        for index in np.ndindex(shares.shape[:2]):
            coverage[index] = np.round(255 * np.clip(resize(shares[index], size), 0, 1))
    names = tuple(f"object{i + 1}" for i in range(len(objects)))
    found = Masks(names, coverage, np.full_like(coverage, DISCOVERED_TRUST))
    return Discovery(complete_masks(found, frames, flow), explained)


def _resized(field: FlowField, size: Size) -> FlowField:
    def vectors(fields: np.ndarray) -> np.ndarray:
        return rescale_positions(resize_all(fields, size), field.size, size).astype(np.float16)

    return FlowField(
        field.step,
        vectors(field.forward),
        vectors(field.backward),
        resize_all(field.forward_confidence, size),
        resize_all(field.backward_confidence, size),
    )


def _find_objects(small: Video, flow: Sequence[FlowField]) -> tuple[list[Maps], float]:
    """How likely each object is at each pixel, largest object first, and what they explain (see Discovery)."""
    evidence = motion_evidence(small, flow)
    evident = evidence[evidence > EVIDENT]
    if evident.size < SMALLEST_SHARE * evidence.size:
        return [], 1.0
    moving = (evidence / np.quantile(evident, 0.9)).astype(np.float32)
    features = appearance_features(small)
    departs, shaded = departures(small, np.clip(1.5 * moving, 0, 1), flow)
    likelihood = _likelihood(small, _examples(moving, departs, shaded), moving, departs, shaded, features, flow)
    departs, shaded = departures(small, likelihood, flow)
    examples = likelihood > 0.5, np.abs(2 * likelihood - 1)
    likelihood = _likelihood(small, examples, moving, departs, shaded, features, flow)
    objects = _separate_objects(likelihood, flow)
    surely = (moving > 0.5) & (departs > DEPARTS + 2)
    covered = np.max(objects, 0) > 0.5 if objects else np.zeros_like(surely)
    return objects, float((surely & covered).sum() / max(surely.sum(), 1))


def _likelihood(
    small: Video,
    examples: tuple[Bool[np.ndarray, "t h w"], Maps],
    moving: Maps,
    departs: Maps,
    shaded: Maps,
    features: Float32[np.ndarray, "t h w features"],
    flow: Sequence[FlowField],
) -> Maps:
    """0…1, of any object: all witnesses together, the look learned from `examples` (what is an object, weights)."""
    objects, weights = examples
    if not (weights[objects].any() and weights[~objects].any()):
        return np.zeros_like(moving)
    score = appearance_logits(features, objects, weights) + _seen_to_move(moving, departs, shaded)
    return _agreed(score - _level_on_edges(small, score), small, flow)


def _examples(moving: Maps, departs: Maps, shaded: Maps) -> tuple[Bool[np.ndarray, "t h w"], Maps]:
    """Where motion and departure agree, and how much each pixel is to count as an example."""
    objects = (moving > 0.45) & (shaded > np.maximum(DEPARTS, SHADE * departs))
    near = np.stack(list(in_threads(_surroundings, moving > 0.3)))
    background = ~near | (departs < DEPARTS - 2) & (moving < 0.6)
    weights = np.where(objects, np.minimum(moving, 1), np.where(near, 0.3, 1)) * (objects | background)
    return objects, weights.astype(np.float32)


def _surroundings(moves: Bool[np.ndarray, "h w"], reach: int = 13) -> Bool[np.ndarray, "h w"]:
    """With gaps closed, holes filled and a margin: nothing in it is surely background for resting."""
    padded = np.pad(moves.astype(np.uint8), reach)
    closed = cv2.morphologyEx(padded, cv2.MORPH_CLOSE, np.ones((reach, reach), np.uint8))[reach:-reach, reach:-reach]
    return cv2.dilate(_without_holes(closed > 0).astype(np.uint8), np.ones((7, 7), np.uint8)) > 0


def _seen_to_move(moving: Maps, departs: Maps, shaded: Maps) -> Maps:
    """Log odds of an object by motion and departure. Shades of the background count against one."""
    by_departure = np.clip((0.5 * (departs + shaded) - 10) / 5, -2, 2)
    shadow = np.clip((SHADE + 0.05 - shaded / np.maximum(departs, 1)) / 0.2, 0, 1) * (departs > DEPARTS + 2)
    return (6 * (np.minimum(moving, 1.2) - 0.5) + by_departure - 3 * shadow).astype(np.float32)


def _level_on_edges(small: Video, score: Maps) -> float:
    """The level whose outlines lie on the strongest edges of the picture, over the whole clip; of those nearly as good
    the lowest, since parts of an object have edges, too."""

    def strengths(t: int) -> Float32[np.ndarray, "levels 2"]:
        edges, smooth = edge_strengths(small[t]), cv2.GaussianBlur(score[t], (0, 0), 1.0)
        sums = [(edges[outline].sum(), outline.sum()) for outline in (_outline(smooth > level) for level in LEVELS)]
        return np.array(sums, np.float32)

    total = np.sum(list(in_threads(strengths, range(len(small)))), 0)
    strength = total[:, 0] / np.maximum(total[:, 1], 1)
    return float(LEVELS[np.argmax(strength >= NEARLY_BEST * strength.max())])


def _outline(inside: Bool[np.ndarray, "h w"]) -> Bool[np.ndarray, "h w"]:
    box, mask = np.ones((3, 3), np.uint8), inside.astype(np.uint8)
    return cv2.dilate(mask, box) != cv2.erode(mask, box)


def _agreed(score: Maps, small: Video, flow: Sequence[FlowField]) -> Maps:
    """0…1: what neighbours of like colour and other frames, along the flow, agree on (mean field)."""
    weights = list(in_threads(neighbour_weights, small))
    likelihood = _sigmoid(score)
    for _ in range(2):
        elsewhere = share_in_time(likelihood, flow)

        def agree(t: int, elsewhere: Maps = elsewhere, likelihood: Maps = likelihood) -> Map:
            own, now = score[t] + 1.5 * (2 * elsewhere[t] - 1), likelihood[t]
            for _ in range(5):
                now = _sigmoid(own + 0.6 * weights[t].support(2 * now - 1))
            return now

        likelihood = np.stack(list(in_threads(agree, range(len(score)))))
    return likelihood


def _sigmoid(logit: np.ndarray) -> np.ndarray:
    return (1 / (1 + np.exp(-logit))).astype(np.float32)


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
    """Number connected regions 1, 2, …; regions of two frames are one where flow brings them over each other.

    Pieces up to a sixteenth of the long edge apart are connected: a pole in front of an object parts it.
    """
    labels = np.zeros(inside.shape, np.int32)
    side = 2 * (max(inside.shape[1:]) // 32) + 1
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
    for frame, mask in enumerate(inside):
        _, regions = cv2.connectedComponents(cv2.dilate(mask.astype(np.uint8), disc))
        labels[frame] = np.where(regions > 0, regions + labels.max(), 0)
    pairs = [
        pair
        for frame in range(len(labels))
        for link in links_of(frame, flow, image_size(inside))
        if frame < link.frame <= frame + 4
        for pair in _overlapping(labels[frame], _bring_labels(link, labels[link.frame]))
    ]
    one, other = np.array(pairs, int).reshape(-1, 2).T
    count = int(labels.max()) + 1
    joined = connected_components(coo_array((np.ones(len(one)), (one, other)), (count, count)), directed=False)[1]
    # Component 0 is what lies outside, as no pair holds label 0.
    return np.where(inside, joined[labels], 0).astype(np.int32)


def _bring_labels(link: Link, labels: Int32[np.ndarray, "h w"]) -> Int32[np.ndarray, "h w"]:
    return warp(labels.astype(np.float32), link.x, link.y, "zero", nearest=True).astype(np.int32)


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
