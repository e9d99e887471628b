"""The masks of a frame that has hints: from boxes and points, or another frame's mask corrected by points.

Around boxes three things are asked. Does a network that knows what things look like see one that fills the box? Does
what is in the box move against the camera, and depart from what is behind it? And which colours are in the box that are
not around it, nor in the other objects? What each answers is worth as much as it fits the box.
"""

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Bool, Float32

from layerloom.prepare.masks.colours import colour_cells, lab_colours, local_log_density, log_density
from layerloom.prepare.select.footage import Footage, Map, Window
from layerloom.prepare.select.geodesic import geodesic_distance
from layerloom.prepare.select.hints import FrameHints, Rectangle, box_around
from layerloom.prepare.select.settle import Scores, logit, settle

NET_SIDE = 320
AROUND_BOX = 0.25
"""The network is shown a box so much wider and higher."""
LEAST_SHAPE = 0.6
"""And never a strip: the shorter side is at least this share of the longer."""
NET_SAYS, EVIDENCE_SAYS, COLOUR_SAYS, CENTRE_SAYS = 1.0, 0.7, 1.0, 0.3
LARGEST_NET_LOGIT = 4.0
LARGEST_COLOUR_LOGIT = 4.0
CLEAR_EVIDENCE = 0.35
"""How much more of a box than of its surroundings has to move for motion to count in full."""
CENTRE, FALL = 1.0, 1.6
"""Log odds in the middle of a box, and how far they fall to its sides."""
BEHIND = 1.0
"""Log odds that a larger box loses where a smaller one lies in it: that is mostly in front."""
ROUNDS = 4
NEIGHBOURS_SAY = 1.0
OUTSIDE_LOGIT = -12.0
SURE = 0.7
FEWEST = 20
"""Pixels that a colour can be told from."""
REACH = 0.35
"""How far a correction reaches from its points, as a share of the object's size, over a picture without edges."""
CORRECTION_LOGIT = 9.0
KNOWN_LOGIT = 3.0
"""The most that is believed of a mask that is to be corrected."""
POINT_SIDE = 0.35
"""Side of what is looked at around points without a box, as a share of the frame's longer side."""


class _Place(NamedTuple):
    """The part of a frame that is looked at, and the boxes in it as masks."""

    window: Window
    inside: Bool[np.ndarray, "objects h w"]

    @property
    def anywhere(self) -> Bool[np.ndarray, "h w"]:
        return np.asarray(self.inside.any(0))


def masks_in_boxes(footage: Footage, t: int, hints: Sequence[FrameHints]) -> Scores:
    """Shares of objects in frame `t` by their boxes and points, all at once: what is in two boxes belongs to one."""
    boxes = [_box_of(footage, t, each) for each in hints]
    place = _place(boxes, footage.small[t].shape[:2])
    frame = np.ascontiguousarray(footage.small[t][place.window])
    pinned = np.stack([each.pinned[place.window] for each in hints])
    things = _things(footage, t, boxes, place)
    centres = _centres(boxes, place)
    scores = np.where(place.inside, things + centres, np.float32(OUTSIDE_LOGIT))
    shares = settle(scores, pinned, frame, NEIGHBOURS_SAY)
    cells, lab = colour_cells(frame), lab_colours(frame)
    for _ in range(ROUNDS):
        colours = _colour_scores(cells, lab, shares, ~place.anywhere)
        scores = things + COLOUR_SAYS * colours + CENTRE_SAYS * centres
        shares = settle(np.where(place.inside, scores, np.float32(OUTSIDE_LOGIT)), pinned, frame, NEIGHBOURS_SAY)
    whole = np.zeros((len(hints), *footage.small[t].shape[:2]), np.float32)
    whole[(slice(None), *place.window)] = shares
    return whole


def corrected(footage: Footage, t: int, share: Map, hints: FrameHints) -> Map:
    """A mask that is right but for what points say: what they reach without crossing edges becomes as they say."""
    frame = footage.small[t]
    size = float(np.sqrt(max((share > 0.5).sum(), FEWEST)))
    score = logit(share, KNOWN_LOGIT)
    for sign in (1, -1):
        where = hints.pinned == sign
        if where.any():
            far = geodesic_distance(frame, where) / (REACH * size)
            score = score + sign * np.float32(CORRECTION_LOGIT) * np.exp(-far)
    return settle(score[None].astype(np.float32), hints.pinned[None], frame, NEIGHBOURS_SAY)[0]


def _box_of(footage: Footage, t: int, hints: FrameHints) -> Rectangle:
    """The object's box; around points alone, what the network sees where they are, or just their surroundings."""
    if hints.box is not None:
        return hints.box
    height, width = footage.small[t].shape[:2]
    rows, columns = np.nonzero(hints.pinned > 0)
    half = POINT_SIDE * max(width, height) / 2
    points = box_around(hints.pinned > 0)
    around = points[0] - half, points[1] - half, points[2] + half, points[3] + half
    window = shown_window(around, (height, width), 0.0)
    seen = footage.net_logit(t, window, NET_SIDE) > 0
    _, regions = cv2.connectedComponents(seen.astype(np.uint8))
    wanted = np.unique(regions[rows - window[0].start, columns - window[1].start])
    whole = hints.pinned > 0
    whole[window] |= np.isin(regions, wanted[wanted > 0])
    found = box_around(whole)
    return _clipped(around, width, height) if found == points else found


def _clipped(box: Rectangle, width: int, height: int) -> Rectangle:
    left, top, right, bottom = box
    return max(left, 0.0), max(top, 0.0), min(right, float(width)), min(bottom, float(height))


def shown_window(box: Rectangle, shape: tuple[int, int], around: float = AROUND_BOX) -> Window:
    """The part of a frame (rows, columns) that holds a box and some of what is around it; never a strip."""
    left, top, right, bottom = box
    width, height = right - left, bottom - top
    wide, high = (1 + around) * max(width, LEAST_SHAPE * height), (1 + around) * max(height, LEAST_SHAPE * width)
    return _span(top + height / 2, high, shape[0]), _span(left + width / 2, wide, shape[1])


def _span(middle: float, length: float, end: int) -> slice:
    """Of two pixels at least."""
    start = min(max(int(middle - length / 2), 0), end - 2)
    return slice(max(start, 0), min(max(int(np.ceil(middle + length / 2)), start + 2), end))


def _place(boxes: Sequence[Rectangle], shape: tuple[int, int]) -> _Place:
    """All boxes, and as much around them as shows what they are not."""
    corners = np.array(boxes)
    low, high = corners[:, :2].min(0), corners[:, 2:].max(0)
    margin = 0.3 * (high - low) + 8
    (left, top), (right, bottom) = low - margin, high + margin
    rows = slice(max(int(top), 0), min(int(bottom) + 1, shape[0]))
    columns = slice(max(int(left), 0), min(int(right) + 1, shape[1]))
    inside = np.zeros((len(boxes), *shape), bool)
    for mask, (left, top, right, bottom) in zip(inside, boxes, strict=True):
        first = min(int(top + 0.5), shape[0] - 1), min(int(left + 0.5), shape[1] - 1)
        last = max(int(bottom + 0.5), first[0] + 1), max(int(right + 0.5), first[1] + 1)
        mask[first[0] : last[0], first[1] : last[1]] = True
    return _Place((rows, columns), inside[:, rows, columns])


def _things(footage: Footage, t: int, boxes: Sequence[Rectangle], place: _Place) -> Scores:
    """Log odds of being any thing, by the network and by motion, as much as they fit the boxes."""
    scores = np.zeros(place.inside.shape, np.float32)
    evidence = footage.evidence_logit(t)
    if evidence is not None:
        evidence = evidence[place.window]
        likely = 1 / (1 + np.exp(-evidence))
        around = ~place.anywhere
        apart = likely[place.anywhere].mean() - (likely[around].mean() if around.any() else 0)
        scores += EVIDENCE_SAYS * np.clip(apart / CLEAR_EVIDENCE, 0, 1) * evidence
    for score, box, inside in zip(scores, boxes, place.inside, strict=True):
        net = _net_in_place(footage, t, box, place)
        score += NET_SAYS * fits_box(net > 0, inside, place.anywhere) * net
    return scores


def _net_in_place(footage: Footage, t: int, box: Rectangle, place: _Place) -> Map:
    """What the network says around a box; what it is not shown is no part of it."""
    whole = np.full(footage.small[t].shape[:2], -LARGEST_NET_LOGIT, np.float32)
    window = shown_window(box, footage.small[t].shape[:2])
    whole[window] = np.clip(footage.net_logit(t, window, NET_SIDE), -LARGEST_NET_LOGIT, LARGEST_NET_LOGIT)
    return whole[place.window]


def fits_box(seen: Bool[np.ndarray, "h w"], box: Bool[np.ndarray, "h w"], boxes: Bool[np.ndarray, "h w"]) -> float:
    """0…1: whether what is seen reaches from side to side of its box, fills some of it, and stays in the boxes."""
    within = seen & box
    if within.sum() < 5:
        return 0.0
    reached, given = (cv2.boundingRect(mask.astype(np.uint8))[2:] for mask in (within, box))
    covers = float(np.prod(reached) / np.prod(given))
    strays = float((seen & ~boxes).sum() / within.sum())
    fills = float(within.sum() / np.prod(given))
    return float(np.clip((covers - 0.5) / 0.4, 0, 1) * np.clip(1.5 - 3 * strays, 0, 1) * np.clip(10 * fills - 1, 0, 1))


def _centres(boxes: Sequence[Rectangle], place: _Place) -> Scores:
    """Objects are in the middles of their boxes, and small ones in front of large ones."""
    rows, columns = (np.arange(part.start, part.stop, dtype=np.float32) + 0.5 for part in place.window)
    areas = [(right - left) * (bottom - top) for left, top, right, bottom in boxes]
    scores = np.empty(place.inside.shape, np.float32)
    for i, (left, top, right, bottom) in enumerate(boxes):
        across = np.abs(2 * columns - left - right) / max(right - left, 1)
        down = np.abs(2 * rows - top - bottom) / max(bottom - top, 1)
        scores[i] = CENTRE - FALL * np.maximum(across[None], down[:, None]) ** 2
        smaller = [place.inside[j] for j, area in enumerate(areas) if area < areas[i]]
        scores[i] -= BEHIND * np.sum(smaller, 0, dtype=np.float32) if smaller else 0
    return scores


def _colour_scores(
    cells: np.ndarray, lab: Float32[np.ndarray, "h w 3"], shares: Scores, around: Bool[np.ndarray, "h w"]
) -> Scores:
    """Log odds of each object against the background by its colours, as they are told so far."""
    free = 1 - shares.sum(0)
    owners = np.concatenate([shares, free[None]]).argmax(0)
    densities: list[Map] = []
    for number, share in enumerate((*shares, free)):
        sure = share > SURE
        if sure.sum() < FEWEST:
            sure = owners == number
        if number == len(shares):
            sure = sure | around
        densities.append(0.5 * log_density(cells[sure])[cells] + 0.25 * local_log_density(lab, sure))
    found = np.stack(densities)
    found = np.maximum(found - found.max(0), -LARGEST_COLOUR_LOGIT)
    return (found[:-1] - found[-1]).astype(np.float32)
