"""From likelihood to objects: regions of space and time that stay apart through the clip."""

from collections.abc import Sequence

import cv2
import numpy as np
from jaxtyping import Bool, Float32, Int32
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from layerloom.core.imaging import image_size, warp
from layerloom.data.clip import FlowField
from layerloom.prepare.flow.links import Link, links_of

MAXIMUM_OBJECTS = 4
SMALLEST_SHARE = 0.001
"""An object covers at least this share of the frame in the mean of its frames."""

Maps = Float32[np.ndarray, "t h w"]
Labels = Int32[np.ndarray, "t h w"]


def separate_objects(likelihood: Maps, flow: Sequence[FlowField]) -> list[Maps]:
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


def without_holes(inside: Bool[np.ndarray, "h w"]) -> Bool[np.ndarray, "h w"]:
    """Fill what an object leaves open up to a tenth of its area: flat parts that show no motion of their own."""
    _, regions, statistics, _ = cv2.connectedComponentsWithStats((~inside).astype(np.uint8))
    small = statistics[:, cv2.CC_STAT_AREA] < 0.1 * inside.sum()
    small[0] = True  # what is inside
    return small[regions] & inside.any()
