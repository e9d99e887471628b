"""TIFF: the format with the most variants. OpenCV reads most, Pillow 8 bit with alpha, tifffile the rest."""

from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Float32, Num

from layerloom.media.formats import ImageHeader, open_tiff
from layerloom.media.pixels import decode_quietly, to_rgb_order, unassociated

# tifffile is imported where it is used: it takes a while, which most commands need not spend.


def read_tiff(path: Path, header: ImageHeader) -> Num[np.ndarray, "h w c"] | None:
    """The first page as RGB or straight RGBA: uint8, uint16 or float32. None where neither library can read it.

    May raise whatever they raise for a damaged file.
    """
    pixels = None if header.bits == 8 and header.alpha != "none" else _by_opencv(path)
    if pixels is None and header.bits != 8:
        pixels = _by_tifffile(path)
    if pixels is None:  # 8 bit: OpenCV hands colour multiplied by alpha, whatever the file says of its own
        return None
    return _straight(pixels) if header.alpha == "associated" and pixels.shape[2] == 4 else pixels


def _by_opencv(path: Path) -> Num[np.ndarray, "h w c"] | None:
    """None for what it cannot read, or reads wrongly: planes one after the other, white as 0, halves and doubles."""
    import tifffile

    with open_tiff(path) as file:
        page = file.pages.first
        known = page.photometric in (tifffile.PHOTOMETRIC.RGB, tifffile.PHOTOMETRIC.MINISBLACK)
        if not known or page.planarconfig != tifffile.PLANARCONFIG.CONTIG:
            return None
    pixels = decode_quietly(path.read_bytes(), cv2.IMREAD_UNCHANGED)
    if pixels is None or pixels.dtype.name not in ("uint8", "uint16", "float32"):
        return None
    return to_rgb_order(pixels)


def _by_tifffile(path: Path) -> Num[np.ndarray, "h w c"]:
    import tifffile

    with open_tiff(path) as file:
        page = file.pages.first
        pixels = page.asarray()
        inverted = page.photometric == tifffile.PHOTOMETRIC.MINISWHITE
        planes = pixels.ndim == 3 and page.planarconfig == tifffile.PLANARCONFIG.SEPARATE
    pixels = np.moveaxis(pixels, 0, -1) if planes else pixels
    if pixels.dtype.kind == "f":
        pixels = pixels.astype(np.float32)
    elif pixels.dtype == np.uint32:
        pixels = (pixels >> 16).astype(np.uint16)
    if inverted:
        pixels = np.iinfo(pixels.dtype.name).max - pixels if pixels.dtype.kind == "u" else 1 - pixels
    if pixels.ndim == 2 or pixels.shape[2] == 1:
        return np.repeat(pixels.reshape(*pixels.shape[:2], 1), 3, 2)
    if pixels.shape[2] == 2:
        return pixels[..., [0, 0, 0, 1]]
    return np.ascontiguousarray(pixels[..., :4])


def _straight(pixels: Num[np.ndarray, "h w 4"]) -> Num[np.ndarray, "h w 4"]:
    """Associated alpha divided out, in the pixels' own type."""
    if pixels.dtype.kind == "f":
        return unassociated(pixels)
    full = np.float32(np.iinfo(pixels.dtype).max)
    straight: Float32[np.ndarray, "h w 4"] = unassociated(pixels.astype(np.float32) / full)
    return (np.clip(straight, 0, 1) * full + np.float32(0.5)).astype(pixels.dtype)
