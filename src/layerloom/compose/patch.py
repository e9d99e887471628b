"""Patches: what edits do to a part of a layer's canvas, in its own coordinates, for every frame at once.

An edit of opacity a changes a texture T into E = T + change. A picture laid over it (see `blend`) gives
change = added − taken T and a = taken; an edited texture gives change = F − T wherever they differ. A second patch of
opacity b lies over the first: change' = (1 − b) change + its own, a' = 1 − (1 − a)(1 − b).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float, Float32

from layerloom.compose.blend import AffineBlend
from layerloom.data.project import Layer, Window

MARGIN = 2
"""Texels around an edit that belong to its window, so that interpolation has faded to zero at its border."""


@dataclass(frozen=True, eq=False)
class Patch:
    """Change and opacity on a part of a layer's canvas. `left`, `top`: texels of its corner.

    opacity: one for all colours (c = 1), or one for each (c = 3).
    """

    left: int
    top: int
    change: Float32[np.ndarray, "h w 3"]
    opacity: Float32[np.ndarray, "h w c"]


MovingPatch = Callable[[float], Patch | None]
"""The patch of a time, in the project's frames."""


@dataclass(frozen=True, eq=False)
class LayerPatches:
    """All edits of one layer's canvas, the first lowest.

    parts: what holds still at all times is one patch. So it is the same object whenever it is asked for.
    """

    parts: tuple[Patch | MovingPatch, ...]

    @staticmethod
    def of(parts: Sequence[Patch | MovingPatch]) -> "LayerPatches":
        """Of patches in their order; neighbours that hold still are stacked once."""
        stacked: list[Patch | MovingPatch] = []
        for part in parts:
            if isinstance(part, Patch) and stacked and isinstance(stacked[-1], Patch):
                stacked[-1] = stack([stacked[-1], part])
            else:
                stacked.append(part)
        return LayerPatches(tuple(stacked))

    def at(self, time: float) -> Patch | None:
        """All in one patch at a time in the project's frames; None where they change nothing."""
        parts = (part if isinstance(part, Patch) else part(time) for part in self.parts)
        patches = [patch for patch in parts if patch is not None]
        return stack(patches) if patches else None


def lay_over(layer: Layer, left: int, top: int, blend: AffineBlend) -> Patch | None:
    """Patch of a picture whose corner lies at (left, top) of the canvas; None where it is nothing."""
    window = window_of(np.maximum.reduce(cv2.split(blend)), MARGIN)
    if window is None:
        return None
    rows, columns = window
    opacity = np.clip(blend[rows, columns, 3:], 0, 1)
    left, top = left + columns.start, top + rows.start
    under = layer.texture[top : top + opacity.shape[0], left : left + opacity.shape[1], :3]
    return Patch(left, top, blend[rows, columns, :3] - opacity * under, opacity)


def window_of(mask: Float[np.ndarray, "h w"] | Bool[np.ndarray, "h w"], margin: int = 0) -> Window | None:
    """The rows and columns that hold everything above zero, with a margin; None if nothing is."""
    rows, columns = np.flatnonzero((mask > 0).any(1)), np.flatnonzero((mask > 0).any(0))
    if not len(rows):
        return None
    height, width = mask.shape
    return (
        slice(max(int(rows[0]) - margin, 0), min(int(rows[-1]) + 1 + margin, height)),
        slice(max(int(columns[0]) - margin, 0), min(int(columns[-1]) + 1 + margin, width)),
    )


def stack(patches: Sequence[Patch]) -> Patch:
    """One patch over another on the window that holds them all."""
    if len(patches) == 1:
        return patches[0]
    left, top = min(patch.left for patch in patches), min(patch.top for patch in patches)
    right = max(patch.left + patch.opacity.shape[1] for patch in patches)
    bottom = max(patch.top + patch.opacity.shape[0] for patch in patches)
    change = np.zeros((bottom - top, right - left, 3), np.float32)
    opacity = np.zeros((bottom - top, right - left, max(patch.opacity.shape[2] for patch in patches)), np.float32)
    for patch in patches:
        height, width = patch.opacity.shape[:2]
        window = np.s_[patch.top - top : patch.top - top + height, patch.left - left : patch.left - left + width]
        kept = 1 - patch.opacity
        change[window] = change[window] * kept + patch.change
        opacity[window] = 1 - (1 - opacity[window]) * kept
    return Patch(left, top, change, opacity)
