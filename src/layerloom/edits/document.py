"""Edits as a file: what the user asks for, from JSON and back. `compose` and `render` carry them out.

Files hold straight alpha. Edits stack in the order given; hiding and adjusting layers and replacing the
background come first.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, ClassVar

from msgspec import Meta
from msgspec.structs import force_setattr

from layerloom.core.records import (
    Colour,
    Document,
    Frame,
    InvalidValue,
    document_text,
    optional_path,
    parse_document,
    path_field,
    read_document,
)
from layerloom.edits.adjust import Adjust
from layerloom.edits.canvas import CanvasEdit
from layerloom.edits.shot import (
    Camera,
    Keyframe,
    ShotEdit,
    check_camera,
)
from layerloom.edits.values import EditRecord, Layer


class Hide(EditRecord):
    """The layer is taken away; what lies behind it shows. Without the background there is black."""

    layer: Layer


class Background(EditRecord, omit_defaults=True):
    """A still picture, scaled to cover the frame, or a colour in place of the background layer.

    `Background("sky.png")`, `Background(colour="#3366cc")` or, in short, `Background("#3366cc")`.
    """

    file: Path | None = path_field(converter=optional_path, default=None)
    colour: Colour | None = None

    def __post_init__(self) -> None:
        if isinstance(self.file, str) and self.file.startswith("#") and self.colour is None:  # pyright: ignore
            force_setattr(self, "colour", self.file)
            force_setattr(self, "file", None)
        super().__post_init__()

    def check(self) -> None:
        if (self.file is None) == (self.colour is None):
            raise InvalidValue("a background has either file or colour")


Edit = CanvasEdit | Adjust | Hide | Background | ShotEdit


class EditsFile(Document, tag="layerloom-edits"):
    """A file of edits."""

    WHAT: ClassVar[str] = "edits"
    edits: Annotated[tuple[Edit, ...], Meta(max_length=100_000)]


class CameraFile(Document, tag="layerloom-camera"):
    """A file of a camera's path, with the fields of Camera."""

    WHAT: ClassVar[str] = "camera"
    keyframes: Annotated[tuple[Keyframe, ...], Meta(max_length=100_000)] = ()
    lock: Frame | None = None

    def check(self) -> None:
        check_camera(self.keyframes, self.lock)


def edits_to_json(edits: Sequence[Edit]) -> str:
    """Text of an edits file. `edits_from_json` gives the same edits back."""
    return document_text(EditsFile(tuple(edits)))


def edits_from_json(text: str, folder: Path | None = None) -> tuple[Edit, ...]:
    """Edits of an edits file; relative paths count from `folder`.

    Raises LayerloomError for anything that is not such a file, with the path to what is wrong: `edits[0].place.x`.
    """
    return parse_document(text, EditsFile, folder).edits


def read_edits(file: Path) -> tuple[Edit, ...]:
    """Edits of a file; paths in it count from its folder. Raises LayerloomError, which names the file."""
    return read_document(file, EditsFile).edits


def read_camera(file: Path) -> Camera:
    """The camera of a camera file. Raises LayerloomError, which names the file."""
    return _camera(read_document(file, CameraFile))


def camera_from_json(text: str) -> Camera:
    """The camera of a camera file. Raises LayerloomError for anything that is not such a file."""
    return _camera(parse_document(text, CameraFile))


def _camera(file: CameraFile) -> Camera:
    return Camera(file.keyframes, file.lock)
