"""Scene-linear light in arrays that hold [0, 1]: a display encoding that can be undone.

Learning and drawing work on display-referred values. Scene-linear footage (EXR) is brought there by *extended sRGB*:
sRGB's curve g (IEC 61966-2-1), scaled by s, for light up to 1, and a logarithm above it, up to the light `white`:

    f(x) = s g(x)                            0 <= x <= 1
    f(x) = s + (1 - s) log2(x) / log2(white)    1 <= x <= white

s is chosen so that both parts meet in one slope: s = 1 / (1 + g'(1) ln(white)) with g'(1) = 1.055 / 2.4. So a
display-referred picture is brought into the encoding by a multiplication with s (`display_scale`), and light up to 1
looks as it does on a display, only darker. The file's primaries stay as they are. With white = 1 it is sRGB itself.

Codes are 16 bit. What no code holds (negative light, light above `white`, halves between codes) is kept where pixels
are not edited: `restored` takes those from the source itself.
"""

import math

import numpy as np
from jaxtyping import Float, Float32, UInt16

from layerloom.media.description import Encoding

MOST_STOPS = 10
"""Above 1; brighter light is clipped in the encoding."""
SLOPE_AT_WHITE = 1.055 / 2.4


def encoding_for(brightest: float) -> Encoding:
    """Extended sRGB up to the power of two that holds the brightest light."""
    stops = math.ceil(math.log2(brightest)) if math.isfinite(brightest) and brightest > 1 else 0
    return Encoding("extended-srgb", float(2 ** min(stops, MOST_STOPS)))


def display_scale(encoding: Encoding) -> float:
    """s: what a display-referred picture is multiplied by to be in the encoding."""
    return 1 / (1 + SLOPE_AT_WHITE * math.log(encoding.white))


def encode(linear: Float[np.ndarray, "*shape"], encoding: Encoding) -> UInt16[np.ndarray, "*shape"]:
    """Light to codes; what is no number is 0."""
    light = np.nan_to_num(linear.astype(np.float32), nan=0.0, posinf=encoding.white, neginf=0.0)
    light = np.clip(light, 0, encoding.white)
    scale = np.float32(display_scale(encoding))
    code = scale * srgb_from_linear(np.minimum(light, 1))
    if encoding.white > 1:
        share = np.log2(np.maximum(light, 1)) / np.float32(math.log2(encoding.white))
        code = code + (1 - scale) * share
    return (np.clip(code, 0, 1) * np.float32(65535) + np.float32(0.5)).astype(np.uint16)


def decode(code: UInt16[np.ndarray, "*shape"], encoding: Encoding) -> Float32[np.ndarray, "*shape"]:
    """Codes to light."""
    table = _decoding_table(encoding)
    return table[code]


def _decoding_table(encoding: Encoding) -> Float32[np.ndarray, "65536"]:
    value, scale = np.arange(65536, dtype=np.float64) / 65535, display_scale(encoding)
    light = linear_from_srgb(np.minimum(value / scale, 1))
    if encoding.white > 1:
        above = 2 ** ((value - scale) / (1 - scale) * math.log2(encoding.white))
        light = np.where(value > scale, above, light)
    return light.astype(np.float32)


def srgb_from_linear(linear: Float[np.ndarray, "*shape"]) -> Float[np.ndarray, "*shape"]:
    """sRGB's curve, light in [0, 1] to codes in [0, 1]."""
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * np.maximum(linear, 0.0031308) ** (1 / 2.4) - 0.055)


def linear_from_srgb(code: Float[np.ndarray, "*shape"]) -> Float[np.ndarray, "*shape"]:
    """The way back."""
    return np.where(code <= 0.04045, code / 12.92, ((np.maximum(code, 0.04045) + 0.055) / 1.055) ** 2.4)


def restored(
    drawn: UInt16[np.ndarray, "h w c"],
    codes: UInt16[np.ndarray, "h w c"],
    linear: Float[np.ndarray, "h w c"],
    encoding: Encoding,
) -> Float[np.ndarray, "h w c"]:
    """A drawn frame as light in `linear`'s own type: the source's own where the codes are still the source's.

    codes, linear: the source's frame as `encode` gave it, and as it is stored.
    """
    return np.where(drawn == codes, linear, decode(drawn, encoding).astype(linear.dtype))
