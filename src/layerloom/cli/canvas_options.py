"""Options of the command line that change what is on the layers: what is put where, then words about it.

    LAYER=FILE; blend multiply; ends hold
    FRAME:FILE; blend screen
    LAYER=FILE; at FRAME:X,Y; height 60; rotate -5; rigid
    LAYER=WORDS; at X,Y; colour #ffcc00; font FILE
    LAYER=FILE; corners FRAME:X,Y X,Y X,Y X,Y

Places are pixels of a frame of the source or, without a frame, texels of the layer's canvas.
"""

import math
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_args

from tyro.conf import UseAppendAction, arg

from layerloom.core.errors import LayerloomError
from layerloom.edits.canvas import At, Blend, CanvasEdit, Ends, Overlay, Paint, Place, Point, Text, Texture
from layerloom.edits.document import read_choice

PLACE_WORDS = ("at", "corners", "height", "rotate", "rigid")

_Texts = UseAppendAction[tuple[str, ...]]

Content = TypeVar("Content")


@dataclass(frozen=True)
class CanvasOptions:
    """What is on the layers.

    Args:
        texture: An edited copy of an exported texture (image, .psd, .ora); it acts where it differs from the export.
        overlay: An RGBA image or a video laid over the layer's canvas. Blends: normal, multiply, screen, add. A video
            loops, or holds its last frame.
        paint: An RGBA image of frame size, painted on what is seen in that frame and carried to all others.
        place: A picture or a video with its middle at a pixel of a frame, so many pixels high, turned clockwise; or
            with four corners. It bends with the surface, or stays flat (rigid). At X,Y alone are texels of the canvas.
        text: Words, likewise; the height is the font's.
    """

    texture: Annotated[_Texts, arg(metavar="LAYER=FILE")] = ()
    overlay: Annotated[_Texts, arg(metavar="'LAYER=FILE[; blend B][; ends loop|hold]'")] = ()
    paint: Annotated[_Texts, arg(metavar="'FRAME:FILE[; blend B]'")] = ()
    place: Annotated[
        _Texts,
        arg(
            metavar="'LAYER=FILE; at FRAME:X,Y | corners FRAME:X,Y X,Y X,Y X,Y[; height N][; rotate DEGREES][; rigid]"
            "[; blend B][; ends loop|hold]'"
        ),
    ] = ()
    text: Annotated[
        _Texts,
        arg(
            metavar="'LAYER=WORDS; at FRAME:X,Y[; height N][; rotate DEGREES][; rigid][; colour #rrggbb][; font FILE]"
            "[; blend B]'"
        ),
    ] = ()

    def edits(self) -> Iterator[CanvasEdit]:
        """In the order of the fields. LayerloomError for an option that cannot be read."""
        yield from map(_texture, self.texture)
        yield from map(_overlay, self.overlay)
        yield from map(_paint, self.paint)
        yield from map(_placed, self.place)
        yield from map(_text, self.text)


def _texture(text: str) -> Texture:
    layer, file = read_pair(text, "=", "--texture LAYER=FILE")
    return Texture(layer, Path(file))


def _overlay(text: str) -> Overlay:
    layer, file, words = _parts(text, "=", "--overlay LAYER=FILE", ("blend", "ends"))
    return Overlay(layer, Path(file), **_choices(text, words))


def _paint(text: str) -> Paint:
    frame, file, words = _parts(text, ":", "--paint FRAME:FILE", ("blend",))
    return Paint(read_frame(frame), Path(file), **_choices(text, words))


def _placed(text: str) -> Place:
    layer, file, words = _parts(text, "=", "--place 'LAYER=FILE; at FRAME:X,Y'", (*PLACE_WORDS, "blend", "ends"))
    return Place(layer, Path(file), _place(text, words), **_choices(text, words))


def _text(text: str) -> Text:
    allowed = (*PLACE_WORDS, "colour", "font", "blend")
    layer, written, words = _parts(text, "=", "--text 'LAYER=WORDS; at FRAME:X,Y'", allowed)
    colour = {"colour": words["colour"]} if "colour" in words else {}
    font = Path(words["font"]) if "font" in words else None
    return Text(layer, written, _place(text, words), font=font, **colour, **_choices(text, words))


def parse_file(file: Path, parse: Callable[[str], Content]) -> Content:
    """What `parse` makes of a text file; complaints name the file."""
    try:
        return parse(file.read_text(encoding="utf-8"))
    except UnicodeDecodeError:
        raise LayerloomError(f"{file}: not text in UTF-8") from None
    except LayerloomError as error:
        raise LayerloomError(f"{file}: {error}") from None


def read_frame(text: str) -> int:
    """A frame's number. LayerloomError for anything else."""
    if not text.isdecimal():
        raise LayerloomError(f"'{text}': a frame is a whole number, counted from 0")
    return int(text)


def read_pair(text: str, separator: str, form: str) -> tuple[str, str]:
    """What stands before and after a separator. LayerloomError if either is missing."""
    left, found, right = text.partition(separator)
    if not (left and found and right):
        raise LayerloomError(f"'{text}': the form is {form}")
    return left.strip(), right.strip()


def _parts(text: str, separator: str, form: str, allowed: Collection[str]) -> tuple[str, str, dict[str, str]]:
    """What stands before and after the separator, and the words that follow, by their names."""
    head, *rest = text.split(";")
    words: dict[str, str] = {}
    for part in rest:
        name, _, value = part.strip().partition(" ")
        if name not in allowed:
            raise LayerloomError(f"'{text}': '{name}' is not known here; there are {', '.join(allowed)}")
        if bool(value) == (name == "rigid"):
            raise LayerloomError(f"'{text}': '{name}' {'takes no value' if value else 'needs a value'}")
        words[name] = value.strip()
    return *read_pair(head, separator, form), words


def _choices(text: str, words: dict[str, str]) -> dict[str, Any]:
    """blend and ends, where they are given."""
    kinds = {"blend": Blend, "ends": Ends}
    return {
        name: read_choice(get_args(kind), f"'{text}': '{name}'", words[name])
        for name, kind in kinds.items()
        if name in words
    }


def _place(text: str, words: dict[str, str]) -> At:
    if ("at" in words) == ("corners" in words):
        raise LayerloomError(f"'{text}': say where: at FRAME:X,Y, or corners FRAME:X,Y X,Y X,Y X,Y")
    frame, colon, rest = words.get("at", words.get("corners", "")).rpartition(":")
    points = tuple(_point(text, point) for point in rest.split())
    number = read_frame(frame) if colon else None
    try:
        if "corners" in words:
            return At(frame=number, corners=points, rigid="rigid" in words)
        if len(points) != 1:
            raise LayerloomError("a place is at FRAME:X,Y or at X,Y")
        height = _number(text, words["height"]) if "height" in words else None
        turn = _number(text, words.get("rotate", "0"))
        return At(*points[0], number, height, turn, rigid="rigid" in words)
    except LayerloomError as error:
        raise LayerloomError(f"'{text}': {error}") from None


def _point(text: str, point: str) -> Point:
    x, _, y = point.partition(",")
    return _number(text, x), _number(text, y)


def _number(text: str, number: str) -> float:
    try:
        value = float(number)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise LayerloomError(f"'{text}': '{number}' is not a number")
    return value
