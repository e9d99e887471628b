"""Given masks made whole: missing frames filled, outlines that jump or lie off corrected, and trust for every pixel.

    given masks ──► filled along the flow ──► steadied ──► moved onto the edges ──► settled by colour ──► trust
                            ▲                                                              │
                            └──────── once more, from what was corrected ◄─────────────────┘

Masks that are right are left alone, and what is right is asked of the clip: do a mask's outlines, brought along the
flow, agree from frame to frame, and does the picture, over the whole clip, have its edges where they are?
"""

from collections.abc import Sequence

import cv2
import numpy as np
from jaxtyping import Bool, Float32, Float64, UInt8

from layerloom.core.geometry import fit_long_edge
from layerloom.core.imaging import image_size, resize, resize_all, window_around
from layerloom.core.parallel import do_in_threads
from layerloom.data.clip import FlowField, Masks
from layerloom.prepare.flow.links import AROUND_PIXELS, links_of
from layerloom.prepare.masks.colours import settle_by_colour
from layerloom.prepare.masks.edges import edge_rise, lay_on_edges, outline_offset
from layerloom.prepare.masks.files import without_overlaps
from layerloom.prepare.masks.outlines import FARTHEST_PIXELS, STILL_PIXELS, signed_distance, signed_distances, steady

WORK_LONG_EDGE = 480
"""Outlines are corrected on frames this small; there an error of one of a thousand pixels is nothing."""
OUTLINE_TRUST = 0.25
"""Of a given mask along its outline: it may become soft there, but not wander off."""
SURE_PIXELS = 3.0
"""From its outline on a precise mask is fully trusted."""
ERROR_PIXELS = 3.0
"""By which a corrected outline may still be wrong, at the working size."""
ROUGHNESS = 0.25
"""Of corrected outlines: their shapes were given."""
FILLED_TRUST = 128
MOST_CHANGED = 0.25
"""Share of the frames that judge a correction. Few wrong frames among many would not be heard in a mean over all."""


def complete_masks(masks: Masks, frames: UInt8[np.ndarray, "t h w 3"], flow: Sequence[FlowField]) -> Masks:
    """Fill missing frames (trust 0 everywhere), correct outlines that are wrong, and set how far to trust each pixel.

    A filled frame is the mean of the nearest known masks along the flow, each pixel following the flow around it to
    what looks most like it, weighted by that likeness over the distance; its trust is at most half, and none where that
    mean is undecided. It takes no pixel from another object's given mask. Objects whose outlines jump from frame to
    frame (root mean square over 0.8 px at 480 px long edge), or lie a pixel or more inside or outside the picture's
    edges throughout the clip, are corrected in all frames, if their outlines then follow the edges better.
    Coverage of all others is not touched, but where a corrected one in front covers it.

    Trust is lowered in two places: to a quarter along the outline, rising to full 3 px from it (of a corrected one
    farther), where a hard mask says nothing about softness; and where the masks that confident flow brings from other
    frames say something else (full up to a mean disagreement of 0.15, none from 0.4).
    """
    given = np.asarray(masks.trust.any((2, 3)))
    filled = _filled(masks.coverage, given, frames, flow)
    coverage, sure_pixels = _corrected(filled, given, frames, flow)
    if coverage is not filled:  # corrected masks tell more of the missing ones
        coverage = _filled(coverage, given, frames, flow)
    return Masks(masks.names, coverage, _trust(coverage, masks.trust, given, sure_pixels, flow))


def _filled(
    coverage: UInt8[np.ndarray, "objects t h w"],
    given: Bool[np.ndarray, "objects t"],
    frames: UInt8[np.ndarray, "t h w 3"],
    flow: Sequence[FlowField],
) -> UInt8[np.ndarray, "objects t h w"]:
    """Coverage with missing frames filled from the others; what is filled gives way to what is given."""
    if given.all():
        return coverage
    coverage = coverage.copy()
    small = resize_all(frames, fit_long_edge((frames.shape[2], frames.shape[1]), WORK_LONG_EDGE))
    colours = np.stack([cv2.cvtColor(frame, cv2.COLOR_RGB2LAB) for frame in small])
    for mask, known in zip(coverage, given, strict=True):
        if known.any() and not known.all():
            mask[~known] = resize_all(_fill(mask, known, colours, flow), (frames.shape[2], frames.shape[1]))
    for frame in np.flatnonzero(~given.all(0)):
        order = np.argsort(~given[:, frame], kind="stable")
        coverage[order, frame] = without_overlaps(coverage[order, frame])
    return coverage


def _trust(
    coverage: UInt8[np.ndarray, "objects t h w"],
    given_trust: UInt8[np.ndarray, "objects t h w"],
    given: Bool[np.ndarray, "objects t"],
    sure_pixels: Float64[np.ndarray, " objects"],
    flow: Sequence[FlowField],
) -> UInt8[np.ndarray, "objects t h w"]:
    """Trust of each object's masks, full from `sure_pixels` off its outlines."""
    trust = np.zeros_like(given_trust)
    small = _at_flow_size(coverage, flow)

    def set_trust(frame: int) -> None:
        doubts = _disagreement(small, given, frame, flow)
        for i, known in enumerate(given[:, frame]):
            if known:
                doubt = resize(doubts[i], image_size(coverage))
                sureness = given_trust[i, frame] * (1 - _ramp(doubt, 0.15, 0.4))
            else:
                decided = np.abs(coverage[i, frame] / np.float32(127.5) - 1)
                sureness = FILLED_TRUST * _ramp(decided, 0.5, 0.9) * given[i].any()
            window = window_around(coverage[i, frame] > 127, int(np.ceil(sure_pixels[i])) + 1)
            if sureness[window].size:
                from_outline = _ramp(_outline_distance(coverage[i, frame][window]), 1.0, sure_pixels[i])
                floor = OUTLINE_TRUST if known else 0.0
                sureness[window] *= floor + (1 - floor) * from_outline
            trust[i, frame] = np.round(sureness)

    do_in_threads(set_trust, range(coverage.shape[1]))
    return trust


def _corrected(
    coverage: UInt8[np.ndarray, "objects t h w"],
    given: Bool[np.ndarray, "objects t"],
    frames: UInt8[np.ndarray, "t h w 3"],
    flow: Sequence[FlowField],
) -> tuple[UInt8[np.ndarray, "objects t h w"], Float64[np.ndarray, " objects"]]:
    """Coverage with wrong outlines corrected, and how many pixels off each object's outline it is sure."""
    size = (frames.shape[2], frames.shape[1])
    work_size = fit_long_edge(size, WORK_LONG_EDGE)
    wrong, offsets = np.zeros(len(coverage), bool), np.zeros(len(coverage))
    small = resize_all(frames, work_size)
    distances = signed_distances(coverage, work_size)
    as_given = distances.copy()
    for i, known in enumerate(given & (distances > 0).any((2, 3))):
        if known.any():
            others = np.delete(as_given, i, 0).max(0, initial=-FARTHEST_PIXELS)
            distances[i], jump = steady(distances[i], others, known, flow)
            if jump >= STILL_PIXELS:
                in_front = as_given[:i].max(0, initial=-FARTHEST_PIXELS)
                distances[i] = lay_on_edges(small, distances[i], others, in_front, known, flow)
            offsets[i] = outline_offset(small, distances[i])
            wrong[i] = jump >= STILL_PIXELS or offsets[i] != 0
    if wrong.any():
        shares = settle_by_colour(small, _moved(distances, offsets), ERROR_PIXELS, ROUGHNESS)
        right = wrong & ~_lie_better(small, shares, as_given)
        if right.any():
            wrong, distances[right], offsets[right] = wrong & ~right, as_given[right], 0
            shares = settle_by_colour(small, _moved(distances, offsets), ERROR_PIXELS, ROUGHNESS)
        coverage = coverage.copy()
        for i in np.flatnonzero(wrong):
            coverage[i] = resize_all(np.round(255 * shares[i]).astype(np.uint8), size)
        for frame in range(len(frames)):
            coverage[:, frame] = without_overlaps(coverage[:, frame])
    return coverage, np.where(wrong, (1 + ERROR_PIXELS) * size[0] / work_size[0], SURE_PIXELS)


def _lie_better(
    frames: UInt8[np.ndarray, "t h w 3"],
    shares: Float32[np.ndarray, "objects t h w"],
    as_given: Float32[np.ndarray, "objects t h w"],
) -> Bool[np.ndarray, " objects"]:
    """Whether corrected outlines follow the picture's edges better than the given ones, in the frames they differ most.

    They do not where the flow is wrong, so that outlines seem to jump, or where texture was taken for edges.
    """
    better = np.zeros(len(shares), bool)
    for i, old in enumerate(as_given):
        new = np.stack([signed_distance(share > 0.5) for share in shares[i]])
        changes = ((new > 0) != (old > 0)).sum((1, 2))
        worst = changes >= np.quantile(changes, 1 - MOST_CHANGED)
        better[i] = edge_rise(frames[worst], new[worst]) > edge_rise(frames[worst], old[worst])
    return better


def _moved(
    distances: Float32[np.ndarray, "objects t h w"], offsets: np.ndarray
) -> Float32[np.ndarray, "objects t h w"]:
    """Outlines grown or shrunk by their offsets. A swollen mask has covered the edge of what lies behind it: there the
    object behind is taken to go on for as far as it is swollen itself, before it shrinks."""
    moved = distances.copy()
    for i, offset in enumerate(offsets):
        for frame, distance in enumerate(distances[i]):
            if offset > 0 and i > 0:
                in_front = (distances[:i, frame] > 0).any(0)
                distance = signed_distance((distance > 0) | in_front & (distance > -2 * offset))
            moved[i, frame] = distance - np.float32(offset)
    for i in range(1, len(moved)):  # what is in front keeps the pixel
        moved[i] = np.minimum(moved[i], -moved[:i].max(0))
    return moved


def _at_flow_size(
    coverage: UInt8[np.ndarray, "objects t h w"], flow: Sequence[FlowField]
) -> UInt8[np.ndarray, "objects t _ _"]:
    """Masks as small as the flow, where it is smaller."""
    size = min((field.size for field in flow), default=image_size(coverage))
    if size >= image_size(coverage):
        return coverage
    return np.stack([resize_all(mask, size) for mask in coverage])


def _ramp(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """0 up to `low`, 1 from `high`."""
    return np.clip((values - low) / (high - low), 0, 1)


def _outline_distance(mask: UInt8[np.ndarray, "h w"]) -> Float32[np.ndarray, "h w"]:
    """Pixels to the nearest pixel on the other side of the outline: 1 for those along it."""
    inside = (mask > 127).astype(np.uint8)
    distances = (cv2.distanceTransform(side, cv2.DIST_L2, cv2.DIST_MASK_5) for side in (inside, 1 - inside))
    return np.maximum(*distances)


def _fill(
    mask: UInt8[np.ndarray, "t _ _"],
    known: Bool[np.ndarray, " t"],
    colours: UInt8[np.ndarray, "t h w 3"],
    flow: Sequence[FlowField],
) -> UInt8[np.ndarray, "missing h w"]:
    """Frame after frame away from the known ones, each from neighbours that lie nearer to a known one.

    `colours` are the frames in 8-bit Lab, at the size to work at.
    """
    size = (colours.shape[2], colours.shape[1])
    small = resize_all(mask, size).copy()
    away = np.abs(np.arange(len(known))[:, None] - np.flatnonzero(known)).min(1)
    for distance in range(1, away.max() + 1):

        def fill(frame: int, distance: int = distance) -> None:
            small[frame] = 0
            links = [link for link in links_of(frame, flow, size) if away[link.frame] < distance]
            brought = np.stack([link.bring(small[link.frame]) for link in links])
            window = window_around(np.asarray(brought.any(0)), max(AROUND_PIXELS))
            total, weights = np.zeros((2, *brought[0][window].shape), np.float32)
            for link in links if brought.any() else ():
                link = link.within(window).led_by_appearance(colours[frame][window], colours[link.frame])
                weight = link.confidence / (link.distance * (1 + away[link.frame]))
                total += weight * link.bring(small[link.frame])
                weights += weight
            small[frame][window] = np.round(total / weights)

        do_in_threads(fill, np.flatnonzero(away == distance).tolist())
    return small[~known]


def _disagreement(
    masks: UInt8[np.ndarray, "objects t h w"],
    known: Bool[np.ndarray, "objects t"],
    frame: int,
    flow: Sequence[FlowField],
) -> Float32[np.ndarray, "objects h w"]:
    """How far other frames' known masks, brought here, differ from it in the mean: 0…1; 0 where flow is unsure."""
    objects, _, height, width = masks.shape
    total = np.zeros((objects, height, width), np.float32)
    weights = np.full_like(total, 0.3)  # one uncertain neighbour alone cannot take trust away
    for link in links_of(frame, flow, (width, height)):
        weight = link.confidence**2 / link.distance
        for i in np.flatnonzero(known[:, link.frame]):
            total[i] += weight * (link.bring(masks[i, link.frame]).astype(np.float32) - masks[i, frame])
            weights[i] += weight
    return np.abs(total) / (255 * weights)
