"""Placing: where pictures, films and words lie on a layer's canvas, and how words are drawn.

A picture lies in a plane: that of a frame of the source, or the canvas itself. From there it is carried to the canvas
by the uv map of that frame, once for all times: in other frames it bends with the surface. A rigid one is carried anew
for every time, from the plane of that time's frame, where the homography that fits best takes it to where its spot has
gone: so it stays flat.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from jaxtyping import Float, Float32, Float64
from PIL import Image, ImageDraw, ImageFont

from layerloom.compose.blend import AffineBlend, look_up_blend
from layerloom.compose.shot import neighbours
from layerloom.core.errors import LayerloomError
from layerloom.core.geometry import Size, pixel_centres, transform_points
from layerloom.data.project import Layer, Project
from layerloom.edits.canvas import At, Text, parse_colour

SPOT_POINTS = 9
"""Points along each side of a picture by which its spot is followed."""
FINER = 2
"""Words are drawn so much larger than the canvas needs, then reduced."""
FONT_PIXELS = 16, 2048
USUAL_FONT_HEIGHT = 32.0
MARGIN_TEXELS = 2
MOST_TEXELS = 16384

Homography = Float64[np.ndarray, "3 3"]
Points = Float[np.ndarray, "*batch 2"]


@dataclass(frozen=True)
class LookUps:
    """For each texel of a part of the canvas the position in a picture, 0 at the middle of its first pixel.

    left, top: texels of the part's corner.
    """

    left: int
    top: int
    x: Float32[np.ndarray, "h w"]
    y: Float32[np.ndarray, "h w"]

    def draw(self, ink: AffineBlend) -> Float32[np.ndarray, "rows columns c"]:
        """The ink on that part of the canvas; nothing where the picture is not."""
        return look_up_blend(ink, self.x, self.y, cv2.BORDER_CONSTANT)


class PlacedPicture:
    """Where a picture lies on a layer. `size`: in texels, to which the picture is to be scaled first."""

    def __init__(self, project: Project, layer: int, place: At, size: Size, scale: float) -> None:
        """size: of the picture, in its own pixels; scale: how large one of these is, unless the place has corners.

        LayerloomError if its middle is not on the canvas, or the place's frame is not one of the project's.
        """
        self._project, self._layer = project, layer
        self._frame = None if place.frame is None else float(project.frame_index(place.frame))
        self.moves = place.rigid
        """Whether it lies elsewhere on the canvas at other times."""
        to_plane = _to_plane(place, size, scale)
        middle, corners = (self._plane_to_canvas(transform_points(to_plane, _spread(size, n))) for n in (1, 2))
        _check(project.layers[layer], middle, corners)
        across, down = (float(np.linalg.norm(np.diff(corners, axis=axis), axis=-1).max()) for axis in (1, 0))
        self.size: Size = max(1, round(across)), max(1, round(down))
        self._to_plane = to_plane @ np.diag([size[0] / self.size[0], size[1] / self.size[1], 1.0])
        self._texels = self._plane_to_canvas(transform_points(self._to_plane, _spread(self.size, SPOT_POINTS)))

    def corners(self) -> Points:
        """In the plane that the place is said in: upper left, upper right, lower right, lower left; 2 2 2."""
        width, height = self.size
        around = np.array([[[0, 0], [width, 0]], [[width, height], [0, height]]], np.float64)
        return transform_points(self._to_plane, around)

    def look_ups(self, time: float) -> LookUps | None:
        """Where the canvas shows which pixel of the picture, at a time in the project's frames; None if nowhere."""
        if not self.moves:
            return self._look_ups(self._frame, self._to_plane, self._texels)
        points = _spread(self.size, SPOT_POINTS)
        there = _positions_in_frame(self._project, self._layer, time, self._texels).astype(np.float64)
        fitted: Any = cv2.findHomography(points.reshape(-1, 2), there.reshape(-1, 2))[0]
        if fitted is None:  # all points on a line
            return None
        around = _positions_on_canvas(self._project, self._layer, time, transform_points(fitted, points))
        return self._look_ups(time, fitted, around)

    def _look_ups(self, time: float | None, to_plane: Homography, around: Points) -> LookUps | None:
        """By texels around the picture, from a plane: that of a time, or the canvas."""
        canvas = self._project.layers[self._layer].canvas
        left, top = np.clip(np.floor(around.min((0, 1))) - MARGIN_TEXELS, 0, canvas).astype(int).tolist()
        right, bottom = np.clip(np.ceil(around.max((0, 1))) + MARGIN_TEXELS, 0, canvas).astype(int).tolist()
        if right <= left or bottom <= top:
            return None
        texels = pixel_centres((right - left, bottom - top)) + np.array([left, top], np.float32)
        plane = texels if time is None else _positions_in_frame(self._project, self._layer, time, texels)
        x, y, w = np.moveaxis(np.dstack([plane, np.ones_like(plane[..., 0])]) @ np.linalg.inv(to_plane).T, -1, 0)
        # Beyond the plane's horizon there is nothing.
        ahead = w * np.sign(to_plane[2] @ [self.size[0] / 2, self.size[1] / 2, 1]) > 0
        x, y = (np.where(ahead, side / np.where(ahead, w, 1) - 0.5, -MOST_TEXELS) for side in (x, y))
        return LookUps(left, top, x.astype(np.float32), y.astype(np.float32))

    def _plane_to_canvas(self, points: Points) -> Points:
        return points if self._frame is None else _positions_on_canvas(self._project, self._layer, self._frame, points)


def draw_words(project: Project, layer: int, edit: Text) -> tuple[Float32[np.ndarray, "h w 4"], PlacedPicture]:
    """The words as straight RGBA, and where they lie. LayerloomError for a font that cannot be read."""
    height = edit.place.height or USUAL_FONT_HEIGHT
    font_pixels, tries = FONT_PIXELS[0], 2
    while True:
        cover = _words(edit.text, edit.font, font_pixels)
        spot = PlacedPicture(project, layer, edit.place, cover.shape[::-1], height / font_pixels)
        tries -= 1
        if not tries:
            break
        # What the place's pixels are on the canvas is known only now.
        font_pixels = round(np.clip(font_pixels * FINER * spot.size[1] / cover.shape[0], *FONT_PIXELS))
    colour = np.broadcast_to(np.array(parse_colour(edit.colour), np.float32), (*cover.shape, 3))
    return np.dstack([colour, cover]), spot


def _words(text: str, file: Path | None, font_pixels: int) -> Float32[np.ndarray, "h w"]:
    """Cover of the words in [0, 1], cut to their ink."""
    font = _font(file, font_pixels)
    if lacking := _without_glyph(text, file):
        name, remedy = (
            ("the plain font", "name one that has them: font FILE") if file is None else (file, "use another")
        )
        raise LayerloomError(f"'{text}': {name} has no {lacking}; {remedy}")
    left, top, right, bottom = ImageDraw.Draw(Image.new("L", (1, 1))).multiline_textbbox(
        (0, 0), text, font, align="center"
    )
    image = Image.new("L", (max(1, round(right - left)), max(1, round(bottom - top))))
    ImageDraw.Draw(image).multiline_text((-left, -top), text, 255, font, align="center")
    return np.asarray(image, np.float32) / np.float32(255)


def _font(file: Path | None, pixels: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    try:
        return ImageFont.load_default(pixels) if file is None else ImageFont.truetype(str(file), pixels)
    except OSError:
        raise LayerloomError(f"{file}: not a font that can be read") from None


GLYPH_PIXELS = 64
"""Sides of the picture in which characters are compared."""


def _without_glyph(text: str, file: Path | None) -> str:
    """The characters for which a font draws what it draws for one that does not exist."""
    font = _font(file, GLYPH_PIXELS // 2)

    def ink(character: str) -> bytes:
        image = Image.new("L", (GLYPH_PIXELS, GLYPH_PIXELS))
        ImageDraw.Draw(image).text((0, 0), character, 255, font)
        return image.tobytes()

    absent = ink("\uffff")
    drawn = dict.fromkeys(character for character in text if character.isprintable() and not character.isspace())
    return "".join(character for character in drawn if ink(character) == absent)


def _to_plane(place: At, size: Size, scale: float) -> Homography:
    """A picture's pixel positions to positions in the plane in which it lies."""
    width, height = size
    if place.corners is not None:
        corners = np.array(place.corners, np.float32)
        if not cv2.isContourConvex(corners):
            raise LayerloomError("a place's corners go around it: upper left, upper right, lower right, lower left")
        own = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
        return cv2.getPerspectiveTransform(own, corners)
    assert place.x is not None and place.y is not None
    angle = np.deg2rad(place.rotation_degrees)
    # y points down, so that a positive angle turns clockwise.
    turned = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    shift = np.array([place.x, place.y]) - turned @ np.array([width / 2, height / 2])
    return np.vstack([np.column_stack([turned, shift]), [0.0, 0.0, 1.0]])


def _spread(size: Size, count: int) -> Float64[np.ndarray, "count count 2"]:
    """Points spread over a picture, the outermost on its corners; its middle if there is one."""
    x, y = (np.linspace(0, side, count) if count > 1 else np.array([side / 2]) for side in size)
    return np.stack(np.meshgrid(x, y), -1)


def _check(layer: Layer, middle: Float[np.ndarray, "1 1 2"], corners: Float[np.ndarray, "2 2 2"]) -> None:
    if not ((middle >= 0) & (middle <= layer.canvas)).all():
        x, y = middle.ravel().tolist()
        raise LayerloomError(
            f"the place's middle is texel {x:.0f},{y:.0f} of layer '{layer.name}', outside of its canvas,"
            f" {layer.canvas[0]} x {layer.canvas[1]}"
        )
    if np.ptp(corners, axis=(0, 1)).max() > MOST_TEXELS:
        raise LayerloomError(f"a place of more than {MOST_TEXELS} texels on layer '{layer.name}'")


def _positions_on_canvas(
    project: Project, layer: int, time: float, xy: Float[np.ndarray, "h w 2"]
) -> Float32[np.ndarray, "h w 2"]:
    """Texels of a frame's positions; between two frames linear at fixed positions."""
    first, second, share = neighbours(time)
    ends = [project.uv_at(layer, frame, xy.astype(np.float32)) for frame in (first, second)]
    return ends[0] + np.float32(share) * (ends[1] - ends[0])


def _positions_in_frame(
    project: Project, layer: int, time: float, texels: Float[np.ndarray, "h w 2"]
) -> Float32[np.ndarray, "h w 2"]:
    """Where texels are in a frame; between two frames linear for a fixed texel."""
    first, second, share = neighbours(time)
    xy = project.maps(layer).positions(first, texels.astype(np.float32))
    return (
        xy
        if share == 0
        else xy + np.float32(share) * (project.maps(layer).positions(second, texels.astype(np.float32)) - xy)
    )
