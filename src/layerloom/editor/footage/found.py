"""Objects that the program found, as hints: whole masks in some frames, which following joins and users correct."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from layerloom import media
from layerloom.core.atomic import atomic_file
from layerloom.core.geometry import Size
from layerloom.core.imaging import resize
from layerloom.data.selection import Hint, ObjectHints

BETWEEN_FRAMES = 8
"""A whole mask every so many frames: what lies between is followed, and free to be corrected."""
LEAST_SHARE = 5e-4
"""Of the frame: a mask that covers less says that the object is not to be seen."""


def found_hints(
    names: Sequence[str], masks: UInt8[np.ndarray, "objects t h w"], folder: Path, first: int, size: Size
) -> list[ObjectHints]:
    """Hints by masks that are written to `folder`. first: the source's number of masks[:, 0]. size: the source's."""
    found: list[ObjectHints] = []
    for name, coverage in zip(names, masks, strict=True):
        frames = sorted(
            {*range(0, len(coverage), BETWEEN_FRAMES), len(coverage) - 1, int(coverage.sum((1, 2)).argmax())}
        )
        hints = tuple(_hint(folder / f"{name}-{first + t:05d}.png", coverage[t], first + t, size) for t in frames)
        if any(hint.mask for hint in hints):
            found.append(ObjectHints(name, hints))
    return found


def _hint(path: Path, mask: UInt8[np.ndarray, "h w"], frame: int, size: Size) -> Hint:
    covered = mask > 127
    if covered.mean() < LEAST_SHARE:
        return Hint(frame, absent=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    whole = resize(mask.astype(np.float32) / 255, size) > 0.5
    with atomic_file(path) as temporary:
        media.write_image(temporary, np.where(whole, np.uint8(255), np.uint8(0)))
    return Hint(frame, mask=path)
