"""Masks of a whole clip from a selection, as learning and the mask files take them."""

from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import UInt8

from layerloom.core.errors import LayerloomError
from layerloom.core.geometry import Size, fit_long_edge
from layerloom.data.clip import FlowField, Masks
from layerloom.data.selection import ObjectHints, Selection
from layerloom.prepare.select.footage import WORK_LONG_EDGE
from layerloom.prepare.select.hints import draw_hints
from layerloom.prepare.select.selector import Selector

Video = UInt8[np.ndarray, "t h w 3"]


def check_selection(selection: Selection, frames: range, source: Size) -> None:
    """LayerloomError for a hint that does not fit the footage: its frame, place or mask, or another hint.

    frames: of the source, that are used. source: its size.
    """
    size = fit_long_edge(source, WORK_LONG_EDGE)
    for each in selection.objects:
        for frame in sorted({hint.frame for hint in each.hints}):
            if frame not in frames:
                raise LayerloomError(
                    f"'{each.name}': a hint in frame {frame}, but there are frames {frames[0]} to {frames[-1]}"
                )
            draw_hints(each.name, each.in_frame(frame), source, size)


def selected_masks(
    frames: Video,
    flow: Sequence[FlowField],
    selection: Selection,
    source: tuple[Size, int],
    device: str = "cpu",
    on_share: Callable[[float], None] = lambda done: None,
) -> Masks:
    """Masks of the selection's objects at the frames' size, all of them trusted.

    source: size of the footage, whose pixels hints are in, and the number that hints have for frames[0]. on_share: told
    the share done. LayerloomError for hints that do not fit the footage.
    """
    size, first = source
    names = tuple(each.name for each in selection.objects)
    coverage = np.zeros((len(names), *frames.shape[:3]), np.uint8)
    selector = Selector(frames, flow, source_size=size, first_frame=first, device=device)
    places = {name: place for place, name in enumerate(names)}
    reached: set[tuple[str, int]] = set()
    for name, frame, mask in selector.spread(selection):
        coverage[places[name], frame - first] = mask
        reached.add((name, frame))
        on_share(len(reached) / (len(names) * len(frames)))
    return Masks(names, coverage, np.full_like(coverage, 255))


def held(mask: UInt8[np.ndarray, "h w"], each: ObjectHints, frame: int) -> UInt8[np.ndarray, "h w"]:
    """An object's mask of the footage's own size with what its hints in that frame say, exactly."""
    hints = each.in_frame(frame)
    if not hints:
        return mask
    size = mask.shape[1], mask.shape[0]
    drawn = draw_hints(each.name, hints, size, size)
    if drawn.absent:
        return np.zeros_like(mask)
    if drawn.mask is not None:
        return np.where(drawn.mask, np.uint8(255), np.uint8(0))
    return np.where(drawn.pinned > 0, np.uint8(255), np.where(drawn.pinned < 0, np.uint8(0), mask))
