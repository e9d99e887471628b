"""Outlines that may be wrong by some pixels, settled by colour: what each layer's colours say, and its neighbours."""

from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Bool, Float32, Int32, UInt8

from layerloom.core.imaging import masked_mean, window_around
from layerloom.core.parallel import in_threads
from layerloom.prepare.masks.outlines import FARTHEST_PIXELS, Map

COLOUR_BINS = 24
COLOUR_SAYS = 4.0
"""The most that colour can say for or against a layer, in log odds."""
NEIGHBOURS_SAY = 1.6
PRIOR_LOGIT_PER_PIXEL = 2.7
"""How sure a layer is in log odds, for each pixel inside its outline."""

Video = UInt8[np.ndarray, "t h w 3"]


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
    densities = [log_density(cells[part]) for part in sure]

    def settle(frame: int) -> Float32[np.ndarray, "objects h w"]:
        nearest = distances[:, frame].max(0)
        shares = np.zeros((len(distances), *nearest.shape), np.float32)
        shares[distances[:, frame] > 0] = 1
        window = window_around((nearest > -FARTHEST_PIXELS + 1) & (nearest < FARTHEST_PIXELS - 1))
        if nearest[window].size == 0:
            return shares
        lab = lab_colours(frames[frame][window])
        colour = np.stack(
            [
                0.3 * density[cells[frame][window]] + 0.7 * local_log_density(lab, part[frame][window])
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


def lab_colours(frame: UInt8[np.ndarray, "h w 3"]) -> Float32[np.ndarray, "h w 3"]:
    """8-bit CIELAB, as OpenCV scales it."""
    return cv2.cvtColor(np.ascontiguousarray(frame), cv2.COLOR_RGB2LAB).astype(np.float32)


def colour_cells(frame: UInt8[np.ndarray, "h w 3"]) -> Int32[np.ndarray, "h w"]:
    """The number of each pixel's cell in Lab space, finer in a and b, of which images use the middle."""
    lab = cv2.cvtColor(frame, cv2.COLOR_RGB2LAB).astype(np.int32)
    lab[..., 1:] = np.clip(2 * lab[..., 1:] - 128, 0, 255)
    cell = lab * COLOUR_BINS // 256
    return (cell[..., 0] * COLOUR_BINS + cell[..., 1]) * COLOUR_BINS + cell[..., 2]


def log_density(cells: Int32[np.ndarray, " n"]) -> Float32[np.ndarray, " cells"]:
    """Of each cell (see `colour_cells`), by those of some pixels."""
    shares = np.bincount(cells, minlength=COLOUR_BINS**3).astype(np.float64).reshape((COLOUR_BINS,) * 3)
    for axis in range(3):
        shares = 0.5 * shares + 0.25 * (np.roll(shares, 1, axis) + np.roll(shares, -1, axis))
    return np.log(shares.ravel() / max(shares.sum(), 1) + 2e-5).astype(np.float32)


def local_log_density(lab: Float32[np.ndarray, "h w 3"], sure: Bool[np.ndarray, "h w"]) -> Map:
    """Of a Gaussian with the mean and variance of the sure pixels around; a low constant where there are none."""
    smallest_variance, unknown = 25.0, -14.0
    mean, share = masked_mean(np.dstack([lab, lab * lab]), sure.astype(np.float32), 6.0)
    mean, square = mean[..., :3], mean[..., 3:]
    variance = np.maximum(square - mean**2, 0) + smallest_variance
    density = -0.5 * ((lab - mean) ** 2 / variance + np.log(variance)).sum(-1)
    known = np.minimum(share / np.float32(0.02), 1)
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
    return _neighbour_weights(lab_colours(frame))


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


def index_colours() -> UInt8[np.ndarray, "256 3"]:
    """The palette of segmentation data sets (PASCAL VOC, DAVIS): bits of the index, spread over R, G and B."""
    index = np.arange(256, dtype=np.uint8)
    colours = np.zeros((256, 3), np.uint8)
    for bit in range(8):
        for channel in range(3):
            colours[:, channel] |= ((index >> (3 * bit + channel)) & 1 if 3 * bit + channel < 8 else index & 0) << (
                7 - bit
            )
    return colours
