"""Messages between the page for footage and the program. The page's types are made from these (`typescript`)."""

from typing import Annotated, Literal

from msgspec import Meta

from layerloom.core.quality import Quality
from layerloom.core.records import Frame, LayerName, Record
from layerloom.data.selection import Box, Points
from layerloom.editor.protocol import Done, Failed, OperationId, Redo, Undo

Radius = Annotated[float, Meta(gt=0, le=16384)]


class PageHint(Record):
    """A hint as the page gives it: a hint's fields but for a mask, whose file no page may name.

    Frames are the source's, places its pixels. mask: whether the program keeps a whole mask here; not for the page.
    """

    frame: Frame
    box: Box | None = None
    include: Points = ()
    exclude: Points = ()
    radius: Radius = 6.0
    absent: bool = False
    mask: bool = False


class AddHint(Record, tag_field="type", tag="hint"):
    """Something is known of an object in a frame; one of a new name is made.

    A box takes the place of the frame's box; absent, and what says where the object is, take each other's place.
    """

    operation: OperationId
    object: LayerName
    hint: PageHint


class ForgetHints(Record, tag_field="type", tag="forget"):
    """Take all hints of an object in a frame away; with the last place of an object it goes, too."""

    operation: OperationId
    object: LayerName
    frame: Frame


class RemoveObject(Record, tag_field="type", tag="remove"):
    """Take an object away."""

    operation: OperationId
    object: LayerName


class RenameObject(Record, tag_field="type", tag="rename"):
    """Another name for an object."""

    operation: OperationId
    object: LayerName
    name: LayerName


class ReorderObject(Record, tag_field="type", tag="reorder"):
    """Another place among the objects, from front to back."""

    operation: OperationId
    object: LayerName
    index: Annotated[int, Meta(ge=0)]


class FindObjects(Record, tag_field="type", tag="find"):
    """Look for what moves against the camera; what is found joins the objects."""

    operation: OperationId


class Learn(Record, tag_field="type", tag="learn"):
    """Begin to learn the layers, as soon as the objects are followed to the end; or go on after a stop."""

    operation: OperationId
    quality: Quality = "draft"
    resume: bool = False


class StopLearning(Record, tag_field="type", tag="stop"):
    """Stop learning; what was learned is kept."""

    operation: OperationId


Request = (
    AddHint
    | ForgetHints
    | RemoveObject
    | RenameObject
    | ReorderObject
    | FindObjects
    | Learn
    | StopLearning
    | Undo
    | Redo
)


class ObjectState(Record):
    """An object and what is known of it."""

    name: LayerName
    hints: tuple[PageHint, ...]


class Objects(Record, tag_field="type", tag="objects"):
    """Where the selection stands: sent when a page connects, and to all pages after every change."""

    revision: int
    objects: tuple[ObjectState, ...]
    can_undo: bool
    can_redo: bool


class MaskPlace(Record):
    """A mask that can be fetched. version: changes with it. revision: of the selection that it follows from."""

    object: str
    frame: Frame
    version: int
    revision: int


class Masks(Record, tag_field="type", tag="masks"):
    """Masks that are new."""

    masks: tuple[MaskPlace, ...]


class Following(Record, tag_field="type", tag="following"):
    """What the program does with the footage. done: the share of it, in [0, 1]."""

    stage: Literal["reading", "ready", "motion", "finding", "following", "followed", "failed"]
    done: float
    revision: int
    message: str = ""


class Learning(Record, tag_field="type", tag="learning"):
    """Where learning stands.

    looks: changes whenever there are new pictures of what is being learned. can_resume: whether something was learned
    of the objects as they are now, from which learning can go on.
    """

    state: Literal["idle", "waiting", "running", "stopping", "stopped", "failed", "ended"]
    stage: str = ""
    done: float = 0.0
    seconds_left: float | None = None
    psnr_db: float | None = None
    message: str = ""
    can_resume: bool = False
    looks: int = 0
    layers: tuple[str, ...] = ()


class Opened(Record, tag_field="type", tag="opened"):
    """The project is there: the page, loaded again, is its editor."""


Answer = Objects | Masks | Following | Learning | Opened | Done | Failed
