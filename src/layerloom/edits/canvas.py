"""Edits of what is on a layer's canvas, as plain values: pictures, videos and words, and how they are laid on.

`edits` takes them to JSON and back, `patches` carries them out. Frames are the source's, counted from 0.
"""

from pathlib import Path
from typing import Annotated, Literal

from msgspec import Meta

from layerloom.core.errors import LayerloomError
from layerloom.core.records import Colour, Coordinate, Frame, InvalidValue, Point, Record, optional_path, path_field
from layerloom.edits.values import EditRecord, Layer

Blend = Literal["normal", "multiply", "screen", "add"]
"""How a picture is laid on what is there; `compose.blend` has the formulas."""
Ends = Literal["loop", "hold"]
"""What a video does after its last frame: start anew, or stay."""
Height = Annotated[float, Meta(gt=0, le=16384)]


class Texture(EditRecord):
    """An edited copy of the layer's exported texture; any size of its shape. It acts where it differs."""

    layer: Layer
    file: Path = path_field(converter=Path)


class Overlay(EditRecord):
    """An RGBA image, or a video, laid over the layer's canvas; any size of the canvas' shape."""

    layer: Layer
    file: Path = path_field(converter=Path)
    blend: Blend = "normal"
    ends: Ends = "loop"


class Paint(EditRecord):
    """An RGBA image of frame size, painted on what is seen in that frame (the source's frames, from 0)."""

    frame: Frame
    file: Path = path_field(converter=Path)
    blend: Blend = "normal"


class At(Record):
    """Where a picture lies: in pixels of a frame, or in texels of the layer's canvas where `frame` is None.

    Either x, y (of its middle), height and rotation_degrees (clockwise), or `corners`: upper left, upper right, lower
    right, lower left. Without a height a picture has its own; a text's height is that of its font, 32 if not given.
    rigid: in every other frame it stays flat, pinned to where its middle is; otherwise it bends with the surface.
    """

    x: Coordinate | None = None
    y: Coordinate | None = None
    frame: Frame | None = None
    height: Height | None = None
    rotation_degrees: Coordinate = 0.0
    corners: tuple[Point, Point, Point, Point] | None = None
    rigid: bool = False

    def check(self) -> None:
        has_middle = self.x is not None and self.y is not None
        if has_middle == (self.corners is not None):
            raise InvalidValue("a place has either x and y, or corners")
        if self.corners is not None and (self.height or self.rotation_degrees):
            raise InvalidValue("a place with corners has neither height nor rotation")


class Place(EditRecord):
    """A picture or a video placed on a layer."""

    layer: Layer
    file: Path = path_field(converter=Path)
    place: At
    blend: Blend = "normal"
    ends: Ends = "loop"


class Text(EditRecord):
    """Words placed on a layer, in one colour `#rrggbb`. font: a font file; None: a plain sans serif."""

    layer: Layer
    text: Annotated[str, Meta(min_length=1, max_length=10_000)]
    place: At
    colour: Colour = "#ffffff"
    font: Path | None = path_field(converter=optional_path, default=None)
    blend: Blend = "normal"

    def check(self) -> None:
        if not self.text.strip():
            raise InvalidValue("a text without a letter", "text")


CanvasEdit = Texture | Overlay | Paint | Place | Text


def parse_colour(text: str) -> tuple[float, float, float]:
    """`#rrggbb` to red, green, blue in [0, 1]."""
    digits = text.removeprefix("#")
    try:
        red, green, blue = bytes.fromhex(digits) if len(digits) == 6 else b""
    except ValueError:
        raise LayerloomError(f"colour '{text}': write it as #rrggbb, such as #3366cc") from None
    return red / 255, green / 255, blue / 255
