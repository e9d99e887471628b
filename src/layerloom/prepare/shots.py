"""Footage cut up at its cuts."""

from itertools import pairwise
from pathlib import Path

import numpy as np

from layerloom import media
from layerloom.core.geometry import fit_long_edge
from layerloom.core.progress import OnProgress, Progress, silent
from layerloom.data.shot_set import PlannedShot
from layerloom.prepare.cuts import SMALL_EDGE, find_real_cuts
from layerloom.prepare.prepare import Frames, frame_range

LEAST_FRAMES = 6
"""Of a shot: a shorter one stays with the one before it."""


def find_shots(
    footage: str | Path,
    reading: media.ReadOptions | None = None,
    frames: Frames = (None, None),
    on_progress: OnProgress = silent,
) -> list[PlannedShot]:
    """The shots between hard cuts, in order, that make up all the frames. Soft transitions are not found.

    All frames are decoded for it. LayerloomError as `prepare`.
    """
    info = media.probe(footage, reading)
    media.check_several_frames(info)
    used = frame_range(info, frames)
    pictures: list[np.ndarray] = []
    size = fit_long_edge(info.size, SMALL_EDGE)
    for picture in media.read_frames(info.path, used.start, used.stop, size, options=info.description.options):
        pictures.append(picture if picture.dtype == np.uint8 else (picture >> 8).astype(np.uint8))
        on_progress(Progress("cuts", len(pictures) / len(used)))
    begins = [0]
    for cut in find_real_cuts(np.stack(pictures)):
        if cut - begins[-1] >= LEAST_FRAMES and len(used) - cut >= LEAST_FRAMES:
            begins.append(cut)
    first = info.timestamps[used.start]
    return [
        PlannedShot(used[begin:end], info.timestamps[used.start + begin] - first)
        for begin, end in pairwise([*begins, len(used)])
    ]
