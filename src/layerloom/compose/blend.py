"""Blend modes: what a picture F of opacity a does to a colour X that it is laid on, X' = X + a (B(X, F) − X).

    normal      B = F                       screen      B = 1 − (1 − X) (1 − F)
    multiply    B = X F                     add         B = X + F

All are affine in X: X' = (1 − taken) X + added. So an edit acts on what the layers cannot explain as it does on the
texture: of the residual e it leaves (1 − taken) e, and a multiplied source keeps its detail, multiplied.

    mode        added       taken           mode        added       taken
    normal      a F         a               screen      a F         a F
    multiply    0           a (1 − F)       add         a F         0

Light multiplies X and `added` alike, but not `taken`: R (X (1 − taken) + added).

An ink is a picture in this form, h w c: added red, green, blue, then taken, once for all colours or once for each.
"""

from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Float32

from layerloom import media
from layerloom.core.errors import LayerloomError
from layerloom.core.geometry import Size
from layerloom.edits.canvas import Blend
from layerloom.media.layered_documents import read_picture

AffineBlend = Float32[np.ndarray, "h w c"]


def read_blend(path: Path, blend: Blend = "normal") -> AffineBlend:
    """A picture's ink. LayerloomError if it has no alpha."""
    picture = read_picture(path)
    if picture.shape[2] != 4:
        raise LayerloomError(
            f"{path}: {picture.shape[2]} channels; overlays and paint are RGBA images with straight alpha"
        )
    return make_blend(media.to_float(picture), blend)


def make_blend(picture: Float32[np.ndarray, "h w 4"], blend: Blend = "normal") -> AffineBlend:
    """The ink of a straight RGBA picture."""
    colour, opacity = picture[..., :3], np.clip(picture[..., 3:], 0, 1)
    if blend == "multiply":
        return np.dstack([np.zeros_like(colour), opacity * (1 - np.clip(colour, 0, 1))])
    if blend == "screen":
        colour = np.clip(colour, 0, 1)
        return np.dstack([opacity * colour, opacity * colour])
    return np.dstack([opacity * colour, opacity if blend == "normal" else np.zeros_like(colour)])


def resize_blend(ink: AffineBlend, size: Size) -> Float32[np.ndarray, "H W c"]:
    """Beside hard edges cubic interpolation overshoots: what would take more than all takes all and adds less."""
    # OpenCV averages areas of up to four channels at once.
    scaled = np.maximum(np.dstack([resize(plane, size) for plane in cv2.split(ink)]), 0)
    return scaled / np.maximum(scaled[..., 3:].max(-1, keepdims=True), 1)


def look_up_blend(
    ink: AffineBlend, x: Float32[np.ndarray, "H W"], y: Float32[np.ndarray, "H W"], border: int
) -> Float32[np.ndarray, "H W c"]:
    """Bilinear; x, y: 0 at the middle of the first pixel. border: what lies outside, as OpenCV names it."""
    return np.dstack([cv2.remap(plane, x, y, cv2.INTER_LINEAR, borderMode=border) for plane in cv2.split(ink)])


def resize(image: Float32[np.ndarray, "..."], size: Size) -> Float32[np.ndarray, "..."]:
    """Area average where it shrinks, cubic where it grows."""
    shrinks = size[0] < image.shape[1]
    if (image.shape[1], image.shape[0]) == size:
        return image
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC)
