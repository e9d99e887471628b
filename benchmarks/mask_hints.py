"""How right masks become by hints: a box on each object's middle frame, then corrections where the masks are worst.

A correction is scripted: in the frame with the lowest intersection over union, a dot of 9 pixels in the middle of the
largest blob of pixels that are wrong, inside or outside as the true mask says.
"""

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from jaxtyping import Bool, UInt8

from layerloom.data.clip import FlowField, Masks
from layerloom.data.selection import Hint, ObjectHints, Selection
from layerloom.evaluate.measures import intersection_over_union
from layerloom.prepare.select.selector import Selector

CORRECTIONS = 3
RADIUS = 4.5
CHOSEN_ON = ("car-shadow", "horsejump-high", "libby")
"""Clips that may be looked at while constants are chosen; the others only report."""


def hint_figures(frames: UInt8[np.ndarray, "t h w 3"], truth: Masks, flow: Sequence[FlowField]) -> dict[str, Any]:
    """IoU of each object after the box, and after each correction of every object."""
    true = truth.coverage > 127
    selector = Selector(frames, flow)
    objects = [ObjectHints(name, (_box(mask),)) for name, mask in zip(truth.names, true, strict=True)]
    made = _spread(selector, objects, true.shape)
    figures = {"box": _ious(truth.names, made, true)}
    for number in range(1, CORRECTIONS + 1):
        objects = [
            ObjectHints(each.name, (*each.hints, _correction(made[i], true[i]))) for i, each in enumerate(objects)
        ]
        made = _spread(selector, objects, true.shape)
        figures[f"corrected {number}×"] = _ious(truth.names, made, true)
    return figures


def _box(true: Bool[np.ndarray, "t h w"]) -> Hint:
    """Of the frame nearest to the middle that shows the object."""
    shown = np.flatnonzero(true.any((1, 2)))
    frame = int(shown[np.abs(shown - len(true) // 2).argmin()])
    left, top, width, height = cv2.boundingRect(true[frame].astype(np.uint8))
    return Hint(frame, box=(left, top, width, height))


def _spread(
    selector: Selector, objects: list[ObjectHints], shape: tuple[int, ...]
) -> Bool[np.ndarray, "objects t h w"]:
    made = np.zeros(shape, bool)
    places = {each.name: place for place, each in enumerate(objects)}
    for name, frame, mask in selector.spread(Selection(tuple(objects))):
        made[places[name], frame] = mask > 127
    return made


def _frame_ious(made: Bool[np.ndarray, "t h w"], true: Bool[np.ndarray, "t h w"]) -> list[float]:
    """1 where neither shows the object."""
    return [
        float(intersection_over_union(a, b)) if a.any() or b.any() else 1.0 for a, b in zip(made, true, strict=True)
    ]


def _ious(
    names: Sequence[str], made: Bool[np.ndarray, "objects t h w"], true: Bool[np.ndarray, "objects t h w"]
) -> dict[str, float]:
    """The mean over the frames in which either shows the object."""
    found: dict[str, float] = {}
    for name, one, other in zip(names, made, true, strict=True):
        seen = one.any((1, 2)) | other.any((1, 2))
        found[name] = float(np.mean(np.array(_frame_ious(one, other))[seen]))
    return found


def _correction(made: Bool[np.ndarray, "t h w"], true: Bool[np.ndarray, "t h w"]) -> Hint:
    frame = int(np.argmin(_frame_ious(made, true)))
    wrong = (made[frame] ^ true[frame]).astype(np.uint8)
    if not wrong.any():
        wrong = true[frame].astype(np.uint8)
    _, regions, stats, _ = cv2.connectedComponentsWithStats(wrong)
    blob = (regions == 1 + stats[1:, cv2.CC_STAT_AREA].argmax()).astype(np.uint8)
    depth = cv2.distanceTransform(cv2.copyMakeBorder(blob, 1, 1, 1, 1, cv2.BORDER_CONSTANT), cv2.DIST_L2, 5)[1:-1, 1:-1]
    row, column = np.unravel_index(depth.argmax(), depth.shape)
    point = ((float(column) + 0.5, float(row) + 0.5),)
    inside = bool(true[frame, row, column])
    radius = min(RADIUS, float(depth.max()))
    return Hint(frame, include=point if inside else (), exclude=() if inside else point, radius=radius)
