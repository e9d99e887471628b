"""Objects picked by hand: hints in some frames, from which masks are made for all. Plain values, checked.

Frames are the source's, counted from 0. Places are pixels of the source as it is displayed. What is typed for them
is read by `edits.selection`.
"""

from collections import Counter
from pathlib import Path
from typing import Annotated, ClassVar

from msgspec import Meta

from layerloom.core.records import (
    Coordinate,
    Document,
    Frame,
    InvalidValue,
    LayerName,
    Point,
    Record,
    document_text,
    optional_path,
    parse_document,
    path_field,
    read_document,
)

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
