"""What frames, neighbours and the picture's edges agree on: the sum of all witnesses becomes a likelihood."""

from collections.abc import Sequence

import cv2
import numpy as np
from jaxtyping import Bool, Float32, UInt8

from layerloom.core.parallel import in_threads
from layerloom.data.clip import FlowField
from layerloom.prepare.flow.links import links_of
from layerloom.prepare.masks.colours import neighbour_weights
from layerloom.prepare.masks.edges import edge_strengths

LEVELS = np.arange(-3, 2, 0.5)
"""Log odds at which the sum of the witnesses may be cut: each is only so well calibrated."""
NEARLY_BEST = 0.95
FARTHEST_FRAMES = 4

Video = UInt8[np.ndarray, "t h w 3"]
Maps = Float32[np.ndarray, "t h w"]
Map = Float32[np.ndarray, "h w"]


def share_in_time(
    maps: Maps, flow: Sequence[FlowField], known: Bool[np.ndarray, " t"] | None = None, own: float = 1.0
) -> Maps:
    """The mean of each map, by the weight `own`, and those of frames up to FARTHEST_FRAMES away, along the flow.

    Maps that are not `known` do not count; where nothing does, the mean is 0.
    """
    counts = np.ones(len(maps), bool) if known is None else known

    def share(frame: int) -> Map:
        weights = np.full(maps.shape[1:], own * counts[frame], np.float32)
        total = weights * maps[frame]
        for link in links_of(frame, flow, (maps.shape[2], maps.shape[1])):
            if link.distance <= FARTHEST_FRAMES and counts[link.frame]:
                weight = link.confidence * np.float32(link.distance**-0.5)
                total += weight * link.bring(maps[link.frame])
                weights += weight
        return total / np.maximum(weights, np.float32(1e-6))

    return np.stack(list(in_threads(share, range(len(maps)))))


def level_on_edges(small: Video, score: Maps) -> float:
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


def agreed(score: Maps, small: Video, flow: Sequence[FlowField]) -> Maps:
    """0…1: what neighbours of like colour and other frames, along the flow, agree on (mean field)."""
    weights = list(in_threads(neighbour_weights, small))
    likelihood = sigmoid(score)
    for _ in range(2):
        elsewhere = share_in_time(likelihood, flow)

        def agree(t: int, elsewhere: Maps = elsewhere, likelihood: Maps = likelihood) -> Map:
            own, now = score[t] + 1.5 * (2 * elsewhere[t] - 1), likelihood[t]
            for _ in range(5):
                now = sigmoid(own + 0.6 * weights[t].support(2 * now - 1))
            return now

        likelihood = np.stack(list(in_threads(agree, range(len(score)))))
    return likelihood


def sigmoid(logit: np.ndarray) -> np.ndarray:
    """Likelihood from log odds."""
    return (1 / (1 + np.exp(-logit))).astype(np.float32)
