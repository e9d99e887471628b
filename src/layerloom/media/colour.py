"""How RGB is stored as YUV: matrices, ranges, and what untagged video is taken for."""

import functools
from dataclasses import dataclass

import numpy as np
from av.video.reformatter import Colorspace, Interpolation
from jaxtyping import UInt16

from layerloom.conventions import Size

# Matrices by their number in ITU-T H.273 (FFmpeg's AVColorSpace), and swscale's name for them.
MATRICES = {
    1: Colorspace.ITU709,
    4: Colorspace.FCC,
    5: Colorspace.ITU601,
    6: Colorspace.ITU601,
    7: Colorspace.SMPTE240M,
    9: Colorspace.BT2020,
}
UNSPECIFIED_MATRIX = 2
QUALITY = (
    Interpolation.BICUBIC
    | Interpolation.ACCURATE_RND
    | Interpolation.FULL_CHR_H_INT  # chroma at full width when going to RGB …
    | Interpolation.FULL_CHR_H_INP  # … and when coming from it
)


@dataclass(frozen=True)
class Colour:
    """How RGB is stored as YUV: H.273's numbers for matrix, primaries and transfer, and the range."""

    matrix: int
    full_range: bool
    primaries: int
    transfer: int


def usual_colour(size: Size) -> Colour:
    """What untagged video of this size is taken for: BT.709 from 720 lines on, else BT.601; limited range."""
    return Colour(matrix=1 if size[1] >= 720 else 6, full_range=False, primaries=1, transfer=1)


@functools.lru_cache(maxsize=4)
def white_table(to: int, white: int) -> UInt16[np.ndarray, "65536"]:
    """Table that scales 16-bit values so that `white` becomes `to`."""
    return np.minimum(np.arange(65536) * (to / white) + 0.5, 65535).astype(np.uint16)
