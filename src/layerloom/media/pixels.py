"""Pixels as numbers: integers at full scale and floats in [0, 1], orders of channels, associated alpha."""

import cv2
import numpy as np
from jaxtyping import Float, Float32, Num, UInt8, UInt16


def to_float(image: Num[np.ndarray, "*shape"]) -> Float32[np.ndarray, "*shape"]:
    """Full-scale uint8 or uint16 to [0, 1]; floats keep their values."""
    if image.dtype == np.uint8 or image.dtype == np.uint16:
        return image.astype(np.float32) / np.float32(np.iinfo(image.dtype).max)
    if np.issubdtype(image.dtype, np.floating):
        return image.astype(np.float32)
    raise TypeError(f"pixels are {image.dtype}; uint8, uint16 or floats are allowed")


def quantise(
    image: Float[np.ndarray, "*shape"], bit_depth: int
) -> UInt8[np.ndarray, "*shape"] | UInt16[np.ndarray, "*shape"]:
    """[0, 1] to uint8 or uint16 at full scale (bit_depth 8 or 16): clipped, rounded half up. Undoes `to_float`."""
    dtype = {8: np.uint8, 16: np.uint16}[bit_depth]
    full_scale = np.float32(np.iinfo(dtype).max)
    return (np.clip(image.astype(np.float32), 0, 1) * full_scale + np.float32(0.5)).astype(dtype)


def at_depth(
    image: Num[np.ndarray, "*shape"], bit_depth: int
) -> UInt8[np.ndarray, "*shape"] | UInt16[np.ndarray, "*shape"]:
    """Any pixels as full-scale uint8 or uint16; those at that depth already are handed back as they are."""
    if image.dtype == {8: np.uint8, 16: np.uint16}[bit_depth]:
        return image
    return quantise(to_float(image), bit_depth)


def unassociated(pixels: Float32[np.ndarray, "h w 4"]) -> Float32[np.ndarray, "h w 4"]:
    """Colours divided by their alpha, where there is any."""
    alpha = pixels[..., 3:]
    # Where alpha is (next to) nothing, colour is what is stored.
    divisor = np.where(alpha > 1e-6, alpha, 1)
    return np.concatenate([pixels[..., :3] / divisor, alpha], -1)


# What OpenCV cannot read is said by this program, in one line.
if hasattr(cv2, "setLogLevel"):
    cv2.setLogLevel(0)  # pyright: ignore[reportAttributeAccessIssue]


def decode_quietly(data: bytes, flags: int) -> Num[np.ndarray, "..."] | None:
    """OpenCV's decoding; None for what it cannot read."""
    try:
        return cv2.imdecode(np.frombuffer(data, np.uint8), flags) if data else None
    except cv2.error:
        return None


def to_rgb_order(pixels: Num[np.ndarray, "..."]) -> Num[np.ndarray, "h w c"]:
    """OpenCV's grey, grey + alpha, BGR or BGRA as RGB(A)."""
    if pixels.ndim == 2:
        return cv2.cvtColor(pixels, cv2.COLOR_GRAY2RGB)  # (several times as fast as NumPy's repeat)
    order = {1: [0, 0, 0], 2: [0, 0, 0, 1], 3: [2, 1, 0], 4: [2, 1, 0, 3]}[pixels.shape[2]]
    return np.ascontiguousarray(pixels[..., order])
