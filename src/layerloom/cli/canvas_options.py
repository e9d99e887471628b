"""Options of the command line that change what is on the layers: what is put where, then words about it.

    LAYER=FILE; blend multiply; ends hold
    FRAME:FILE; blend screen
    LAYER=FILE; at FRAME:X,Y; height 60; rotate -5; rigid
    LAYER=WORDS; at X,Y; colour #ffcc00; font FILE
    LAYER=FILE; corners FRAME:X,Y X,Y X,Y X,Y
    LAYER:hue=20,saturation=1.2,brightness=.1,contrast=1.1,light=.5,region=FILE

Places are pixels of a frame of the source or, without a frame, texels of the layer's canvas.
"""

import re
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

from tyro.conf import UseAppendAction, arg

from layerloom.core.errors import LayerloomError
from layerloom.core.records import Point
from layerloom.edits.adjust import Adjust
from layerloom.edits.canvas import At, CanvasEdit, Overlay, Paint, Place, Text, Texture
from layerloom.edits.values import parse_frame, parse_number

ADJUST_WORDS = ("hue", "saturation", "brightness", "contrast", "light")
PLACE_WORDS = ("at", "corners", "height", "rotate", "rigid")

_Made = TypeVar("_Made")
_Texts = UseAppendAction[tuple[str, ...]]


@dataclass(frozen=True)
class CanvasOptions:
    """What is on the layers.

    Args:
        adjust: A layer's hue (degrees), saturation, brightness, contrast and the strength of its light (0 flat, 1 as
            it is, 2 doubled); colours only where a region, an image of the canvas' shape, has alpha or is white.
        texture: An edited copy of an exported texture (image, .psd, .ora); it acts where it differs from the export.
        overlay: An RGBA image or a video laid over the layer's canvas. Blends: normal, multiply, screen, add. A video
            loops, or holds its last frame.
        paint: An RGBA image of frame size, painted on what is seen in that frame and carried to all others.
        place: A picture or a video with its middle at a pixel of a frame, so many pixels high, turned clockwise; or
            with four corners. It bends with the surface, or stays flat (rigid). At X,Y alone are texels of the canvas.
        text: Words, likewise; the height is the font's.
    """

    adjust: Annotated[
        _Texts, arg(metavar="'LAYER:hue=N,saturation=N,brightness=N,contrast=N,light=N[,region=FILE]'")
    ] = ()
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

    def edits(self) -> Iterator[CanvasEdit | Adjust]:
        """In the order of the fields. LayerloomError for an option that cannot be read."""
        yield from _each(self.adjust, _adjust)
        yield from _each(self.texture, _texture)
        yield from _each(self.overlay, _overlay)
        yield from _each(self.paint, _paint)
        yield from _each(self.place, _placed)
        yield from _each(self.text, _text)


def _each(texts: Iterable[str], read: Callable[[str], _Made]) -> Iterator[_Made]:
    for text in texts:
        try:
            yield read(text)
        except LayerloomError as error:
            raise LayerloomError(f"'{text}': {error}") from None


def _adjust(text: str) -> Adjust:
    layer, _, rest = text.partition(":")
    numbers, *region = re.split(r",\s*region\s*=", f",{rest}", maxsplit=1)
    words = [part.partition("=") for part in numbers.split(",") if part.strip()]
    if not (layer.strip() and (words or region)):
        raise LayerloomError("the form is --adjust 'LAYER:hue=20,saturation=1.2,region=FILE'")
    for name, _, _ in words:
        if name.strip() not in ADJUST_WORDS:
            raise LayerloomError(
                f"'{name.strip()}' is not known here; there are {', '.join(ADJUST_WORDS)}, region last"
            )
    given = {name.strip(): parse_number(value) for name, _, value in words}
    return Adjust(layer.strip(), **given, region=region[0].strip() if region else None)


def _texture(text: str) -> Texture:
    layer, file, _ = _parts(text, "=", "--texture LAYER=FILE", ())
    return Texture(layer, file)


def _overlay(text: str) -> Overlay:
    layer, file, words = _parts(text, "=", "--overlay LAYER=FILE", ("blend", "ends"))
    return Overlay(layer, file, **_pick(words, "blend", "ends"))


def _paint(text: str) -> Paint:
    frame, file, words = _parts(text, ":", "--paint FRAME:FILE", ("blend",))
    return Paint(parse_frame(frame), file, **_pick(words, "blend"))


def _placed(text: str) -> Place:
    layer, file, words = _parts(text, "=", "--place 'LAYER=FILE; at FRAME:X,Y'", (*PLACE_WORDS, "blend", "ends"))
    return Place(layer, file, _place(words), **_pick(words, "blend", "ends"))


def _text(text: str) -> Text:
    allowed = (*PLACE_WORDS, "colour", "font", "blend")
    layer, written, words = _parts(text, "=", "--text 'LAYER=WORDS; at FRAME:X,Y'", allowed)
    return Text(layer, written, _place(words), **_pick(words, "colour", "font", "blend"))


def _parts(text: str, separator: str, form: str, allowed: Collection[str]) -> tuple[str, str, dict[str, str]]:
    """What stands before and after the separator, and the words that follow, by their names."""
    head, *rest = text.split(";")
    left, _, right = head.partition(separator)
    if not (left.strip() and right.strip()):
        raise LayerloomError(f"the form is {form}")
    words: dict[str, str] = {}
    for part in rest:
        name, _, value = part.strip().partition(" ")
        if name not in allowed:
            raise LayerloomError(f"'{name}' is not known here; there are {', '.join(allowed)}")
        if bool(value) == (name == "rigid"):
            raise LayerloomError(f"'{name}' {'takes no value' if value else 'needs a value'}")
        words[name] = value.strip()
    return left.strip(), right.strip(), words


def _pick(words: dict[str, str], *names: str) -> dict[str, Any]:
    """Those of the words that were given, as fields of an edit."""
    return {name: words[name] for name in names if name in words}


def _place(words: dict[str, str]) -> At:
    if ("at" in words) == ("corners" in words):
        raise LayerloomError("say where: at FRAME:X,Y, or corners FRAME:X,Y X,Y X,Y X,Y")
    frame, colon, rest = words.get("at", words.get("corners", "")).rpartition(":")
    points = [_point(point) for point in rest.split()]
    number = parse_frame(frame) if colon else None
    height = parse_number(words["height"]) if "height" in words else None
    turn = parse_number(words.get("rotate", "0"))
    if "corners" in words:
        if len(points) != 4:
            raise LayerloomError("a place with corners has four of them")
        return At(None, None, number, height, turn, (points[0], points[1], points[2], points[3]), "rigid" in words)
    if len(points) != 1:
        raise LayerloomError("a place is at FRAME:X,Y or at X,Y")
    return At(*points[0], number, height, turn, rigid="rigid" in words)


def _point(text: str) -> Point:
    x, _, y = text.partition(",")
    return parse_number(x), parse_number(y)
