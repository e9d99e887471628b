"""Outlines as signed distances, and steadied over time.

A signed distance is positive inside an object and in pixels; half a pixel is the least there is. Unlike a mask it can
be averaged, shifted by parts of a pixel, and grown or shrunk by adding a number.
"""

from collections.abc import Sequence

import cv2
import numpy as np
from jaxtyping import Bool, Float32, Float64, UInt8

from layerloom.core.geometry import Size
from layerloom.core.imaging import resize_all, window_around
from layerloom.core.parallel import do_in_threads, in_threads
from layerloom.data.clip import FlowField
from layerloom.prepare.flow.links import links_of

FARTHEST_PIXELS = 12.0
"""Signed distances end here: what is farther from the outline does not matter to it."""
STILL_PIXELS = 0.8
"""Outlines that jump by less in the root mean square are steady: exact masks reach 0.5 by the flow's own errors."""
JUMP_PRIOR = 0.4
"""How strongly jumps are held to zero. It leaves slow drift alone, of which the flow makes as much as masks do."""

Distances = Float32[np.ndarray, "t h w"]
Map = Float32[np.ndarray, "h w"]


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
        steadied = np.stack([shifted(image, jump) for image, jump in zip(steadied, jumps, strict=True)])
    return steadied, largest


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
            valid = weight > 0.05
            if valid.sum() >= 20:
                columns = np.stack([slopes[0].ravel(), slopes[1].ravel(), np.ones(here.size, np.float32)], 1)
                shift = _robust_fit(columns[valid], (there - here).ravel()[valid], weight[valid])
                found.append((link.frame, shift, (min(float(weight.sum()), 500.0) / link.distance) ** 2))
    return found


def _robust_fit(columns: np.ndarray, values: np.ndarray, weights: np.ndarray) -> Float64[np.ndarray, " 3"]:
    """Weighted least squares, thrice, pixels that are 2 off or more counting ever less (Geman–McClure)."""
    fit = np.zeros(3)
    for _ in range(3):
        weighted = columns * (weights / (1 + ((values - columns @ fit) / 2) ** 2))[:, None]
        fit = np.linalg.solve((weighted.T @ columns).astype(np.float64) + 0.01 * np.eye(3), weighted.T @ values)
    return fit


def shifted(image: Map, jump: Float64[np.ndarray, " _"]) -> Map:
    back = np.array([[1, 0, -jump[0]], [0, 1, -jump[1]]], np.float32)
    return cv2.warpAffine(image, back, (image.shape[1], image.shape[0]), borderMode=cv2.BORDER_REPLICATE)


def mean_over_time(distances: Distances, known: Bool[np.ndarray, " t"], flow: Sequence[FlowField]) -> Distances:
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
