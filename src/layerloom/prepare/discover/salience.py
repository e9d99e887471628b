"""What stands out: a net that was trained on pictures of things, shown the surroundings of what was found so far.

It knows nothing of motion, and errs on other clips than motion does. Whether it can be trusted with a clip shows in
time: where what it picks stays the same thing, brought along the flow from other frames, it mostly is right.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float32, UInt8

from layerloom.core.imaging import image_size, resize, window_around
from layerloom.data.clip import FlowField
from layerloom.prepare.discover.agreement import share_in_time
from layerloom.prepare.saliency.u2net import saliency

EVERY = 2
"""Of the clip's frames one in so many is looked at; the flow tells of those between."""
MARGIN = 0.125
"""Of a box's sides, added on each side: what stands out, does so against something."""
WEIGHT = 0.5
"""Log odds for a map that is unsteady throughout; less unsteadiness weighs more, as its inverse."""
HIGHEST_WEIGHT = 15.0

Maps = Float32[np.ndarray, "t h w"]
Map = Float32[np.ndarray, "h w"]


class Salience(NamedTuple):
    """Log odds of an object by the net alone, and how steady it is over time, 0…1."""

    log_odds: Maps
    steadiness: float


def salience(frames: UInt8[np.ndarray, "t h0 w0 3"], found: Maps, flow: Sequence[FlowField], device: str) -> Salience:
    """What stands out around what was `found` (0…1, at the size to work at) in frames of any larger size."""
    size = image_size(found)
    shown = [t for t in range(len(frames)) if t % EVERY == 0 and (found[t] > 0.5).any()]
    if not shown:
        return Salience(np.zeros_like(found), 0.0)
    windows = [_window(found[t] > 0.5, (frames.shape[2], frames.shape[1])) for t in shown]
    answers = saliency([frames[(t, *window)] for t, window in zip(shown, windows, strict=True)], device)
    maps, known = np.zeros_like(found), np.zeros(len(frames), bool)
    for t, window, answer in zip(shown, windows, answers, strict=True):
        whole = np.zeros(frames.shape[1:3], np.float32)
        part = whole[window]
        part[:] = resize(_stretched(answer), image_size(part))
        maps[t], known[t] = resize(whole, size), True
    elsewhere = share_in_time(maps, flow, known, own=0.0)
    steadiness = _overlap(maps[known] > 0.5, elsewhere[known] > 0.5)
    weight = min(WEIGHT / max(1 - steadiness, 1e-6), HIGHEST_WEIGHT)
    return Salience(weight * (2 * share_in_time(maps, flow, known) - 1), steadiness)


def _window(where: Bool[np.ndarray, "h w"], size: tuple[int, int]) -> tuple[slice, slice]:
    """The box around a region, with its margin, in an image of another size."""
    rows, columns = window_around(where, 0)
    scaled: list[slice] = []
    for part, side, whole in ((rows, where.shape[0], size[1]), (columns, where.shape[1], size[0])):
        margin = MARGIN * (part.stop - part.start)
        scale = whole / side
        begin, end = int((part.start - margin) * scale), int(np.ceil((part.stop + margin) * scale))
        scaled.append(slice(max(begin, 0), min(end, whole)))
    return scaled[0], scaled[1]


def _stretched(answer: Map) -> Map:
    """From 0 to 1, as the net's authors use it."""
    low, high = answer.min(), answer.max()
    return (answer - low) / max(high - low, np.float32(1e-6))


def _overlap(one: Bool[np.ndarray, "t h w"], other: Bool[np.ndarray, "t h w"]) -> float:
    """Intersection over union, the mean over frames in which either has something."""
    either = (one | other).sum((1, 2))
    both = (one & other).sum((1, 2))
    return float((both[either > 0] / either[either > 0]).mean()) if either.any() else 0.0
