"""An edited copy of a layer's texture: where it differs from the export, and by how much."""

from functools import partial
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Float32
from PIL import Image

from layerloom import media
from layerloom.compose.blend import resize
from layerloom.compose.patch import MARGIN, Patch, window_of
from layerloom.core.errors import LayerloomError
from layerloom.core.geometry import Size
from layerloom.data.project import Layer
from layerloom.media.layered_documents import read_picture

TOLERANCE = {np.dtype(np.uint8): 1.01 / 255, np.dtype(np.uint16): 4.01 / 65535, np.dtype(np.float32): 1 / 1000}
"""A texture file's deviation from the export that saving it again can cause, by the file's depth."""
RESAMPLED_TOLERANCE = 2.5 / 255
"""The same of a file of another size: rounded to 8 bit before resampling, between its two passes, and after."""
RAMP = 4 / 255
"""Colour difference over which an edited texture's opacity rises from 0 to 1."""
UNDECIDED_TEXELS = 7
"""Beside edges, resampling hides small changes: gaps this wide in the edits of a resampled texture belong to them."""
FAINTEST_ALPHA = 1 / 255
SHAPE_TOLERANCE = 0.03
"""How far the ratio of a file's sides may be from the canvas': programs make sides multiples of 8 or 16."""


def texture_patch(layer: Layer, path: Path, onto: Layer) -> Patch | None:
    """layer: as it is exported. onto: as it is when the edit comes to it. LayerloomError for a file that is none."""
    file = read_picture(path)
    if file.shape[2] < 3:
        raise LayerloomError(f"{path}: {file.shape[2]} channels; a texture has RGB or RGBA")
    size: Size = (file.shape[1], file.shape[0])
    check_shape(layer, path, size, "an edited texture")
    colour = media.to_float(file[..., :3])
    # Exports at 8 bit and at the file's depth are compared, so rounding alone is no edit. Some programs drop the
    # colour of transparent texels: these are left as they were.
    if size == layer.canvas:
        depths = (8, 8 if file.dtype == np.uint8 else 16)
        first, second = (media.to_float(media.quantise(layer.texture[..., :3], depth)) for depth in depths)
        low, high = np.minimum(first, second), np.maximum(first, second)
        tolerance, hole = TOLERANCE[file.dtype], 1
    else:
        low, high = _resampled_bounds(layer.texture, size)
        tolerance, hole = RESAMPLED_TOLERANCE, UNDECIDED_TEXELS
    difference = np.maximum(low - colour, colour - high).max(-1)
    if file.shape[2] == 4:
        # Resampled, colour is the less exact the fainter it is: it was multiplied by alpha at 8 bit.
        alpha = media.to_float(file[..., 3])
        difference *= alpha > 0 if size == layer.canvas else alpha
    opacity = np.clip((difference - tolerance) / RAMP, 0, 1)
    # Inside an edit single texels may happen to have the old colour: they belong to it.
    opacity = cv2.morphologyEx(opacity, cv2.MORPH_CLOSE, np.ones((max(hole, 3),) * 2))
    edited = cv2.morphologyEx((difference > tolerance).astype(np.float32), cv2.MORPH_CLOSE, np.ones((hole, hole)))
    colour, opacity, edited = (resize(image, layer.canvas) for image in (colour, opacity, edited))
    opacity, edited = np.clip(opacity, 0, 1), np.clip(edited, 0, 1)
    window = window_of(np.maximum(opacity, edited), MARGIN)
    if window is None:
        return None
    change = edited[window][..., None] * (colour[window] - onto.texture[window][..., :3])
    return Patch(window[1].start, window[0].start, change, opacity[window][..., None])


def _resampled_bounds(
    texture: Float32[np.ndarray, "H W 4"], size: Size
) -> tuple[Float32[np.ndarray, "h w 3"], Float32[np.ndarray, "h w 3"]]:
    """Between which colours the texture is when another program has resampled it to `size`.

    From the usual filters, with colour weighted by alpha and without, and half as much again for filters not tried.
    """
    low = np.full((size[1], size[0], 3), np.inf, np.float32)
    high = -low
    weighted = texture * np.dstack([texture[..., 3:]] * 3 + [np.ones_like(texture[..., 3:])])
    # Growing by whole blocks is not among them: it would leave little that counts as an edit beside an edge.
    box = [Image.Resampling.BOX] if size[0] < texture.shape[1] else []
    filters = (*box, Image.Resampling.BILINEAR, Image.Resampling.BICUBIC, Image.Resampling.LANCZOS)
    for resample in (resize, *(partial(_pillow_resize, resampling=resampling) for resampling in filters)):
        alpha = resample(weighted[..., 3], size)
        for channel in range(3):
            plain = resample(texture[..., channel], size)
            by_alpha = resample(weighted[..., channel], size)
            by_alpha = np.where(alpha > FAINTEST_ALPHA, by_alpha / np.maximum(alpha, FAINTEST_ALPHA), plain)
            low[..., channel] = np.minimum(low[..., channel], np.minimum(plain, by_alpha))
            high[..., channel] = np.maximum(high[..., channel], np.maximum(plain, by_alpha))
    spread = (high - low) / 4
    # Filters overshoot beside edges; files hold [0, 1].
    return np.clip(low - spread, 0, 1), np.clip(high + spread, 0, 1)


def _pillow_resize(
    plane: Float32[np.ndarray, "H W"], size: Size, resampling: Image.Resampling
) -> Float32[np.ndarray, "h w"]:
    return np.asarray(Image.fromarray(np.ascontiguousarray(plane)).resize(size, resampling))


def check_shape(layer: Layer, path: Path, size: Size, what: str) -> None:
    """LayerloomError unless a file's size has nearly the canvas' shape, to which it is scaled."""
    (width, height), (file_width, file_height) = layer.canvas, size
    difference = abs(file_width * height - file_height * width)
    if difference > max(width, height, file_width, file_height, SHAPE_TOLERANCE * file_height * width):
        raise LayerloomError(
            f"{path}: {file_width} x {file_height} pixels; {what} of layer '{layer.name}'"
            f" has the shape of its canvas, {width} x {height}; the texture that is exported has it: paint on that"
        )
