"""Objects picked by hand: hints in some frames, from which masks are made for all. Plain values, checked.

Frames are the source's, counted from 0. Places are pixels of the source as it is displayed.

    NAME@FRAME:box X,Y,W,H
    NAME@FRAME:points +X,Y,-X,Y,…      (+ inside the object, - outside)
    NAME@FRAME:mask FILE
    NAME@FRAME:absent
"""

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, ClassVar

from msgspec import Meta

from layerloom.core.errors import LayerloomError
from layerloom.core.records import (
    Coordinate,
    Document,
    Frame,
    InvalidValue,
    LayerName,
    Record,
    document_text,
    optional_path,
    parse_document,
    path_field,
    read_document,
)
from layerloom.edits.values import Point, parse_frame, parse_number

Points = Annotated[tuple[Point, ...], Meta(max_length=10_000)]
Box = tuple[Coordinate, Coordinate, Annotated[float, Meta(gt=0, le=1e6)], Annotated[float, Meta(gt=0, le=1e6)]]
"""(left, top, width, height)"""


class Hint(Record, omit_defaults=True):
    """What is known of an object in one frame: where it is, or that it is not there.

    box: around the object, roughly. include, exclude: points on the object, and beside it; each stands for a dot of
    `radius` pixels. mask: an image of frame size, white on the object. absent: the object is not to be seen.
    A box and points may come together; a mask and absent stand alone.
    """

    frame: Frame
    box: Box | None = None
    include: Points = ()
    exclude: Points = ()
    radius: Annotated[float, Meta(gt=0, le=16384)] = 6.0
    mask: Path | None = path_field(converter=optional_path, default=None)
    absent: bool = False

    def check(self) -> None:
        is_rough = self.box is not None or bool(self.include) or bool(self.exclude)
        if is_rough + (self.mask is not None) + self.absent != 1:
            raise InvalidValue("a hint has a box, points (include, exclude) or both, or else a mask, or absent")


class ObjectHints(Record):
    """One object's name and hints, of which one at least says where it is. A frame may have several."""

    name: LayerName
    hints: Annotated[tuple[Hint, ...], Meta(min_length=1, max_length=100_000)]

    def check(self) -> None:
        if self.name == "background":
            raise InvalidValue("'background' is kept for what is behind all objects", "name")
        if not any(hint.box or hint.include or hint.mask for hint in self.hints):
            raise InvalidValue("none says where the object is, by a box, a point to include or a mask", "hints")
        absent = {hint.frame for hint in self.hints if hint.absent}
        torn = absent & {hint.frame for hint in self.hints if not hint.absent}
        if torn:
            raise InvalidValue(f"in frame {min(torn)} the object is said to be absent, and where it is", "hints")

    def in_frame(self, frame: int) -> tuple[Hint, ...]:
        """The hints of one frame, in their order."""
        return tuple(hint for hint in self.hints if hint.frame == frame)


class Selection(Document, tag="layerloom-selection"):
    """Objects from front to back, each with its hints; names are unique. A file of its own: see `read_selection`."""

    WHAT: ClassVar[str] = "selection"
    objects: Annotated[tuple[ObjectHints, ...], Meta(min_length=1, max_length=254)]

    def check(self) -> None:
        (name, count), *_ = Counter(each.name for each in self.objects).most_common(1)
        if count > 1:
            raise InvalidValue(f"there are {count} of the name '{name}'", "objects")


def read_selection(path: Path) -> Selection:
    """A selection's file; paths of masks in it count from its folder. Raises LayerloomError, which names the file."""
    return read_document(path, Selection)


def selection_from_json(text: str, folder: Path | None = None) -> Selection:
    """A selection from its file's text; relative paths count from `folder`. Raises LayerloomError."""
    return parse_document(text, Selection, folder)


def selection_to_json(selection: Selection) -> str:
    """Text of a selection's file. `selection_from_json` gives the same selection back."""
    return document_text(selection)


def parse_selection(texts: Sequence[str]) -> Selection | None:
    """What was typed: the forms above, names of files (`*.json`), or both; None if there is nothing.

    Hints of one object may be spread over several. Objects come in the order in which they are first named.
    Raises LayerloomError for what cannot be read.
    """
    hints: dict[str, list[Hint]] = {}
    for text in texts:
        if text.lower().endswith(".json"):
            for each in read_selection(Path(text)).objects:
                hints.setdefault(each.name, []).extend(each.hints)
        else:
            name, hint = _parse_hint(text)
            hints.setdefault(name, []).append(hint)
    if not hints:
        return None
    return Selection(tuple(_object(name, tuple(given)) for name, given in hints.items()))


FORM = "NAME@FRAME:box X,Y,W,H, NAME@FRAME:points +X,Y,-X,Y,…, NAME@FRAME:mask FILE or NAME@FRAME:absent"


def _object(name: str, hints: tuple[Hint, ...]) -> ObjectHints:
    try:
        return ObjectHints(name, hints)
    except InvalidValue as error:
        raise LayerloomError(f"selection of '{name}': {error}") from None


def _parse_hint(text: str) -> tuple[str, Hint]:
    form = re.fullmatch(r"(?P<name>[^@]+)@(?P<frame>[^:]*):(?P<kind>\w+)(?P<value>\s.*)?", text.strip(), re.DOTALL)
    value = (form["value"] or "").strip() if form else ""
    if form is None or (form["kind"] == "absent") == bool(value):
        raise LayerloomError(f"'{text}': the form is {FORM}")
    name = form["name"].strip()
    try:
        frame = parse_frame(form["frame"])
        match form["kind"]:
            case "box":
                left, top, width, height = _numbers(value, 4)
                return name, Hint(frame, box=(left, top, width, height))
            case "points":
                return name, Hint(frame, include=_points(value, "+"), exclude=_points(value, "-"))
            case "mask":
                return name, Hint(frame, mask=Path(value))
            case "absent":
                return name, Hint(frame, absent=True)
            case kind:
                raise LayerloomError(f"'{kind}' is not known; the form is {FORM}")
    except LayerloomError as error:
        raise LayerloomError(f"'{text}': {error}") from None


def _points(text: str, sign: str) -> tuple[Point, ...]:
    """The points that bear a sign: `+X,Y` is inside the object, `-X,Y` outside."""
    parts = re.sub(r"\s", "", text).split(",")
    if len(parts) % 2 or not all(part[:1] in ("+", "-") for part in parts[::2]):
        raise LayerloomError("points are written +X,Y inside the object and -X,Y outside, with commas between")
    pairs = zip(parts[::2], parts[1::2], strict=True)
    return tuple((parse_number(x[1:]), parse_number(y)) for x, y in pairs if x[0] == sign)


def _numbers(text: str, count: int) -> list[float]:
    parts = text.split(",")
    if len(parts) != count:
        raise LayerloomError(f"{count} numbers are wanted, with commas between")
    return [parse_number(part) for part in parts]
