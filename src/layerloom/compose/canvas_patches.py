"""Edits of the canvas turned into patches: overlays, placed pictures, words and paint."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Float32
from msgspec.structs import replace

from layerloom.compose.blend import AffineBlend, look_up_blend, make_blend, read_blend, resize_blend
from layerloom.compose.edited_texture import check_shape
from layerloom.compose.patch import MARGIN, MovingPatch, Patch, lay_over, window_of
from layerloom.compose.placement import PlacedPicture, draw_words
from layerloom.compose.shot import neighbours
from layerloom.compose.timed_video import TimedVideo, is_timed_video
from layerloom.core.errors import LayerloomError
from layerloom.core.geometry import Size, pixel_centres
from layerloom.data.mattes import reveal, stream_mattes
from layerloom.data.project import Project
from layerloom.edits.canvas import At, Blend, Ends, Overlay, Paint, Place, Text

DARKEST_LIGHT = 1e-3


@dataclass(frozen=True, eq=False)
class Content:
    """What a file shows at a time in the project's frames. moves: whether it is another picture at other times."""

    size: Size
    at: Callable[[float], AffineBlend]
    moves: bool


def read_content(project: Project, file: Path, blend: Blend, ends: Ends) -> Content:
    """A picture, or a video's frames by time. LayerloomError if it cannot be read, or a picture has no alpha."""
    if is_timed_video(file):
        video = TimedVideo(file, ends)
        return Content(video.size, lambda time: make_blend(video.at(_seconds(project, time)), blend), True)
    picture = read_blend(file, blend)
    return Content((picture.shape[1], picture.shape[0]), lambda time: picture, False)


def overlay_part(project: Project, layer: int, edit: Overlay, content: Content) -> Patch | MovingPatch | None:
    """What lies over a layer's whole canvas."""
    stored = project.layers[layer]
    check_shape(stored, edit.file, content.size, "an overlay")

    def patch(time: float) -> Patch | None:
        return lay_over(stored, 0, 0, resize_blend(content.at(time), stored.canvas))

    return patch if content.moves else patch(0.0)


def place_part(project: Project, layer: int, edit: Place, content: Content) -> Patch | MovingPatch | None:
    """A picture or a video placed on a layer."""
    scale = 1.0 if edit.place.height is None else edit.place.height / content.size[1]
    placed = PlacedPicture(project, layer, edit.place, content.size, scale)
    return _placed(project, layer, placed, lambda time: resize_blend(content.at(time), placed.size), content.moves)


def text_part(project: Project, layer: int, edit: Text) -> Patch | MovingPatch | None:
    """Words placed on a layer."""
    picture, placed = draw_words(project, layer, edit)
    words = resize_blend(make_blend(picture, edit.blend), placed.size)
    return _placed(project, layer, placed, lambda time: words, moves=False)


def pin_corners(project: Project, edit: Place | Text) -> Place | Text:
    """The same edit with its place said by four corners. LayerloomError as for its part."""
    layer = project.layer_index(edit.layer)
    if isinstance(edit, Text):
        placed = draw_words(project, layer, edit)[1]
    else:
        size = read_content(project, edit.file, edit.blend, edit.ends).size
        scale = 1.0 if edit.place.height is None else edit.place.height / size[1]
        placed = PlacedPicture(project, layer, edit.place, size, scale)
    first, second, third, fourth = ((float(x), float(y)) for x, y in placed.corners().reshape(4, 2))
    corners = first, second, third, fourth
    return replace(edit, place=At(frame=edit.place.frame, corners=corners, rigid=edit.place.rigid))


def paint_parts(project: Project, edit: Paint, paint: AffineBlend, hidden: Collection[int]) -> list[Patch | None]:
    """By layer, what a frame's painting is on its canvas. paint: as `read_paint` gives it.

    hidden: layers that are taken away, so that paint goes to what is seen behind them.
    """
    frame = project.frame_index(edit.frame)
    shares = reveal(project, frame, next(stream_mattes(project, range(edit.frame, edit.frame + 1))), hidden)
    layers = range(len(project.layers))
    return [_paint_patch(project, layer, frame, paint * _reached(shares, layer)[..., None]) for layer in layers]


def read_paint(project: Project, edit: Paint) -> AffineBlend:
    """The painting of a frame. LayerloomError if it is not RGBA of frame size."""
    paint = read_blend(edit.file, edit.blend)
    width, height = project.source.size
    if (paint.shape[1], paint.shape[0]) != (width, height):
        raise LayerloomError(
            f"{edit.file}: {paint.shape[1]} x {paint.shape[0]} pixels; paint must have the frame's {width} x {height}"
        )
    return paint


def _placed(
    project: Project, layer: int, placed: PlacedPicture, picture: Callable[[float], AffineBlend], moves: bool
) -> Patch | MovingPatch | None:
    """A placed picture as a patch. moves: whether it is another picture at other times."""
    fixed = None if placed.moves else placed.look_ups(0.0)

    def patch(time: float) -> Patch | None:
        look_ups = placed.look_ups(time) if placed.moves else fixed
        if look_ups is None:
            return None
        return lay_over(project.layers[layer], look_ups.left, look_ups.top, look_ups.draw(picture(time)))

    return patch if moves or placed.moves else patch(0.0)


def _seconds(project: Project, time: float) -> float:
    """Seconds from the project's first frame to a time in its frames."""
    first, second, share = neighbours(time)
    times = project.source.timestamps
    return float(times[first] - times[0]) + share * float(times[second] - times[first])


def _paint_patch(project: Project, layer: int, frame: int, paint: AffineBlend) -> Patch | None:
    """The painting carried to the canvas: read where each texel is in its frame, that frame's lighting divided out."""
    # A pixel reaches half way to its neighbours, however many texels that is.
    window = window_of(np.maximum.reduce(cv2.split(paint)), 1)
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
    return lay_over(project.layers[layer], left, top, carried)


def _reached(shares: Float32[np.ndarray, "layers h w"], layer: int) -> Float32[np.ndarray, "h w"]:
    """1 where paint goes to this layer: where its share is the largest, and the outline's pixels along with it."""
    owned = (shares.argmax(0) == layer).astype(np.uint8)
    return (cv2.dilate(owned, np.ones((3, 3))) * (shares[layer] > 0)).astype(np.float32)
