"""Edits turned into patches: what happens to a layer's canvas, in its own coordinates, for every frame at once.

An edit of opacity a changes a texture T into E = T + change. An ink laid over it (see `blending`) gives
change = added − taken T and a = taken; an edited texture gives change = F − T wherever they differ. A second patch of
opacity b lies over the first: change' = (1 − b) change + its own, a' = 1 − (1 − a)(1 − b).
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Bool, Float, Float32
from PIL import Image

from layerloom import media
from layerloom.compose.blend import AffineBlend, look_up_blend, make_blend, read_blend, resize, resize_blend
from layerloom.compose.placement import PlacedPicture, draw_words
from layerloom.compose.shot import neighbours
from layerloom.compose.timed_video import TimedVideo, is_timed_video
from layerloom.core.errors import LayerloomError
from layerloom.core.geometry import Size, pixel_centres
from layerloom.data.mattes import reveal, stream_mattes
from layerloom.data.project import Layer, Project, Window
from layerloom.edits.canvas import CanvasEdit, Overlay, Paint, Place, Text, Texture
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
MARGIN = 2
"""Texels around an edit that belong to its window, so that interpolation has faded to zero at its border."""
DARKEST_LIGHT = 1e-3


@dataclass(frozen=True)
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


@dataclass(frozen=True)
class LayerPatches:
    """All edits of one layer's canvas, the first lowest."""

    parts: tuple[Patch | MovingPatch, ...]

    def at(self, time: float) -> Patch | None:
        """All in one patch at a time in the project's frames; None where they change nothing."""
        parts = (part if isinstance(part, Patch) else part(time) for part in self.parts)
        patches = [patch for patch in parts if patch is not None]
        return _stack(patches) if patches else None


def canvas_patches(
    project: Project, edits: Sequence[CanvasEdit], hidden: Collection[int] = ()
) -> list[LayerPatches | None]:
    """What edits do to the canvas of each layer, the first edit lowest; None where no edit reaches it.

    hidden: layers that are taken away, so that paint goes to what is seen behind them.
    """
    parts: list[list[Patch | MovingPatch]] = [[] for _ in project.layers]
    for edit in edits:
        for layer, part in _edit_parts(project, edit, hidden):
            below = parts[layer][-1] if parts[layer] else None
            if isinstance(part, Patch) and isinstance(below, Patch):
                parts[layer][-1] = _stack([below, part])
            elif part is not None:
                parts[layer].append(part)
    return [LayerPatches(tuple(layer_parts)) if layer_parts else None for layer_parts in parts]


def _edit_parts(
    project: Project, edit: CanvasEdit, hidden: Collection[int]
) -> Iterator[tuple[int, Patch | MovingPatch | None]]:
    """The layers that one edit reaches, and what it does to them."""
    if isinstance(edit, Paint):
        paint = load_paint(project, edit)
        frame = project.frame_index(edit.frame)
        shares = reveal(project, frame, next(stream_mattes(project, range(edit.frame, edit.frame + 1))), hidden)
        for layer in range(len(project.layers)):
            reached = paint * _reached(shares, layer)[..., None]
            yield layer, _paint_patch(project, layer, frame, reached)
        return
    layer = project.layer_index(edit.layer)
    if isinstance(edit, Texture):
        yield layer, _texture_patch(project.layers[layer], edit.file)
    elif isinstance(edit, Overlay):
        yield layer, _overlay_part(project, layer, edit)
    elif isinstance(edit, Text):
        picture, spot = draw_words(project, layer, edit)
        ink = resize_blend(make_blend(picture, edit.blend), spot.size)
        yield layer, _placed(project, layer, spot, lambda time: ink, moves=False)
    else:
        yield layer, _place_part(project, layer, edit)


def load_paint(project: Project, edit: Paint) -> AffineBlend:
    """The painting's ink. LayerloomError if it is not RGBA of frame size."""
    paint = read_blend(edit.file, edit.blend)
    width, height = project.source.size
    if (paint.shape[1], paint.shape[0]) != (width, height):
        raise LayerloomError(
            f"{edit.file}: {paint.shape[1]} x {paint.shape[0]} pixels; paint must have the frame's {width} x {height}"
        )
    return paint


def _texture_patch(layer: Layer, path: Path) -> Patch | None:
    file = read_picture(path)
    if file.shape[2] < 3:
        raise LayerloomError(f"{path}: {file.shape[2]} channels; a texture has RGB or RGBA")
    size: Size = (file.shape[1], file.shape[0])
    _check_shape(layer, path, size, "an edited texture")
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
    change = edited[window][..., None] * (colour[window] - layer.texture[window][..., :3])
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


def _check_shape(layer: Layer, path: Path, size: Size, what: str) -> None:
    """LayerloomError unless a file's size has the canvas' shape; its sides may be rounded."""
    (width, height), (file_width, file_height) = layer.canvas, size
    if abs(file_width * height - file_height * width) > max(width, height, file_width, file_height):
        raise LayerloomError(
            f"{path}: {file_width} x {file_height} pixels; {what} of layer '{layer.name}'"
            f" has the shape of its canvas, {width} x {height}"
        )


def _overlay_part(project: Project, layer: int, edit: Overlay) -> Patch | MovingPatch | None:
    stored = project.layers[layer]
    size, ink, moves = _content(project, edit)
    _check_shape(stored, edit.file, size, "an overlay")

    def patch(time: float) -> Patch | None:
        return _lay_over(stored, 0, 0, resize_blend(ink(time), stored.canvas))

    return patch if moves else patch(0.0)


def _place_part(project: Project, layer: int, edit: Place) -> Patch | MovingPatch | None:
    size, ink, moves = _content(project, edit)
    scale = 1.0 if edit.place.height is None else edit.place.height / size[1]
    spot = PlacedPicture(project, layer, edit.place, size, scale)
    return _placed(project, layer, spot, lambda time: resize_blend(ink(time), spot.size), moves)


def _placed(
    project: Project, layer: int, spot: PlacedPicture, ink: Callable[[float], AffineBlend], moves: bool
) -> Patch | MovingPatch | None:
    """What is placed on a spot. moves: whether the ink is another one at other times."""
    fixed = None if spot.moves else spot.look_ups(0.0)

    def patch(time: float) -> Patch | None:
        look_ups = spot.look_ups(time) if spot.moves else fixed
        if look_ups is None:
            return None
        return _lay_over(project.layers[layer], look_ups.left, look_ups.top, look_ups.draw(ink(time)))

    return patch if moves or spot.moves else patch(0.0)


def _content(project: Project, edit: Overlay | Place) -> tuple[Size, Callable[[float], AffineBlend], bool]:
    """Size and ink, by time, of what an edit's file shows, and whether it moves."""
    if is_timed_video(edit.file):
        film = TimedVideo(edit.file, edit.ends)
        return film.size, lambda time: make_blend(film.at(_seconds(project, time)), edit.blend), True
    picture = read_blend(edit.file, edit.blend)
    return (picture.shape[1], picture.shape[0]), lambda time: picture, False


def _seconds(project: Project, time: float) -> float:
    """Seconds from the project's first frame to a time in its frames."""
    first, second, share = neighbours(time)
    times = project.source.timestamps
    return float(times[first] - times[0]) + share * float(times[second] - times[first])


def _paint_patch(project: Project, layer: int, frame: int, paint: AffineBlend) -> Patch | None:
    """The painting carried to the canvas: read where each texel is in its frame, that frame's lighting divided out."""
    # A pixel reaches half way to its neighbours, however many texels that is.
    window = window_of(paint.max(-1), 1)
    if window is None:
        return None
    uv = project.uv(layer, frame, window)
    canvas = project.layers[layer].canvas
    left, top = (int(edge) for edge in np.clip(uv.min((0, 1)) - MARGIN, 0, canvas))
    right, bottom = (int(edge) for edge in np.clip(np.ceil(uv.max((0, 1))) + MARGIN, 0, canvas))
    if right <= left or bottom <= top:
        return None
    texels = pixel_centres((right - left, bottom - top)) + np.array([left, top], np.float32)
    xy, found = project.find_xy(layer, frame, texels)
    x, y = cv2.split(xy - np.float32(0.5))
    carried = look_up_blend(paint, x, y, cv2.BORDER_REPLICATE)
    carried[~found] = 0
    carried[..., :3] /= np.maximum(project.lighting(layer, frame, uv=texels), DARKEST_LIGHT)
    return _lay_over(project.layers[layer], left, top, carried)


def _reached(shares: Float32[np.ndarray, "layers h w"], layer: int) -> Float32[np.ndarray, "h w"]:
    """1 where paint goes to this layer: where its share is the largest, and the outline's pixels along with it."""
    owned = (shares.argmax(0) == layer).astype(np.uint8)
    return (cv2.dilate(owned, np.ones((3, 3))) * (shares[layer] > 0)).astype(np.float32)


def _lay_over(layer: Layer, left: int, top: int, ink: AffineBlend) -> Patch | None:
    """Patch of an ink whose corner lies at (left, top) of the canvas."""
    window = window_of(ink.max(-1), MARGIN)
    if window is None:
        return None
    rows, columns = window
    opacity = np.clip(ink[rows, columns, 3:], 0, 1)
    left, top = left + columns.start, top + rows.start
    under = layer.texture[top : top + opacity.shape[0], left : left + opacity.shape[1], :3]
    return Patch(left, top, ink[rows, columns, :3] - opacity * under, opacity)


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


def _stack(patches: Sequence[Patch]) -> Patch:
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
