"""How RGB is stored as YUV: matrices, ranges, and what untagged video is taken for."""

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np
from av.video.reformatter import Colorspace, Interpolation
from jaxtyping import Float32, Float64, UInt16

from layerloom.core.geometry import Size

# Matrices by their number in ITU-T H.273 (FFmpeg's AVColorSpace), and swscale's name for them.
MATRICES = {
    1: Colorspace.ITU709,
    4: Colorspace.FCC,
    5: Colorspace.ITU601,
    6: Colorspace.ITU601,
    7: Colorspace.SMPTE240M,
    9: Colorspace.BT2020,
}
LUMA_WEIGHTS = {
    1: (0.2126, 0.0722),
    4: (0.30, 0.11),
    5: (0.299, 0.114),
    6: (0.299, 0.114),
    7: (0.212, 0.087),
    9: (0.2627, 0.0593),
}
"""Shares of red and blue in luma (K_R, K_B) by matrix."""

UNSPECIFIED = 2
"""Matrix, primaries or transfer that a file does not tell."""

HDR_TRANSFERS = {16: "PQ", 18: "HLG"}
"""Transfers of HDR by their number in ITU-T H.273."""

QUALITY = (
    Interpolation.BICUBIC
    | Interpolation.ACCURATE_RND
    | Interpolation.FULL_CHR_H_INT  # chroma at full width when going to RGB …
    | Interpolation.FULL_CHR_H_INP  # … and when coming from it
)


@dataclass(frozen=True)
class Colour:
    """How RGB is stored as YUV: H.273's numbers for matrix, primaries and transfer, and the range.

    Primaries and transfer say what the RGB means, whatever it is stored as; `UNSPECIFIED` where nothing is known.
    """

    matrix: int
    full_range: bool
    primaries: int
    transfer: int


def usual_colour(size: Size) -> Colour:
    """What untagged video of this size is taken for: BT.709 from 720 lines on, else BT.601; limited range."""
    return Colour(matrix=1 if size[1] >= 720 else 6, full_range=False, primaries=1, transfer=1)


def rgb_to_yuv(colour: Colour, bits: int, white: int) -> Float64[np.ndarray, "3 4"]:
    """Affine map from RGB (0 … white) to the stored Y, Cb, Cr of `bits` bits (ITU-T H.273, equations 38 to 45)."""
    red, blue = LUMA_WEIGHTS[colour.matrix]
    luma = np.array([red, 1 - red - blue, blue])
    rows = np.stack([luma, (np.array([0, 0, 1]) - luma) / (2 - 2 * blue), (np.array([1, 0, 0]) - luma) / (2 - 2 * red)])
    step, largest = 1 << (bits - 8), (1 << bits) - 1
    scale = np.array([largest] * 3 if colour.full_range else [219 * step, 224 * step, 224 * step])
    offset = np.array([0 if colour.full_range else 16 * step, 128 * step, 128 * step])
    return np.concatenate([rows * scale[:, None] / white, offset[:, None]], 1)


@functools.lru_cache(maxsize=4)
def white_table(white: int) -> UInt16[np.ndarray, "65536"]:
    """Table that scales 16-bit values so that `white` becomes 65535."""
    return np.minimum(np.arange(65536) * (65535 / white) + 0.5, 65535).astype(np.uint16)


REFERENCE_WHITE = 203
"""cd/m² of a white page in HDR (ITU-R BT.2408): 1 in linear light."""
HLG_REFERENCE_WHITE = 0.75


def linear_light(code: Float32[np.ndarray, "*shape"], transfer: int) -> Float32[np.ndarray, "*shape"]:
    """Display-referred values in [0, 1] as linear light: by PQ (SMPTE ST 2084), HLG (BT.2100), else by sRGB's curve.

    1 is white; of PQ and HLG the white of a page, so that highlights lie above it.
    """
    if transfer == 16:
        power = code.astype(np.float64) ** (1 / 78.84375)
        light = np.maximum(power - 0.8359375, 0) / (18.8515625 - 18.6875 * power)
        return (light ** (1 / 0.1593017578125) * (10_000 / REFERENCE_WHITE)).astype(np.float32)
    if transfer == 18:
        return (_hlg(code.astype(np.float64)) / _hlg(np.float64(HLG_REFERENCE_WHITE))).astype(np.float32)
    return np.where(code <= 0.04045, code / 12.92, ((np.maximum(code, 0.04045) + 0.055) / 1.055) ** 2.4).astype(
        np.float32
    )


def _hlg(code: Any) -> Any:
    return np.where(code <= 0.5, code**2 / 3, (np.exp((code - 0.55991073) / 0.17883277) + 0.28466892) / 12)
