"""Edits of what is on a layer's canvas, as plain values: pictures, videos and words, and how they are laid on.

`edits` takes them to JSON and back, `patches` carries them out. Frames are the source's, counted from 0.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from layerloom.core.errors import LayerloomError

Blend = Literal["normal", "multiply", "screen", "add"]
"""How a picture is laid on what is there; `blending` has the formulas."""
Ends = Literal["loop", "hold"]
"""What a video does after its last frame: start anew, or stay."""
Point = tuple[float, float]


@dataclass(frozen=True)
class Texture:
    """An edited copy of the layer's exported texture; any size of its shape. It acts where it differs."""

    layer: str
    file: Path


@dataclass(frozen=True)
class Overlay:
    """An RGBA image, or a video, laid over the layer's canvas; any size of the canvas' shape."""

    layer: str
    file: Path
    blend: Blend = "normal"
    ends: Ends = "loop"


@dataclass(frozen=True)
class Paint:
    """An RGBA image of frame size, painted on what is seen in that frame (the source's frames, from 0)."""

    frame: int
    file: Path
    blend: Blend = "normal"


@dataclass(frozen=True)
class At:
    """Where a picture lies: in pixels of a frame, or in texels of the layer's canvas where `frame` is None.

    Either x, y (of its middle), height and rotation_degrees (clockwise), or `corners`: upper left, upper right, lower
    right, lower left. Without a height a picture has its own; a text's height is that of its font, 32 if not given.
    rigid: in every other frame it stays flat, pinned to where its spot is; otherwise it bends with the surface.
    """

    x: float | None = None
    y: float | None = None
    frame: int | None = None
    height: float | None = None
    rotation_degrees: float = 0.0
    corners: tuple[Point, ...] | None = None
    rigid: bool = False

    def __post_init__(self) -> None:
        has_middle = self.x is not None and self.y is not None
        if has_middle == (self.corners is not None):
            raise LayerloomError("a place has either x and y, or corners")
        if self.corners is not None and (len(self.corners) != 4 or self.height or self.rotation_degrees):
            raise LayerloomError("a place with corners has four of them, and neither height nor rotation")
        if self.height is not None and not 0 < self.height <= 16384:
            raise LayerloomError(f"height {self.height:g}: allowed are more than 0 to 16384")


@dataclass(frozen=True)
class Place:
    """A picture or a video placed on a layer."""

    layer: str
    file: Path
    place: At
    blend: Blend = "normal"
    ends: Ends = "loop"


@dataclass(frozen=True)
class Text:
    """Words placed on a layer, in one colour `#rrggbb`. font: a font file; None: a plain sans serif."""

    layer: str
    text: str
    place: At
    colour: str = "#ffffff"
    font: Path | None = None
    blend: Blend = "normal"

    def __post_init__(self) -> None:
        parse_colour(self.colour)
        if not self.text.strip():
            raise LayerloomError("a text without a letter")


CanvasEdit = Texture | Overlay | Paint | Place | Text


def parse_colour(text: str) -> tuple[float, float, float]:
    """`#rrggbb` to red, green, blue in [0, 1]."""
    digits = text.removeprefix("#")
    try:
        red, green, blue = bytes.fromhex(digits) if len(digits) == 6 else b""
    except ValueError:
        raise LayerloomError(f"colour '{text}': write it as #rrggbb, such as #3366cc") from None
    return red / 255, green / 255, blue / 255
